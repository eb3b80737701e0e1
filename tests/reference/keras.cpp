// Everything with a name from Keras 3 is compared with figures from Keras 3 (scripts/keras_figures, float32).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>

namespace {

using namespace tapegrad;
using Numbers = Tensor<float>;
using Labels = Tensor<std::int64_t>;

const nn::Npz& figures() {
  static const nn::Npz file = nn::read_npz(TAPEGRAD_REFERENCE_DIR "/keras3.npz");
  return file;
}
Numbers figure(const std::string& name) { return figures().read<float>(name); }
Numbers in(const std::string& name) { return figure("in." + name); }
Labels labels() { return figures().read<std::int64_t>("in.labels"); }

/// Within 5e-6 of Keras, absolutely or relatively.
bool same(const Numbers& a, const Numbers& b) { return a.shape() == b.shape() && allclose(a, b, 5e-6, 5e-6); }
bool same(double a, const Numbers& b) {
  return std::abs(a - static_cast<double>(b.item())) <= 5e-6 * (1 + std::abs(a));
}

/// What stands before a "/", if there is one.
std::string before_slash(const std::string& key) { return key.substr(0, key.find('/')); }

}  // namespace

TEST_SUITE("keras 3") {
  TEST_CASE("activations by name") {
    int seen = 0;
    for (const std::string& key : figures().names()) {
      const std::string start = "activation.";
      if (!key.starts_with(start)) continue;
      CAPTURE(key);
      const std::string name = key.substr(start.size());
      CHECK(same(nn::Activation(name)(in(name.ends_with("softmax") ? "logits" : "line")), figure(key)));
      ++seen;
    }
    CHECK(seen == 22);
  }

  TEST_CASE("losses") {
    struct Case {
      std::string key, y, a;
    };
    const Case cases[] = {{"mse", "targets", "numbers"},
                          {"mean_squared_error", "targets", "numbers"},
                          {"mae", "targets", "numbers"},
                          {"mean_absolute_error", "targets", "numbers"},
                          {"huber", "targets", "numbers"},
                          {"log_cosh", "targets", "numbers"},
                          {"logcosh", "targets", "numbers"},
                          {"hinge", "signs", "numbers"},
                          {"hinge/01", "answers", "numbers"},
                          {"squared_hinge", "signs", "numbers"},
                          {"categorical_hinge", "one_hot", "numbers"},
                          {"categorical_crossentropy", "one_hot", "probabilities"},
                          {"categorical_crossentropy/soft", "soft", "probabilities"},
                          {"categorical_crossentropy_from_logits", "one_hot", "logits"},
                          {"binary_crossentropy", "answers", "chances"},
                          {"binary_crossentropy/soft", "soft", "chances"},
                          {"binary_crossentropy_from_logits", "answers", "logits"},
                          {"kl_divergence", "soft", "probabilities"},
                          {"kullback_leibler_divergence", "soft", "probabilities"},
                          {"poisson", "counts", "rates"},
                          {"cosine_similarity", "targets", "numbers"}};
    for (const Case& c : cases) {
      CAPTURE(c.key);
      CHECK(same(nn::Loss(before_slash(c.key))(in(c.a), in(c.y)), figure("loss." + c.key)));
    }
    CHECK(same(nn::Huber{.delta = 0.5}(in("numbers"), in("targets")), figure("loss.huber/0.5")));
    const nn::CategoricalCrossentropy smooth{.label_smoothing = 0.1};
    CHECK(same(smooth(in("probabilities"), in("one_hot")), figure("loss.categorical_crossentropy/smooth")));
    const nn::BinaryCrossentropy smooth_binary{.label_smoothing = 0.1};
    CHECK(same(smooth_binary(in("chances"), in("answers")), figure("loss.binary_crossentropy/smooth")));
  }

  TEST_CASE("losses of labels, one of a row or one in a column") {
    for (const Labels& y : {labels(), reshape(labels(), {-1, 1})}) {
      CAPTURE(y.shape().rank());
      const std::string name = "sparse_categorical_crossentropy";
      CHECK(same(nn::Loss(name)(in("probabilities"), y), figure("loss." + name)));
      CHECK(same(nn::Loss(name)(in("probabilities"), y), figure("loss." + name + "/column")));
      CHECK(same(nn::Loss(name + "_from_logits")(in("logits"), y), figure("loss." + name + "_from_logits")));
    }
  }

  TEST_CASE("metrics") {
    struct Case {
      nn::Metric metric;
      std::string key, y, a;
    };
    const auto named = [](const std::string& key, const std::string& y, const std::string& a) {
      return Case{nn::Metric(before_slash(key)), key, y, a};
    };
    const Case cases[] = {
        named("categorical_accuracy", "one_hot", "probabilities"),
        named("categorical_accuracy/soft", "soft", "probabilities"),
        named("categorical_accuracy/ties", "one_hot", "ties"),
        named("binary_accuracy", "answers", "chances"),
        named("binary_accuracy/column", "column_answers", "column"),
        named("binary_accuracy/mixed", "mixed", "column"),
        named("binary_accuracy/soft", "soft", "chances"),
        {nn::BinaryAccuracy{.threshold = 0}, "binary_accuracy/logits", "column_answers", "column_logits"},
        {nn::BinaryAccuracy{.outputs = nn::Outputs::sigmoid_logits}, "binary_accuracy/logits", "column_answers",
         "column_logits"},
        {nn::BinaryAccuracy{.threshold = 0.3}, "binary_accuracy/edge", "edge_answers", "edge"},
        // What "accuracy" stands for is chosen by the shapes.
        {nn::accuracy, "categorical_accuracy", "one_hot", "probabilities"},
        {nn::accuracy, "binary_accuracy/column", "column_answers", "column"},
        {nn::accuracy, "binary_accuracy/mixed", "mixed", "column"},
        named("top_2_accuracy", "one_hot", "probabilities"),
        named("top_2_accuracy/ties", "one_hot", "ties"),
        named("top_3_accuracy", "one_hot", "probabilities"),
        named("precision", "answers", "chances"),
        named("precision/classes", "one_hot", "probabilities"),
        named("precision/column", "column_answers", "column"),
        named("precision/mixed", "mixed", "column"),
        {nn::Precision{.threshold = 0.3}, "precision/0.3", "one_hot", "probabilities"},
        {nn::Precision{.threshold = 0.3}, "precision/edge", "edge_answers", "edge"},
        {nn::Precision{.threshold = 0.99}, "precision/none", "answers", "chances"},
        named("recall", "answers", "chances"),
        named("recall/classes", "one_hot", "probabilities"),
        named("recall/column", "column_answers", "column"),
        named("recall/mixed", "mixed", "column"),
        {nn::Recall{.threshold = 0.3}, "recall/0.3", "one_hot", "probabilities"},
        {nn::Recall{.threshold = 0.3}, "recall/edge", "edge_answers", "edge"},
        named("f1_score", "one_hot", "probabilities"),
        named("f1_score/column", "column_answers", "column"),
        {nn::F1{.average = nn::Average::micro}, "f1_score/micro", "answers", "chances"},
        named("root_mean_squared_error", "targets", "numbers"),
        named("r2_score", "targets", "numbers"),
        named("cosine_similarity", "targets", "numbers"),
        {nn::cosine_similarity, "cosine_similarity", "targets", "numbers"},
        {nn::Metric("cosine", nn::cosine_similarity), "cosine_similarity", "targets", "numbers"},
        named("mse", "targets", "numbers"),
        named("mean_absolute_error", "targets", "numbers"),
        named("huber", "targets", "numbers"),
        named("log_cosh", "targets", "numbers"),
        named("hinge", "signs", "numbers"),
        named("squared_hinge", "signs", "numbers"),
        named("categorical_hinge", "one_hot", "numbers"),
        named("kl_divergence", "soft", "probabilities"),
        named("poisson", "counts", "rates"),
        named("categorical_crossentropy", "one_hot", "probabilities"),
        named("binary_crossentropy", "answers", "chances"),
    };
    for (const Case& c : cases) {
      CAPTURE(c.key);
      CHECK(same(c.metric(in(c.a), in(c.y)), figure("metric." + c.key)));
    }
  }

  TEST_CASE("metrics of labels, one of a row or one in a column") {
    const Numbers a = in("probabilities");
    for (const Labels& y : {labels(), reshape(labels(), {-1, 1})}) {
      CAPTURE(y.shape().rank());
      for (const std::string name : {"sparse_categorical_accuracy", "sparse_categorical_crossentropy"}) {
        CHECK(same(nn::Metric(name)(a, y), figure("metric." + name)));
      }
      CHECK(same(nn::accuracy(a, y), figure("metric.sparse_categorical_accuracy/column")));
      CHECK(same(nn::TopK{.k = 3}(a, y), figure("metric.top_3_accuracy/labels")));
      CHECK(same(nn::precision(a, y), figure("metric.precision/classes")));
      CHECK(same(nn::recall(a, y), figure("metric.recall/classes")));
      CHECK(same(nn::f1(a, y), figure("metric.f1_score")));
    }
    CHECK(nn::Metric("sparse_top_k_categorical_accuracy")(a, labels()) == 1);
  }

  TEST_CASE("normalization as it comes") {
    const Numbers x = in("numbers");
    nn::Rng rng(0);
    const nn::LayerNorm layer_norm{};
    CHECK(same(layer_norm(layer_norm.init<float>({4}, rng), x, {}), figure("layer.LayerNorm")));
    const nn::BatchNorm batch_norm{};
    const nn::Params<float> p = batch_norm.init<float>({4}, rng);
    nn::Params<float> state = batch_norm.state<float>({4});
    CHECK(same(batch_norm(p, state, x, {.training = true}), figure("layer.BatchNorm")));
    CHECK(same(batch_norm(p, state, x, {}), figure("layer.BatchNorm/after")));
  }
}
