// Metrics.

#include <doctest/doctest.h>

#include <cmath>
#include <sstream>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

#include "../close.hpp"

using namespace tapegrad;

TEST_CASE("accuracy of classes, by one-hot targets and by labels") {
  const Tensor<> a{{0.2, 0.5, 0.3}, {0.7, 0.05, 0.25}, {0.1, 0.1, 0.8}};
  CHECK(nn::accuracy(a, Tensor<>{{0, 1, 0}, {0, 0, 1}, {0, 0, 1}}) == 2.0 / 3);
  CHECK(nn::accuracy(a, Tensor<std::int64_t>{1, 2, 2}) == 2.0 / 3);
  CHECK(nn::Metric("accuracy")(a, Tensor<std::int64_t>{1, 0, 2}) == 1);
}

TEST_CASE("accuracy of one column is a threshold of 0.5") {
  const Tensor<float> a = reshape(Tensor<float>{0.4F, 0.6F, 0.9F, 0.1F}, {4, 1});
  CHECK(nn::accuracy(a, reshape(Tensor<float>{0, 1, 0, 1}, {4, 1})) == 0.5);
  CHECK(nn::accuracy(a, Tensor<std::int64_t>{0, 1, 1, 1}) == 0.75);
}

TEST_CASE("logits are cut at 0, where the probability is 1/2") {
  const Tensor<> z = reshape(Tensor<>{-0.4, 0.1, 0.3, -2.0, 0.7, -0.2}, {6, 1});
  const Tensor<> y = reshape(Tensor<>{0, 1, 1, 1, 0, 0}, {6, 1});
  const auto agree = [&](const nn::Metric& metric) {
    CAPTURE(metric.name());
    CHECK(metric.with(nn::Outputs::sigmoid_logits)(z, y) == metric(sigmoid(z), y));
    CHECK(metric.with(nn::Outputs::sigmoid_logits)(z, y) != metric(z, y));
    CHECK(metric.with(nn::Outputs::sigmoid_logits).name() == metric.name());
    CHECK(metric.with(nn::Outputs::probabilities)(z, y) == metric(z, y));
  };
  for (const char* name : {"accuracy", "binary_accuracy", "precision", "recall", "f1", "f1_score"}) agree(name);
  // A user's own threshold applies to the numbers as they are.
  const nn::Metric given = nn::BinaryAccuracy{.threshold = 0.2};
  CHECK(given.with(nn::Outputs::sigmoid_logits)(z, y) == given(z, y));
  // With several columns a softmax tells: here none is above 1/2, though all logits are above 0.
  const Tensor<> several{{1, 1.1, 1.2}, {3, 1, 1}};
  const Tensor<std::int64_t> labels{2, 0};
  for (const nn::Metric& metric : {nn::Metric("precision"), nn::Metric("recall")}) {
    CHECK(metric.with(nn::Outputs::softmax_logits)(several, labels) == metric(softmax(several), labels));
  }
  CHECK(nn::Metric("recall").with(nn::Outputs::softmax_logits)(several, labels) == 0.5);
  CHECK(nn::Metric("binary_accuracy").with(nn::Outputs::softmax_logits)(several, one_hot(labels, 3)) == 5.0 / 6);
}

