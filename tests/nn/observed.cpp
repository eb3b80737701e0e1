// The loops of nn itself, and not only those of the operations it calls, go through the door: an observer sees what
// each of them reads and writes.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

namespace {

using namespace tapegrad;

/// The bytes in a profile of f by the names of the loops, without their lines.
template <class F>
std::map<std::string, std::int64_t> bytes_of(const F& f) {
  std::map<std::string, std::int64_t> bytes;
  for (const ProfileRow& row : profile(f).rows) bytes[row.operation.substr(0, row.operation.find(" at "))] += row.bytes;
  return bytes;
}

TEST_SUITE("observed") {
  const Tensor<> a({4, 3}, {0.2, 0.3, 0.5, 0.6, 0.3, 0.1, 0.1, 0.8, 0.1, 0.3, 0.3, 0.4});
  const Tensor<std::int64_t> labels{2, 0, 1, -1};
  constexpr std::int64_t of_labels = 4 * 8, of_a = 12 * 8;

  TEST_CASE("losses") {
    const auto bytes = bytes_of([] {
      nn::SparseCategoricalCrossentropy loss;
      loss.ignored_label = -1;
      loss(a, labels);
      nn::class_weights_of<double>(labels, std::vector<double>{1, 2, 3}, -1);
    });
    CHECK(bytes.at("sparse_categorical_crossentropy") == of_labels);
    CHECK(bytes.at("ignored labels") == 2 * of_labels);
    CHECK(bytes.at("class weights") == of_labels + 4 * 8);
    const auto weighted = bytes_of([] {
      nn::detail::output_head<double>(nn::Activation("softmax"), nn::Loss("mse"), a, a, nn::OutputDelta::vjp, 1,
                                      Tensor<>{0, 1, 1, 0}, Caller::here());
    });
    CHECK(weighted.at("weights") == 4 * 8 + 1 + 2 * 4 * 8);
  }

  TEST_CASE("the line of a loop is the user's") {
    const Profile p = profile([] { nn::sparse_categorical_crossentropy(a, Tensor<std::int64_t>{0, 1, 2, 0}); });
    const std::string line = "observed.cpp:" + std::to_string(__LINE__ - 1);
    CHECK(std::ranges::count(p.rows, "sparse_categorical_crossentropy at " + line, &ProfileRow::operation) == 1);
  }

  TEST_CASE("metrics") {
    const auto seen = [](const auto& metric, const auto& prediction, const auto& y) {
      return bytes_of([&] { metric(prediction, y); })["metric"];
    };
    const Tensor<std::int64_t> y{2, 0, 1, 1};
    const Tensor<> column = slice(a, 1, 0, 1);
    CHECK(seen(nn::accuracy, a, y) >= of_labels + of_a + of_labels);
    CHECK(seen(nn::accuracy, column, y - y) >= 3 * of_labels);
    CHECK(seen(nn::TopK{.k = 2}, a, y) >= of_labels + 2 * of_a + of_labels);
    CHECK(seen(nn::Precision{.average = nn::Average::micro}, a, y) >= of_labels + of_a + of_labels);
    CHECK(seen(nn::r2, a, a) >= 2 * of_a);
    CHECK(bytes_of([&] { nn::confusion_matrix(a, y); })["confusion_matrix"] == 9 * 8);
  }

  TEST_CASE("clipping") {
    Tensor<> x = full({10}, 3);
    const auto bytes = bytes_of([&] {
      nn::clip_by_value(x, 2);
      nn::clip_by_global_norm(x, 1);
    });
    CHECK(bytes.at("clip_by_value") == 2 * 80);
    CHECK(bytes.at("global_norm") == 80 + 8);
    CHECK(bytes.at("clip_by_global_norm") == 2 * 80);
    CHECK(allclose(x, full({10}, std::sqrt(0.1)), 1e-15, 0));
  }

  TEST_CASE("initializers and tables") {
    nn::Rng rng(1);
    CHECK(bytes_of([&] { nn::he_normal().make<double>({2, 5}, rng); })["truncated_normal"] == 80);
    CHECK(bytes_of([&] { nn::orthogonal().make<double>({2, 5}, rng); })["orthogonal"] == 2 * 80);
    CHECK(bytes_of([] { nn::split_labels(Tensor<>({2, 2}, {0.5, 1, 0.25, 0})); })["split_labels"] == 4 * 8 + 2 * 8);
  }

  TEST_CASE("training") {
    nn::Sequential<double> model({nn::Dense{.units = 3, .kernel_regularizer = nn::l2(0.1)}}, 1);
    model.compile({.loss = "sparse_categorical_crossentropy_from_logits", .metrics = {"accuracy"}});
    const auto bytes = bytes_of([&] {
      model.fit(a, Tensor<std::int64_t>{2, 0, 1, 1},
                {.epochs = 1, .batch_size = 2, .steps_per_epoch = 2, .sample_weight = Tensor<>{1, 1, 0, 1}});
    });
    CHECK(bytes.at("sample_weight") == 4 * 8);
    CHECK(bytes.at("labels") >= of_labels);
    CHECK(bytes.at("rows that count") >= 2 * (of_labels + 4 * 8));
    CHECK(bytes.at("predictions") == 2 * (4 * 3 * 8 + of_labels));
    CHECK(bytes.at("draw") == 2 * (2 * 4 * 8 + 2 * 8));
    CHECK(bytes.at("penalties") == 2 * 3 * (9 + 3) * 8);
    nn::Sequential<double> single({nn::Dense{.units = 1}}, 1);
    single.compile({.loss = "mse"});
    CHECK(bytes_of([&] { single.predict_classes(a); })["predict_classes"] == 4 * 8 + 4 * 8);
  }
}

}  // namespace