TEST_CASE("labels may stand in a column") {
  const Tensor<> a{{0.2, 0.5, 0.3}, {0.7, 0.05, 0.25}};
  const Tensor<std::int64_t> labels{1, 2}, column = reshape(labels, {2, 1});
  for (const nn::Metric& metric : {nn::Metric("accuracy"), nn::Metric("precision"), nn::Metric("f1"),
                                   nn::Metric("top_2_accuracy"), nn::Metric("sparse_categorical_crossentropy")}) {
    CHECK(metric(a, column) == metric(a, labels));
  }
  CHECK(sum(astype<double>(nn::confusion_matrix(a, column))).item() == 2);
  CHECK_THROWS_AS(nn::accuracy(a, reshape(labels, {1, 2})), ShapeError);
  CHECK_THROWS_WITH_AS(nn::accuracy(a, Tensor<>{1.0, 2.0}), doctest::Contains("astype<std::int64_t>(y) makes labels"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(nn::binary_accuracy(reshape(Tensor<>{0.2, 0.7}, {2, 1}), Tensor<std::int64_t>{0, 2}),
                       doctest::Contains("binary_accuracy at metrics.cpp:"), ValueError);
}

TEST_CASE("a metric of a traced prediction is a number") {
  const Tensor<> y{{0, 1}, {1, 0}};
  grad([&](const Tensor<>& a) {
    for (const char* name : {"accuracy", "binary_accuracy", "precision", "f1", "top_1_accuracy", "rmse", "r2"}) {
      const nn::Metric metric(name);
      CHECK(std::isfinite(metric(a, y)));
    }
    return sum(a);
  })(Tensor<>{{0.2, 0.8}, {0.6, 0.4}});
}

TEST_CASE("a prediction with a NaN is never right, whatever the target") {
  const double nan = std::nan("");
  const Tensor<> a{{nan, 0.5}, {0.9, 0.1}, {0.2, nan}};
  for (const Tensor<>& y : {Tensor<>{{1, 0}, {1, 0}, {0, 1}}, Tensor<>{{nan, 0.5}, {1, 0}, {nan, nan}}}) {
    CHECK(nn::accuracy(a, y) == 1.0 / 3);
    CHECK(nn::TopK{.k = 2}(a, y) == 1.0 / 3);
  }
  const Tensor<> column = reshape(Tensor<>{nan, 0.9}, {2, 1}), ones_column = ones({2, 1});
  CHECK(nn::accuracy(column, ones_column) == 0.5);
  CHECK(nn::binary_accuracy(column, ones_column) == 0.5);
  CHECK(nn::recall(column, ones_column) == 0.5);
  CHECK(nn::precision(column, ones_column) == 1);
  CHECK(sum(astype<double>(nn::confusion_matrix(column, ones_column))).item() == 1);
}

TEST_CASE("binary accuracy counts elements, at a threshold of one's own") {
  const Tensor<> a{{0.2, 0.6}, {0.7, 0.4}}, y{{0, 1}, {0, 1}};
  CHECK(nn::binary_accuracy(a, y) == 0.5);
  CHECK(nn::BinaryAccuracy{.threshold = 0.3}(a, y) == 0.75);
  CHECK(nn::binary_accuracy(reshape(Tensor<>{0.2, 0.7, 0.6}, {3, 1}), Tensor<std::int64_t>{0, 1, 0}) == 2.0 / 3);
  CHECK_THROWS_WITH_AS(nn::binary_accuracy(a, Tensor<std::int64_t>{0, 1}), doctest::Contains("one column"), ShapeError);
}

TEST_CASE("top-k, where ties count in favor") {
  const Tensor<> a{{0.1, 0.2, 0.3, 0.4}, {0.4, 0.3, 0.2, 0.1}, {0.25, 0.25, 0.25, 0.25}};
  const Tensor<std::int64_t> labels{1, 1, 3};
  CHECK(nn::TopK{.k = 1}(a, labels) == 1.0 / 3);
  CHECK(nn::TopK{.k = 2}(a, labels) == 2.0 / 3);
  CHECK(nn::TopK{.k = 3}(a, labels) == 1);
  CHECK(nn::TopK{.k = 9}(a, one_hot(labels, 4)) == 1);
  CHECK(nn::Metric("top_2_accuracy")(a, labels) == 2.0 / 3);
  CHECK(nn::Metric("top_2_accuracy").name() == "top_2_accuracy");
  CHECK(nn::Metric(nn::TopK{.k = 3}).name() == "top_3_accuracy");
  CHECK(nn::Metric("top_k_categorical_accuracy")(a, labels) == 1);
  CHECK_THROWS_AS(nn::Metric("top_0_accuracy"), ValueError);
  CHECK_THROWS_AS(nn::Metric("top_2x_accuracy"), ValueError);
  CHECK_THROWS_AS(nn::TopK{.k = 0}(a, labels), ValueError);
  CHECK_THROWS_AS(nn::TopK{}(ones({2, 1}), ones({2, 1})), ShapeError);
}

TEST_CASE("precision, recall and f1 of one column are those of class 1") {
  // Right: 2 of class 1. Predicted as 1: 3. Of class 1: 4.
  const Tensor<> a = reshape(Tensor<>{0.9, 0.8, 0.7, 0.2, 0.1, 0.4}, {6, 1});
  const Tensor<> y = reshape(Tensor<>{1, 1, 0, 1, 1, 0}, {6, 1});
  CHECK(nn::precision(a, y) == 2.0 / 3);
  CHECK(nn::recall(a, y) == 2.0 / 4);
  CHECK(nn::f1(a, y) == 4.0 / 7);
  CHECK(nn::Precision{.threshold = 0.75}(a, y) == 1);
  CHECK(nn::Recall{.threshold = 0.15}(a, y) == 0.75);
  // Nothing predicted, and nothing to find: 0/0 is 0.
  CHECK(nn::precision(zeros({2, 1}), ones({2, 1})) == 0);
  CHECK(nn::recall(zeros({2, 1}), zeros({2, 1})) == 0);
  CHECK(nn::f1(zeros({2, 1}), zeros({2, 1})) == 0);
}

TEST_CASE("precision, recall and f1 of several classes are means over those that occur") {
  // Rows are the truth, columns the prediction; class 3 occurs in neither.
  //   2 1 0
  //   0 1 0
  //   1 0 0
  const Tensor<std::int64_t> predicted{0, 0, 1, 1, 0}, actual{0, 0, 0, 1, 2};
  const Tensor<> a = one_hot(predicted, 4);
  using enum nn::Average;
  CHECK(nn::Precision{.average = macro}(a, actual) == about((2.0 / 3 + 1.0 / 2 + 0) / 3, 1e-15));
  CHECK(nn::Recall{.average = macro}(a, actual) == about((2.0 / 3 + 1 + 0) / 3, 1e-15));
  CHECK(nn::precision(a, actual) == 3.0 / 5);
  CHECK(nn::recall(a, one_hot(actual, 4)) == 3.0 / 5);
  CHECK(nn::F1{.average = micro}(a, actual) == 3.0 / 5);
  CHECK(nn::precision(0.4 * a, actual) == 0);  // nothing above 0.5
  CHECK(nn::f1(a, one_hot(actual, 4)) == about((4.0 / 6 + 2.0 / 3 + 0) / 3, 1e-15));
  const Tensor<std::int64_t> counts = nn::confusion_matrix(a, actual);
  CHECK(counts.shape() == Shape{4, 4});
  CHECK(allclose(astype<double>(counts), Tensor<>{{2, 1, 0, 0}, {0, 1, 0, 0}, {1, 0, 0, 0}, {0, 0, 0, 0}}, 0, 0));
  std::ostringstream out;
  out << counts;
  CHECK(out.str().find("[2, 1, 0, 0]") != std::string::npos);
}

TEST_CASE("r2 and rmse") {
  const Tensor<> y{{1, 10}, {2, 10}, {3, 10}, {6, 10}}, a{{1, 10}, {3, 10}, {3, 10}, {4, 10}};
  // The first output has mean 3, spread 14 and error 5. The second is constant and predicted exactly.
  CHECK(nn::r2(a, y) == about((1 - 5.0 / 14 + 1) / 2, 1e-15));
  CHECK(nn::r2(a + Tensor<>{0.0, 0.5}, y) == about((1 - 5.0 / 14 + 0) / 2, 1e-15));
  CHECK(nn::r2(Tensor<float>{1, 3, 3, 4}, Tensor<float>{1, 2, 3, 6}) == about(1 - 5.0 / 14, 1e-7));
  CHECK(nn::r2(Tensor<>{0.2, 0.1, 0.1}, full({3}, 0.1)) == 0);  // though 0.1 + 0.1 + 0.1 is not 3 * 0.1
  CHECK(nn::r2(full({3}, 0.1), full({3}, 0.1)) == 1);
  const Tensor<> unknown{std::nan(""), 1.0};
  for (const Tensor<>& other : {Tensor<>{1.0, 2.0}, Tensor<>{1.0, 1.0}}) {
    CHECK(std::isnan(nn::r2(unknown, other)));
    CHECK(std::isnan(nn::r2(other, unknown)));
  }
  CHECK(nn::rmse(a, y) == about(std::sqrt(5.0 / 8), 1e-15));
  CHECK_THROWS_WITH_AS(nn::r2(a, reshape(y, {2, 4})), doctest::Contains("(4, 2) and the target (2, 4)"), ShapeError);
  CHECK_THROWS_AS(nn::rmse(zeros({0, 2}), zeros({0, 2})), ShapeError);
}

TEST_CASE("every loss is a metric, by name and as a value") {
  const Tensor<> a{{0.2, 0.8}, {0.6, 0.4}}, y{{0, 1}, {0, 1}};
  const Tensor<std::int64_t> labels{1, 1};
  CHECK(nn::Metric("mean_absolute_error")(a, y) == about(0.4, 1e-15));
  CHECK(nn::Metric("mean_absolute_error").name() == "mean_absolute_error");
  CHECK(nn::Metric(nn::mae)(a, y) == about(0.4, 1e-15));
  CHECK(nn::Metric(nn::Huber{.delta = 1e-3}).name() == "huber");
  const double expected = -(std::log(0.8) + std::log(0.4)) / 2;
  CHECK(nn::Metric("sparse_categorical_crossentropy")(a, labels) == about(expected, 1e-15));
  CHECK(nn::Metric(nn::sparse_categorical_crossentropy)(a, labels) == about(expected, 1e-15));
  CHECK_THROWS_AS(nn::Metric("sparse_categorical_crossentropy")(a, y), ValueError);
}

TEST_CASE("metrics under Keras's names and of one's own") {
  const Tensor<> a{{0.2, 0.8}, {0.6, 0.4}}, y{{0, 1}, {0, 1}};
  for (const char* name : {"categorical_accuracy", "sparse_categorical_accuracy"}) {
    CHECK(nn::Metric(name)(a, Tensor<std::int64_t>{1, 1}) == 0.5);
    CHECK(nn::Metric(name).name() == name);
  }
  const nn::Metric number("worst", [](const auto& p, const auto& t) { return max(abs(p - t)).item(); });
  const nn::Metric tensor("worst", [](const auto& p, const auto& t) { return max(abs(p - t), -1); });
  CHECK(number(a, y) == 0.6);
  CHECK(number(astype<float>(a), astype<float>(y)) == about(0.6, 1e-7));
  CHECK(tensor(a, y) == about(0.4, 1e-15));
  const nn::Metric of_labels("first", [](const auto& p, const Tensor<std::int64_t>& t) { return p(0, t(0)); });
  CHECK(of_labels(a, Tensor<std::int64_t>{1, 0}) == 0.8);
  CHECK_THROWS_AS(number(a, Tensor<std::int64_t>{1, 0}), ValueError);
  CHECK_THROWS_AS(of_labels(a, y), ValueError);
  const nn::Metric each("each", elementwise([](auto p, auto t) { return abs(p - t); }));
  CHECK(each(a, y) == about(0.4, 1e-15));
}

namespace {

struct Profit {
  static constexpr bool larger_is_better = true;
  Tensor<> operator()(const Tensor<>& a, const Tensor<>& y) const { return sum(a * y); }
};

}  // namespace

TEST_CASE("a metric says whether larger is better") {
  for (const char* name : {"accuracy", "binary_accuracy", "top_3_accuracy", "top_k_categorical_accuracy", "precision",
                           "recall", "f1_score", "r2", "cosine_similarity"}) {
    CHECK(nn::Metric(name).larger_is_better() == true);
  }
  for (const char* name : {"rmse", "mse", "mean_absolute_error", "huber", "sparse_categorical_crossentropy"}) {
    CHECK(nn::Metric(name).larger_is_better() == false);
  }
  // The metric's type decides, and not its name.
  CHECK(nn::Metric("error", nn::Accuracy{.threshold = 0.3}).larger_is_better() == true);
  CHECK(nn::Metric("accuracy", nn::mae).larger_is_better() == false);
  CHECK(nn::Metric("angle", nn::cosine_similarity).larger_is_better() == true);
  CHECK(nn::Metric("angle", nn::cosine_similarity)(Tensor<>{{1, 0}}, Tensor<>{{2, 0}}) == 1);
  CHECK(nn::Metric("recall").with(nn::Outputs::sigmoid_logits).larger_is_better() == true);
  const auto largest = [](const auto& a, const auto& y) { return max(abs(a - y)); };
  CHECK_FALSE(nn::Metric("accuracy", largest).larger_is_better().has_value());
  CHECK(nn::Metric("profit", Profit{}).larger_is_better() == true);
}

TEST_CASE("the metric mse is the mean over examples and features") {
  CHECK(nn::Metric("mse")(Tensor<>{{1, 2}, {3, 4}}, Tensor<>{{0, 2}, {3, 1}}) == 2.5);
}

TEST_CASE("rows with the ignored label do not count") {
  const Tensor<> a{{0.2, 0.5, 0.3}, {0.9, 0.05, 0.05}, {0.7, 0.05, 0.25}, {0.1, 0.1, 0.8}, {0.1, 0.6, 0.3}};
  const Tensor<std::int64_t> y{1, -1, 2, 2, -1}, counted{0, 2, 3};
  const Tensor<> few = take(a, counted);
  const Tensor<std::int64_t> known = take(y, counted);
  CHECK(nn::Accuracy{.ignored_label = -1}(a, y) == nn::accuracy(few, known));
  CHECK(nn::TopK{.k = 2, .ignored_label = -1}(a, y) == nn::TopK{.k = 2}(few, known));
  CHECK(nn::Precision{.ignored_label = -1}(a, y) == nn::precision(few, known));
  CHECK(nn::Recall{.ignored_label = -1}(a, y) == nn::recall(few, known));
  CHECK(nn::F1{.ignored_label = -1}(a, y) == nn::f1(few, known));
  CHECK(nn::Metric(nn::F1{.ignored_label = -1})(a, y) == nn::f1(few, known));
  const Tensor<> same = astype<double>(nn::confusion_matrix(few, known));
  CHECK(allclose(astype<double>(nn::confusion_matrix(a, y, 0.5, -1)), same, 0, 0));
  const Tensor<> column = reshape(Tensor<>{0.2, 0.7, 0.6}, {3, 1});
  CHECK(nn::BinaryAccuracy{.ignored_label = 9}(column, Tensor<std::int64_t>{0, 9, 1}) == 1);
  const Tensor<std::int64_t> nothing = full<std::int64_t>({5}, -1);
  CHECK(nn::Accuracy{.ignored_label = -1}(a, nothing) == 0);
  CHECK(nn::F1{.ignored_label = -1}(a, nothing) == 0);
  CHECK_THROWS_WITH_AS((nn::Accuracy{.ignored_label = 255}(a, y)), doctest::Contains("label -1 of example 1"),
                       ValueError);
}

TEST_CASE("metrics refuse what does not fit") {
  const Tensor<> a{{0.2, 0.8}};
  CHECK_THROWS_AS(nn::accuracy(a, Tensor<>{{1, 0, 0}}), ShapeError);
  CHECK_THROWS_AS(nn::accuracy(a, Tensor<std::int64_t>{1, 0}), ShapeError);
  CHECK_THROWS_AS(nn::accuracy(zeros({0, 2}), zeros({0, 2})), ShapeError);
  CHECK_THROWS_AS(nn::Metric("mse")(a, Tensor<std::int64_t>{1}), ValueError);
  CHECK_THROWS_WITH_AS(nn::Metric("acc"), doctest::Contains("top_k_categorical_accuracy"), ValueError);
  CHECK_THROWS_WITH_AS(nn::accuracy(a, Tensor<std::int64_t>{2}), doctest::Contains("label 2 of example 0"), ValueError);
  CHECK_THROWS_WITH_AS(nn::accuracy(a, Tensor<>{{1, 0, 0}}), doctest::Contains("metrics.cpp:"), ShapeError);
}
