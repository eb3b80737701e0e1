// fit: validation, callbacks, Ctrl-C; batches of evaluate and predict; saving and resuming.

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <thread>

#include "../close.hpp"
#include "../error_message.hpp"

using namespace tapegrad;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / ("tapegrad_nn_fit_" + std::to_string(getpid()));
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  std::string file(const std::string& name) const { return (path / name).string(); }
};

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <class T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  return a.shape() == b.shape() && std::equal(a.data(), a.data() + a.size(), b.data());
}
template <class T>
bool same_bits(const TensorList<T>& a, const TensorList<T>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Tensor<T>& x, const Tensor<T>& y) { return same_bits(x, y); });
}

/// Two overlapping clouds, so that nothing is learned perfectly.
template <Real T>
struct Clouds {
  Tensor<T> X, y;
  Tensor<std::int64_t> labels;
  explicit Clouds(std::int64_t n = 60) {
    random::Generator rng(9);
    std::vector<std::int64_t> classes;
    for (std::int64_t i = 0; i < n; ++i) classes.push_back(rng.below(3));
    labels = Tensor<std::int64_t>({n}, classes);
    y = one_hot<T>(labels, 3);
    X = rng.normal<T>({n, 5}) + matmul(y, rng.normal<T>({3, 5}));
  }
};

template <Real T>
nn::Sequential<T> classifier(std::uint64_t seed = 3) {
  nn::Sequential<T> model({nn::Dense{7, "tanh"}, nn::Dense{3, "softmax"}}, seed);
  model.compile(
      {.optimizer = nn::SGD{.learning_rate = 0.1}, .loss = "categorical_crossentropy", .metrics = {"accuracy"}});
  return model;
}

}  // namespace

TEST_CASE("validation_split takes the last rows, and trains on the others alone") {
  const Clouds<double> data(50);
  nn::Sequential<double> split = classifier<double>(), given = classifier<double>();
  const nn::History a = split.fit(data.X, data.y, {.epochs = 3, .batch_size = 8, .validation_split = 0.25});
  // floor(50 * 0.75) = 37
  const nn::History b = given.fit(
      slice(data.X, 0, 0, 37), slice(data.y, 0, 0, 37),
      {.epochs = 3, .batch_size = 8, .validation_data = {{slice(data.X, 0, 37, 50), slice(data.y, 0, 37, 50)}}});
  for (const char* name : {"loss", "accuracy", "val_loss", "val_accuracy"}) CHECK(a[name] == b[name]);
  CHECK(same_bits(split.parameters(), given.parameters()));
  const nn::Logs now = split.evaluate(slice(data.X, 0, 37, 50), slice(data.y, 0, 37, 50));
  CHECK(now["loss"] == a["val_loss"].back());
  CHECK(now["accuracy"] == a["val_accuracy"].back());
}

TEST_CASE("validation data may be of another type of number, but not labels for numbers") {
  const Clouds<double> data;
  const Clouds<float> single;
  nn::Sequential<double> model = classifier<double>();
  const nn::History h = model.fit(data.X, data.y, {.validation_data = {{single.X, single.y}}});
  CHECK(h["val_loss"].back() == about(model.evaluate(data.X, data.y)["loss"], 1e-6));
  const std::string message = message_of([&] {
    model.fit(data.X, data.y, {.validation_data = {{data.X, data.labels}}});
  });
  CHECK(contains(message, "fit.cpp:"));
  CHECK(contains(message, "validation_data"));
  CHECK(contains(message, "y holds labels"));
}

TEST_CASE("what the options refuse is named with its field") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const auto refusal = [&](const nn::FitOptions& options) {
    return message_of([&] { model.fit(data.X, data.y, options); });
  };
  CHECK(contains(refusal({.validation_split = 1}), "validation_split is 1"));
  CHECK(contains(refusal({.validation_split = -0.1}), "validation_split"));
  CHECK(contains(refusal({.validation_split = 0.999}), "validation_split"));
  CHECK(contains(refusal({.validation_split = std::nan("")}), "validation_split"));
  CHECK(contains(refusal({.validation_split = 0.1, .validation_data = {{data.X, data.y}}}), "not both"));
  CHECK(contains(refusal({.validation_data = {{data.X, slice(data.y, 0, 0, 3)}}}), "validation_data"));
  CHECK(contains(refusal({.sample_weight = ones({3})}), "sample_weight is (3)"));
  CHECK(contains(refusal({.sample_weight = full({60}, -1.0)}), "sample_weight holds -1"));
  CHECK(contains(refusal({.initial_epoch = -1}), "initial_epoch is -1"));
  CHECK(contains(refusal({.batch_size = 0}), "batch_size"));
  CHECK(contains(message_of([&] { model.predict(data.X, {.batch_size = 0}); }), "batch_size is 0"));
  CHECK(contains(message_of([&] { model.evaluate(data.X, data.y, {.batch_size = -2}); }), "batch_size is -2"));
}

TEST_CASE("the order of an epoch depends on the seed and the epoch alone") {
  const Clouds<double> data;
  for (const std::optional<std::int64_t> steps : {std::optional<std::int64_t>(), std::optional<std::int64_t>(5)}) {
    nn::Sequential<double> whole = classifier<double>(), parts = classifier<double>();
    const nn::History all = whole.fit(
        data.X, data.y, {.epochs = 7, .batch_size = 8, .steps_per_epoch = steps, .validation_split = 0.1, .seed = 5});
    parts.fit(data.X, data.y,
              {.epochs = 3, .batch_size = 8, .steps_per_epoch = steps, .validation_split = 0.1, .seed = 5});
    CHECK(parts.epochs_trained() == 3);
    const nn::History rest = parts.fit(data.X, data.y,
                                       {.epochs = 7,
                                        .batch_size = 8,
                                        .steps_per_epoch = steps,
                                        .validation_split = 0.1,
                                        .seed = 5,
                                        .initial_epoch = parts.epochs_trained()});
    CHECK(parts.epochs_trained() == 7);
    REQUIRE(rest["loss"].size() == 4);
    for (std::size_t k = 0; k < 4; ++k) CHECK(rest["loss"][k] == all["loss"][k + 3]);
    CHECK(same_bits(whole.parameters(), parts.parameters()));
  }
}

TEST_CASE("metrics are of all predictions of an epoch together") {
  const Clouds<double> data(23);
  nn::Sequential<double> model({nn::Dense{3, "softmax"}}, 1);
  model.compile(
      {.optimizer = nn::SGD{.learning_rate = 0}, .loss = "categorical_crossentropy", .metrics = {"accuracy"}});
  const nn::History h = model.fit(data.X, data.y, {.epochs = 2, .batch_size = 4});
  const nn::Logs now = model.evaluate(data.X, data.y);
  CHECK(h["accuracy"][1] == now["accuracy"]);
  CHECK(h["loss"][1] == about(now["loss"], 1e-14));
}

TEST_CASE("evaluate and predict in batches are the whole but for the last bits, and on the tape the whole") {
  const Clouds<double> data(101);
  nn::Sequential<double> model = classifier<double>();
  model.build({5});
  const Tensor<> whole = model.predict(data.X, {.batch_size = 1000});
  for (const std::int64_t size : {1, 7, 64, 100, 101}) {
    CAPTURE(size);
    CHECK(allclose(model.predict(data.X, {.batch_size = size}), whole, 0, 1e-15));
    const nn::Logs logs = model.evaluate(data.X, data.y, {.batch_size = size});
    CHECK(logs["loss"] == about(model.evaluate(data.X, data.y)["loss"], 1e-14));
    CHECK(logs["accuracy"] == model.evaluate(data.X, data.y)["accuracy"]);
  }
  const auto gradient = [&](std::int64_t size) {
    return grad([&](const Tensor<>& x) { return sum(square(model.predict(x, {.batch_size = size}))); })(data.X);
  };
  CHECK(same_bits(gradient(7), gradient(1000)));
  const auto blocks = batch_jacobian([&](const Tensor<>& x) { return model.predict(x, {.batch_size = 7}); })(data.X);
  CHECK(blocks.output_shape() == Shape{101, 3});
}

TEST_CASE("an activation that mixes rows sees them all, whatever the batch size") {
  const Clouds<double> data;
  const auto over_batch = [](const Tensor<>& z) {
    const Tensor<> e = exp(z);
    return e / sum(e);
  };
  nn::Sequential<double> model({nn::Dense{3, nn::mixes_rows(nn::Activation(over_batch))}});
  CHECK(sum(model.predict(data.X, {.batch_size = 7})).item() == about(1, 1e-14));
}

TEST_CASE("predict_classes: the largest output, or above a half") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const Tensor<std::int64_t> classes = model.predict_classes(data.X, {.batch_size = 9});
  CHECK(classes.shape() == Shape{60});
  CHECK(same_bits(classes, argmax(model.predict(data.X), -1)));
  nn::Sequential<double> binary({nn::Dense{1, "sigmoid"}}, 2);
  const Tensor<> p = binary.predict(data.X);
  const Tensor<std::int64_t> decided = binary.predict_classes(data.X);
  for (std::int64_t i = 0; i < 60; ++i) CHECK(decided(i) == (p(i, 0) > 0.5));
  CHECK(max(p).item() > 0.5);
  CHECK(min(p).item() < 0.5);
}

TEST_CASE("a model is a function of its parameters") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>(), trained = classifier<double>();
  model.build({5});
  trained.build({5});
  const auto loss = [&](const TensorList<double>& p, const Tensor<>& x, const Tensor<>& y) {
    return mean(nn::categorical_crossentropy(model(p, x), y));
  };
  TensorList<double> p = model.parameters();
  nn::Optimizer optimizer = nn::SGD{.learning_rate = 0.1};
  for (int step = 0; step < 10; ++step) {
    auto [value, gradient] = value_and_grad(loss)(p, data.X, data.y);
    optimizer.step(p, gradient);
    trained.train_on_batch(data.X, data.y);
  }
  model.set_parameters(p);
  for (std::size_t k = 0; k < p.size(); ++k) CHECK(allclose(p[k], trained.parameters()[k], 0, 1e-14));
  CHECK(same_bits(model.predict(data.X), model(p, data.X)));
  p.pop_back();
  CHECK_THROWS_AS(model(p, data.X), ShapeError);
}

TEST_CASE("what layers draw in training depends on the seed of the model and the number of the step alone") {
  const Clouds<double> data(8);
  const auto drawn = [&](std::uint64_t seed, std::vector<int> runs) {
    std::vector<double> numbers;
    const auto noting = [&](const nn::Params<double>&, const Tensor<>& x, nn::Mode mode) {
      if (mode.training) numbers.push_back(mode.rng->uniform());
      return x;
    };
    nn::Sequential<double> model({noting, nn::Dense{3, "softmax"}}, seed);
    model.compile({.loss = "categorical_crossentropy"});
    for (const int epochs : runs) model.fit(data.X, data.y, {.epochs = epochs, .batch_size = 4, .seed = 1});
    return numbers;
  };
  const std::vector<double> numbers = drawn(1, {3});
  REQUIRE(numbers.size() == 6);
  CHECK(std::set<double>(numbers.begin(), numbers.end()).size() == 6);
  CHECK(drawn(1, {1, 1, 1}) == numbers);
  CHECK(drawn(2, {3}) != numbers);
}

TEST_CASE("early stopping waits, and gives back the best epoch") {
  const Clouds<double> data;
  // The validation loss of epoch k, by a callback that comes first.
  const auto stopped_at = [&](const std::vector<double>& losses, nn::EarlyStopping stopping,
                              std::vector<TensorList<double>>& weights) {
    nn::Sequential<double> model = classifier<double>();
    weights.clear();
    const nn::History h = model.fit(data.X, data.y,
                                    {.epochs = static_cast<std::int64_t>(losses.size()),
                                     .validation_split = 0.2,
                                     .callbacks = {[&](nn::Epoch& e) {
                                                     e.logs["val_loss"] = losses[static_cast<std::size_t>(e.index)];
                                                     weights.push_back(model.parameters());
                                                   },
                                                   stopping}});
    weights.push_back(model.parameters());
    return h["loss"].size();
  };
  std::vector<TensorList<double>> w;
  CHECK(stopped_at({3, 2, 2.5, 2.4, 1, 0}, {.patience = 2, .restore_best = true}, w) == 4);
  CHECK(same_bits(w.back(), w[1]));
  CHECK_FALSE(same_bits(w.back(), w[3]));
  CHECK(stopped_at({3, 2, 2.5, 2.4, 1, 0}, {.patience = 2}, w) == 4);
  CHECK(same_bits(w.back(), w[3]));
  CHECK(stopped_at({3, 2, 2.5, 1.9, 2, 2}, {.patience = 2, .restore_best = true}, w) == 6);
  CHECK(same_bits(w.back(), w[3]));
  CHECK(stopped_at({3, 2.9, 2.8, 2.7, 2.6}, {.min_delta = 0.25, .patience = 2, .restore_best = true}, w) == 3);
  CHECK(same_bits(w.back(), w[0]));
  // Without waiting, and with a NaN that is never better; not stopped, but the best is given back all the same.
  CHECK(stopped_at({3, 4, 5}, {}, w) == 2);
  CHECK(stopped_at({std::nan(""), 3, 2, 4}, {.patience = 3, .restore_best = true}, w) == 4);
  CHECK(same_bits(w.back(), w[2]));
  CHECK(stopped_at({1, 2, 3, 2.9}, {.patience = 1, .mode = "max"}, w) == 4);
}

TEST_CASE("the best epoch comes back with the statistics that layers keep") {
  const Clouds<double> data;
  nn::Sequential<double> model({nn::Dense{7, "tanh"}, nn::BatchNorm{}, nn::Dense{3, "softmax"}}, 3);
  model.compile({.optimizer = nn::SGD{.learning_rate = 2}, .loss = "categorical_crossentropy"});
  const nn::History h = model.fit(
      data.X, data.y,
      {.epochs = 12, .validation_split = 0.3, .callbacks = {nn::EarlyStopping{.patience = 100, .restore_best = true}}});
  const double best = *std::ranges::min_element(h["val_loss"]);
  CHECK(best < h["val_loss"].back());
  CHECK(model.evaluate(slice(data.X, 0, 42, 60), slice(data.y, 0, 42, 60))["loss"] == best);
}

TEST_CASE("a callback begins anew with every fit") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  int calls = 0;
  const nn::FitOptions options{.epochs = 3, .callbacks = {[n = 0, &calls](nn::Epoch& e) mutable {
                                              calls = ++n;
                                              if (n == 2) e.stop();
                                            }}};
  CHECK(model.fit(data.X, data.y, options)["loss"].size() == 2);
  CHECK(model.fit(data.X, data.y, options)["loss"].size() == 2);
  CHECK(calls == 2);
}

TEST_CASE("a log that is not there, or not known, is refused before training") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  model.build({5});
  const TensorList<double> before = model.parameters();
  const auto refusal = [&](nn::Callback callback) {
    return message_of([&] { model.fit(data.X, data.y, {.callbacks = {callback}}); });
  };
  CHECK(contains(refusal(nn::EarlyStopping{}), "EarlyStopping{.monitor = \"val_loss\"}: the logs are loss, accuracy"));
  CHECK(contains(refusal(nn::EarlyStopping{}), "validation_split"));
  CHECK(contains(refusal(nn::EarlyStopping{.monitor = "loss", .mode = "least"}), "mode is \"least\""));
  CHECK(contains(refusal(nn::ModelCheckpoint{.save_best_only = true}), "ModelCheckpoint"));
  CHECK(same_bits(model.parameters(), before));
}

TEST_CASE("what is better is asked of the metric, and not of its name") {
  const Clouds<double> data;
  const auto stopped_at = [&](const nn::Metric& metric, const std::vector<double>& values, const std::string& monitor) {
    nn::Sequential<double> model({nn::Dense{3, "softmax"}}, 3);
    model.compile({.loss = "categorical_crossentropy", .metrics = {metric}});
    const nn::FitOptions options{
        .epochs = std::ssize(values),
        .validation_split = 0.2,
        .callbacks = {[&](nn::Epoch& e) { e.logs[monitor] = values[static_cast<std::size_t>(e.index)]; },
                      nn::EarlyStopping{.monitor = monitor}}};
    return std::ssize(model.fit(data.X, data.y, options)["loss"]);
  };
  const nn::Metric larger("error", nn::Accuracy{}), smaller("accuracy", nn::mae);
  for (const char* prefix : {"", "val_"}) {
    CHECK(stopped_at(larger, {1, 2, 3, 2}, prefix + larger.name()) == 4);
    CHECK(stopped_at(smaller, {3, 2, 1, 2}, prefix + smaller.name()) == 4);
    CHECK(stopped_at(larger, {3, 2, 1, 2}, prefix + larger.name()) == 2);
    CHECK(stopped_at(smaller, {1, 2, 3, 2}, prefix + smaller.name()) == 2);
  }
  const nn::Metric own("accuracy", [](const auto& a, const auto& y) { return max(abs(a - y)); });
  CHECK(contains(message_of([&] { stopped_at(own, {1, 2}, "accuracy"); }), "give mode = \"min\" or \"max\""));
}

TEST_CASE("the log in CSV is written line by line, and goes on") {
  const Folder folder;
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const std::string path = folder.file("log.csv");
  std::ofstream(path) << "something else\n";
  const nn::History first = model.fit(data.X, data.y, {.epochs = 2, .callbacks = {nn::CsvLogger{path}}});
  first.save_csv(folder.file("history.csv"));
  CHECK(contents(path) == contents(folder.file("history.csv")));
  CHECK(contents(path).starts_with("epoch,loss,accuracy\n1,"));
  const nn::History second =
      model.fit(data.X, data.y, {.epochs = 3, .initial_epoch = 2, .callbacks = {nn::CsvLogger{path, true}}});
  second.save_csv(folder.file("second.csv"));
  CHECK(contents(folder.file("second.csv")).starts_with("epoch,loss,accuracy\n3,"));
  CHECK(contents(path) == contents(folder.file("history.csv")) + contents(folder.file("second.csv")).substr(20));
  const nn::FitOptions other{.validation_split = 0.5, .callbacks = {nn::CsvLogger{path, true}}};
  CHECK(contains(message_of([&] { model.fit(data.X, data.y, other); }), "begins with \"epoch,loss,accuracy\""));
  const nn::FitOptions nowhere{.callbacks = {nn::CsvLogger{folder.file("none/log.csv")}}};
  CHECK_THROWS_AS(model.fit(data.X, data.y, nowhere), Error);
}

TEST_CASE("Ctrl-C ends training after the step, and keeps the history") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  struct sigaction before, after;
  sigaction(SIGINT, nullptr, &before);
  const auto at_end = [&](nn::Epoch& e) {
    if (e.index == 1) raise(SIGINT);
  };
  const nn::History h = model.fit(data.X, data.y, {.epochs = 5, .callbacks = {at_end}, .stop_on_interrupt = true});
  CHECK(h["loss"].size() == 2);
  CHECK(h.interrupted);
  sigaction(SIGINT, nullptr, &after);
  CHECK((after.sa_handler == before.sa_handler));

  // Within an epoch: by a loss that is asked for at each step.
  int steps = 0;
  nn::Sequential<double> slow({nn::Dense{3}});
  slow.compile({.loss = [&](const Tensor<>& a, const Tensor<>& y) {
    if (++steps == 7) raise(SIGINT);
    return mean(square(a - y), -1);
  }});
  const nn::History cut =
      slow.fit(data.X, data.y, {.epochs = 5, .batch_size = 15, .stop_on_interrupt = true});  // 4 steps an epoch
  CHECK(steps == 7);
  CHECK(cut["loss"].size() == 1);
  CHECK(cut.interrupted);
  CHECK(slow.epochs_trained() == 1);

  // An exception leaves the handler as it was too.
  const auto thrower = [](nn::Epoch&) { throw std::runtime_error("stop"); };
  CHECK_THROWS(model.fit(data.X, data.y, {.callbacks = {thrower}, .stop_on_interrupt = true}));
  sigaction(SIGINT, nullptr, &after);
  CHECK((after.sa_handler == before.sa_handler));
}

TEST_CASE("Ctrl-C: a second one ends the program, without the option the first does, and ignored it stays") {
  const Clouds<double> data;
  const auto child = [&](bool stop, int signals, void (*handler)(int)) {
    const pid_t pid = fork();
    if (pid == 0) {
      signal(SIGINT, handler);
      nn::Sequential<double> model = classifier<double>();
      const nn::History h = model.fit(data.X, data.y,
                                      {.epochs = 3,
                                       .callbacks = {[&](nn::Epoch& e) {
                                         for (int k = 0; e.index == 0 && k < signals; ++k) raise(SIGINT);
                                       }},
                                       .stop_on_interrupt = stop});
      _exit(static_cast<int>(h["loss"].size()));
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  };
  CHECK(child(true, 1, SIG_DFL) == 1);
  CHECK(child(true, 2, SIG_DFL) == -SIGINT);
  CHECK(child(false, 1, SIG_DFL) == -SIGINT);
  CHECK(child(true, 1, SIG_IGN) == 3);
}

TEST_CASE("Ctrl-C ends the fits of all threads") {
  const Clouds<double> data;
  struct sigaction before, after;
  sigaction(SIGINT, nullptr, &before);
  std::atomic<int> running{0}, interrupted{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      nn::Sequential<double> model = classifier<double>();
      const nn::History h = model.fit(data.X, data.y,
                                      {.epochs = 1'000'000,
                                       .callbacks = {[&](nn::Epoch& e) {
                                         if (e.index == 0) ++running;
                                       }},
                                       .stop_on_interrupt = true});
      if (h.interrupted) ++interrupted;
    });
  }
  while (running < 3) std::this_thread::yield();
  kill(getpid(), SIGINT);
  for (std::thread& thread : threads) thread.join();
  CHECK(interrupted == 3);
  sigaction(SIGINT, nullptr, &after);
  CHECK((after.sa_handler == before.sa_handler));
}

TEST_CASE("weights of examples and of classes multiply the losses; metrics see only which are 0") {
  const Clouds<double> data;
  Tensor<> weights = zeros({60});
  for (std::int64_t i = 0; i < 60; ++i) weights.mutable_data()[i] = i % 3 == 0 ? 0 : 1 + static_cast<double>(i % 4);
  // A weight of 2 is the example twice, a weight of 0 none: summed losses, one step.
  std::vector<std::int64_t> rows;
  for (std::int64_t i = 0; i < 60; ++i) {
    for (int k = 0; k < weights(i); ++k) rows.push_back(i);
  }
  const Tensor<std::int64_t> repeated({static_cast<std::int64_t>(rows.size())}, rows);
  std::vector<std::int64_t> each = rows;
  each.erase(std::unique(each.begin(), each.end()), each.end());
  const Tensor<std::int64_t> repeated_once({static_cast<std::int64_t>(each.size())}, each);
  const auto model_of = [] {
    nn::Sequential<double> model = classifier<double>();
    model.compile({.optimizer = nn::SGD{.learning_rate = 0.01},
                   .loss = "categorical_crossentropy",
                   .metrics = {"accuracy"},
                   .reduction = nn::Reduction::sum});
    return model;
  };
  nn::Sequential<double> weighted = model_of(), repeating = model_of(), labeled = model_of();
  const nn::History h =
      weighted.fit(data.X, data.y, {.epochs = 4, .batch_size = 60, .sample_weight = astype<float>(weights)});
  const nn::History r =
      repeating.fit(take(data.X, repeated), take(data.y, repeated), {.epochs = 4, .batch_size = 1000});
  for (std::size_t k = 0; k < 4; ++k) {
    CHECK(h["loss"][k] * 60 == about(r["loss"][k] * static_cast<double>(rows.size()), 1e-13));
    CHECK(allclose(weighted.parameters()[k], repeating.parameters()[k], 0, 1e-13));
  }
  const nn::Logs logs = weighted.evaluate(data.X, data.y, {.batch_size = 7, .sample_weight = weights});
  CHECK(logs["loss"] * 60 ==
        about(sum(weights * nn::categorical_crossentropy(weighted.predict(data.X), data.y)).item(), 1e-13));
  CHECK(logs["accuracy"] == weighted.evaluate(take(data.X, repeated_once), take(data.y, repeated_once))["accuracy"]);

  // Class weights are weights by label, and both multiply.
  const std::vector<double> by_class{0.5, 2, 3};
  Tensor<> product = take(Tensor<>{0.5, 2, 3}, data.labels) * weights;
  nn::Sequential<double> both = model_of(), one = model_of();
  both.fit(data.X, data.y, {.epochs = 2, .sample_weight = weights, .class_weight = by_class});
  one.fit(data.X, data.y, {.epochs = 2, .sample_weight = product});
  CHECK(same_bits(both.parameters(), one.parameters()));
  labeled.compile({.loss = "sparse_categorical_crossentropy"});
  labeled.fit(data.X, data.labels, {.class_weight = by_class});
  CHECK(contains(message_of([&] { both.fit(data.X, data.y, {.class_weight = {1, 2}}); }), "fit.cpp:"));

  // The validation has the weights of its own rows.
  nn::Sequential<double> validated = model_of();
  const nn::History v =
      validated.fit(data.X, data.y, {.validation_split = 0.25, .sample_weight = weights, .class_weight = by_class});
  CHECK(v["val_loss"].back() == validated.evaluate(slice(data.X, 0, 45, 60), slice(data.y, 0, 45, 60),
                                                   {.sample_weight = slice(weights, 0, 45, 60)})["loss"]);
}

namespace {

/// A model of one layer whose parameters say whether two ways of training it are one.
template <Real T>
nn::Sequential<T> logistic_model(const nn::Loss& loss, const nn::Activation& activation, nn::OutputDelta way,
                                 std::vector<nn::Metric> metrics) {
  nn::Sequential<T> model({nn::Dense{3, activation}}, 5);
  model.compile({.optimizer = nn::SGD{.learning_rate = 0.1},
                 .loss = loss,
                 .metrics = std::move(metrics),
                 .reduction = nn::Reduction::sum,
                 .output_delta = way});
  return model;
}

}  // namespace

TEST_CASE_TEMPLATE("a row of weight 0 contributes nothing, whatever its target", T, float, double) {
  const Clouds<T> data(20);
  const double tolerance = sizeof(T) == 8 ? 1e-13 : 1e-5;
  Tensor<T> weights = ones<T>({20}), y = data.y;
  Tensor<std::int64_t> labels = data.labels;
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < 20; ++i) {
    if (i % 4 != 0) {
      kept.push_back(i);
      weights.mutable_data()[i] = T(1 + i % 3);
      continue;
    }
    weights.mutable_data()[i] = 0;
    labels.mutable_data()[i] = i % 8 == 0 ? -7 : 99;
    for (int j = 0; j < 3; ++j) y.mutable_data()[3 * i + j] = std::numeric_limits<T>::quiet_NaN();
  }
  const Tensor<std::int64_t> rows({static_cast<std::int64_t>(kept.size())}, kept);
  const Tensor<T> X = take(data.X, rows), W = take(weights, rows);
  // A loss whose slope is infinite at the target, which strong zeros alone would not mend in the value.
  auto own = [](const auto& a, const auto& t) { return sum(sqrt(abs(a - t)), -1); };
  auto check = [&](const nn::Loss& loss, const char* activation, nn::OutputDelta way, const auto& all,
                   std::vector<nn::Metric> metrics) {
    CAPTURE(loss.name());
    CAPTURE(to_string(way));
    const auto few = take(all, rows);
    auto with = logistic_model<T>(loss, activation, way, metrics), without = with;
    const nn::FitOptions fit{.epochs = 3, .batch_size = 20, .shuffle = false};
    nn::FitOptions with_weights = fit, without_weights = fit;
    with_weights.sample_weight = weights;
    without_weights.sample_weight = W;
    const nn::History h = with.fit(data.X, all, with_weights), g = without.fit(X, few, without_weights);
    for (std::size_t k = 0; k < 2; ++k) CHECK(allclose(with.parameters()[k], without.parameters()[k], 0, tolerance));
    const nn::Logs a = with.evaluate(data.X, all, {.batch_size = 3, .sample_weight = weights}),
                   b = with.evaluate(X, few, {.sample_weight = W});
    CHECK(a["loss"] * 20 == about(b["loss"] * 15, tolerance));
    CHECK(h["loss"][2] * 20 == about(g["loss"][2] * 15, tolerance));
    for (const nn::Metric& metric : metrics) {
      CAPTURE(metric.name());
      CHECK(a[metric.name()] == about(b[metric.name()], tolerance));
      CHECK(h[metric.name()][2] == about(g[metric.name()][2], tolerance));
    }
    // Nor with validation data, and nothing at all where every weight is 0.
    nn::FitOptions validated = with_weights;
    validated.validation_data = {{data.X, all, weights}};
    CHECK(std::isfinite(with.fit(data.X, all, validated)["val_loss"].back()));
    const TensorList<T> before = with.parameters();
    validated.sample_weight = zeros<T>({20});
    const nn::History none = with.fit(data.X, all, validated);
    CHECK(none["loss"].back() == 0);
    CHECK(same_bits(before, with.parameters()));
    for (const nn::Metric& metric : metrics) CHECK(none[metric.name()].back() == 0);
  };
  using nn::OutputDelta;
  for (OutputDelta way : {OutputDelta::closed_form, OutputDelta::vjp, OutputDelta::jacobian}) {
    check("categorical_crossentropy", "softmax", way, y, {"accuracy", "mse", "f1"});
    check("mse", "linear", way, y, {"mae"});
    check("sparse_categorical_crossentropy", "softmax", way, labels, {"accuracy", nn::TopK{.k = 2}});
    if (way != OutputDelta::closed_form) check(own, "tanh", way, y, {"rmse"});
  }
  // By class, too, where the class of a row of weight 0 cannot be known.
  auto model = logistic_model<T>("categorical_crossentropy", "softmax", OutputDelta::automatic, {"accuracy"});
  CHECK(std::isfinite(model.fit(data.X, y, {.sample_weight = weights, .class_weight = {1, 0, 2}})["loss"].back()));
  CHECK_NOTHROW(logistic_model<T>("sparse_categorical_crossentropy", "softmax", OutputDelta::automatic, {"accuracy"})
                    .fit(data.X, labels, {.sample_weight = weights, .class_weight = {1, 0, 2}}));
}

TEST_CASE_TEMPLATE("an ignored label: the mean over the other rows, in training, report and metrics", T, float,
                   double) {
  const Clouds<T> data(20);
  const double tolerance = sizeof(T) == 8 ? 1e-13 : 1e-5;
  Tensor<std::int64_t> labels = data.labels;
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < 20; ++i) {
    if (i % 4 == 1 || i < 4)
      labels.mutable_data()[i] = 255;
    else
      kept.push_back(i);
  }
  const Tensor<std::int64_t> rows({static_cast<std::int64_t>(kept.size())}, kept), few = take(labels, rows);
  const Tensor<T> X = take(data.X, rows);
  for (bool from_logits : {false, true}) {
    for (nn::OutputDelta way : {nn::OutputDelta::closed_form, nn::OutputDelta::vjp, nn::OutputDelta::jacobian}) {
      CAPTURE(from_logits);
      CAPTURE(to_string(way));
      const nn::SparseCategoricalCrossentropy loss{
          .label_smoothing = 0.1, .from_logits = from_logits, .ignored_label = 255};
      nn::Sequential<T> with({nn::Dense{3, from_logits ? "linear" : "softmax"}}, 5);
      with.compile({.optimizer = nn::SGD{.learning_rate = 0.1},
                    .loss = loss,
                    .metrics = {"accuracy", "recall",
                                nn::Metric("own",
                                           [](const auto& a, const Tensor<std::int64_t>& y) {
                                             return static_cast<double>(max(a).item()) + static_cast<double>(y(0));
                                           })},
                    .output_delta = way});
      nn::Sequential<T> without = with;
      const nn::History h = with.fit(data.X, labels, {.epochs = 3, .batch_size = 20, .shuffle = false});
      const nn::History g = without.fit(X, few, {.epochs = 3, .batch_size = 20, .shuffle = false});
      for (std::size_t k = 0; k < 2; ++k) CHECK(allclose(with.parameters()[k], without.parameters()[k], 0, tolerance));
      for (const char* name : {"loss", "accuracy", "recall", "own"}) {
        CHECK(h[name][2] == about(g[name][2], tolerance));
      }
      // In batches, the first of which is ignored whole.
      const nn::Logs a = with.evaluate(data.X, labels, {.batch_size = 4}), b = with.evaluate(X, few);
      for (const char* name : {"loss", "accuracy", "recall", "own"}) {
        CHECK(a[name] == about(b[name], tolerance));
      }
      CHECK_NOTHROW(with.fit(data.X, labels, {.batch_size = 4, .class_weight = {1, 2, 3}, .shuffle = false}));
      const Tensor<std::int64_t> all = full<std::int64_t>({20}, 255);
      const TensorList<T> before = with.parameters();
      const nn::History none = with.fit(data.X, all);
      CHECK(same_bits(before, with.parameters()));
      for (const char* name : {"loss", "accuracy", "recall", "own"}) CHECK(none[name].back() == 0);
      CHECK(with.evaluate(data.X, all)["loss"] == 0);
      CHECK(contains(message_of([&] { with.fit(data.X, full<std::int64_t>({20}, 254)); }), "out of range"));
    }
  }
}

TEST_CASE("a summary counts what is trained and what is kept") {
  nn::Sequential<double> model({nn::Flatten{}, nn::Dense{7, "tanh"}, nn::BatchNorm{}, nn::Dense{3, "softmax"}});
  CHECK_THROWS_AS(model.summary(), ValueError);
  model.build({2, 3});
  std::ostringstream out;
  model.summary(out);
  CHECK(out.str() ==
        "layer        output  trained  kept\n"
        "0 Flatten    (6)           0     0\n"
        "1 Dense      (7)          49     0\n"
        "2 BatchNorm  (7)          14    14\n"
        "3 Dense      (3)          24     0\n"
        "total                     87    14\n");
}

namespace {

/// What needs everything that a file must hold: random numbers of layers, kept statistics, a state of the optimizer and
/// its iterations.
template <Real T>
nn::Sequential<T> resumable(std::uint64_t seed = 3) {
  nn::Sequential<T> model({nn::Dense{7, "tanh"}, nn::BatchNorm{}, nn::Dropout{0.3},
                           nn::Residual{nn::Dense{7, "tanh"}, nn::Dropout{0.2}}, nn::Dense{3, "softmax"}},
                          seed);
  model.compile({.optimizer = nn::Adam{.learning_rate = nn::warm_up(0.01, 20)},
                 .loss = "categorical_crossentropy",
                 .metrics = {"accuracy"}});
  return model;
}

}  // namespace

TEST_CASE_TEMPLATE("a saved model goes on as if it had not stopped, to the bit", T, float, double) {
  const Folder folder;
  const Clouds<T> data;
  nn::FitOptions options{.epochs = 6, .batch_size = 7, .validation_split = 0.1, .seed = 8};
  nn::Sequential<T> whole = resumable<T>();
  const nn::History all = whole.fit(data.X, data.y, options);

  nn::Sequential<T> first = resumable<T>();
  options.epochs = 2;
  first.fit(data.X, data.y, options);
  first.save(folder.file("m.npz"));

  nn::Sequential<T> second = resumable<T>(99);  // the seed is the saved one
  second.load(folder.file("m.npz"));
  CHECK(same_bits(second.predict(data.X), first.predict(data.X)));
  CHECK(second.epochs_trained() == 2);
  options.epochs = 6;
  options.initial_epoch = second.epochs_trained();
  const nn::History rest = second.fit(data.X, data.y, options);
  for (const auto& log : rest) {
    CAPTURE(log.first);
    CHECK(std::equal(log.second.begin(), log.second.end(), all[log.first].begin() + 2));
  }
  CHECK(same_bits(second.parameters(), whole.parameters()));
  CHECK(same_bits(second.predict(data.X), whole.predict(data.X)));

  // What was saved again is the same file, and what was saved in a callback is what was saved after fit.
  second.save(folder.file("a.npz"));
  whole.save(folder.file("b.npz"));
  CHECK(contents(folder.file("a.npz")) == contents(folder.file("b.npz")));
  nn::Sequential<T> checked = resumable<T>();
  options.initial_epoch = 0;
  options.callbacks = {nn::ModelCheckpoint{folder.file("epoch_{epoch}.npz")}};
  checked.fit(data.X, data.y, options);
  CHECK(contents(folder.file("epoch_2.npz")) == contents(folder.file("m.npz")));
  CHECK(contents(folder.file("epoch_6.npz")) == contents(folder.file("b.npz")));
}

TEST_CASE("a rate that callbacks have set goes on too") {
  const Folder folder;
  const Clouds<double> data;
  const nn::LearningRateScheduler decay{[](std::int64_t epoch, double rate) { return epoch == 0 ? rate : rate * 0.5; }};
  std::vector<double> rates;
  const auto note = [&](nn::Epoch& e) { rates.push_back(e.learning_rate()); };
  nn::Sequential<double> whole = classifier<double>(), part = classifier<double>(), rest = classifier<double>();
  whole.fit(data.X, data.y, {.epochs = 4, .callbacks = {decay, note}});
  CHECK(rates == std::vector<double>{0.1, 0.05, 0.025, 0.0125});
  part.fit(data.X, data.y, {.epochs = 2, .callbacks = {decay}});
  part.save(folder.file("m.npz"));
  rest.load(folder.file("m.npz"));
  rest.fit(data.X, data.y, {.epochs = 4, .initial_epoch = 2, .callbacks = {decay}});
  CHECK(same_bits(rest.parameters(), whole.parameters()));
}

TEST_CASE("the rate falls on a plateau") {
  const Clouds<double> data;
  const std::vector<double> losses{3, 2, 2, 2, 1, 1, 1, 1, 1};
  std::vector<double> rates;
  nn::Sequential<double> model = classifier<double>();
  model.fit(
      data.X, data.y,
      {.epochs = 9,
       .callbacks = {[&](nn::Epoch& e) { e.logs["loss"] = losses[static_cast<std::size_t>(e.index)]; },
                     nn::ReduceLearningRateOnPlateau{.monitor = "loss", .factor = 0.5, .patience = 2, .minimum = 0.02},
                     [&](nn::Epoch& e) { rates.push_back(e.learning_rate()); }}});
  CHECK(rates == std::vector<double>{0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.02});
}

TEST_CASE("a file of another model is refused, and changes nothing") {
  const Folder folder;
  const Clouds<double> data;
  nn::Sequential<double> saved = resumable<double>();
  CHECK(contains(message_of([&] { saved.save(folder.file("m.npz")); }), "call build first"));
  saved.fit(data.X, data.y);
  saved.save(folder.file("m.npz"));
  const nn::Npz file(folder.file("m.npz"));
  const auto without = [&](const std::string& left_out) {
    nn::Named<nn::AnyTensor> arrays;
    for (const std::string& name : file.names()) {
      if (name == left_out) continue;
      if (name == "example" || name == "seed" || name == "steps" || name == "epochs_trained" ||
          name == "optimizer.iterations" || name == "layers") {
        arrays.add(name, file.read<std::int64_t>(name));
      } else {
        arrays.add(name, file.read<double>(name));
      }
    }
    nn::write_npz(folder.file("less.npz"), arrays);
  };
  const auto refusal = [&](nn::Sequential<double> model, const std::string& name) {
    const std::string before_path = folder.file("before.npz"), after_path = folder.file("after.npz");
    model.build({5});
    model.save(before_path);
    const std::string message = message_of([&] { model.load(folder.file(name)); });
    model.save(after_path);
    CHECK(contents(before_path) == contents(after_path));
    CHECK(contains(message, "load at fit.cpp:"));
    CHECK(contains(message, name));
    return message;
  };
  for (const std::string& name : file.names()) {
    if (name == "layers") continue;
    without(name);
    const std::string message = refusal(resumable<double>(), "less.npz");
    if (name.starts_with("optimizer.")) {
      CHECK(contains(message, "optimizer."));
    } else {
      CHECK(contains(message, "\"" + name + "\""));
    }
  }
  // Files of 0.1 do not say which layers they belong to.
  for (const char* name : {"", "layers"}) {
    without(name);
    CHECK(message_of([&] { resumable<double>().load(folder.file("less.npz")); }) == "");
  }

  nn::Sequential<double> wider({nn::Dense{8, "tanh"}, nn::Dense{3, "softmax"}});
  CHECK(contains(refusal(wider, "less.npz"), "\"0.kernel\" is (5, 7), and (5, 8) in the model"));
  CHECK(contains(refusal(wider, "m.npz"), "layer"));
  nn::Sequential<double> shorter({nn::Dense{7, "tanh"}});
  CHECK(contains(refusal(shorter, "less.npz"), "which the model has not"));
  nn::Sequential<double> sgd = resumable<double>();
  sgd.compile({.optimizer = nn::SGD{}, .loss = "mse"});
  CHECK(contains(refusal(sgd, "m.npz"), "optimizer."));
  // Without compile the parameters alone.
  nn::Sequential<double> bare({nn::Dense{7, "tanh"}, nn::BatchNorm{}, nn::Dropout{0.3},
                               nn::Residual{nn::Dense{7, "tanh"}, nn::Dropout{0.2}}, nn::Dense{3, "softmax"}});
  bare.load(folder.file("m.npz"));
  CHECK(same_bits(bare.predict(data.X), saved.predict(data.X)));
  bare.save(folder.file("bare.npz"));
  nn::Sequential<double> fresh = resumable<double>();
  fresh.load(folder.file("bare.npz"));
  CHECK(same_bits(fresh.predict(data.X), saved.predict(data.X)));

  nn::Sequential<double> other_examples = resumable<double>();
  other_examples.build({6});
  CHECK(contains(message_of([&] { other_examples.load(folder.file("m.npz")); }), "examples of shape (5)"));
  CHECK_THROWS_AS(other_examples.load(folder.file("missing.npz")), Error);

  // float into double, not the reverse.
  nn::Sequential<float> single = resumable<float>();
  CHECK(contains(message_of([&] { single.load(folder.file("m.npz")); }), "m.npz"));
  const Clouds<float> single_data;
  single.fit(single_data.X, single_data.y);
  single.save(folder.file("single.npz"));
  nn::Sequential<double> widened = resumable<double>();
  widened.load(folder.file("single.npz"));
  for (std::size_t k = 0; k < widened.parameters().size(); ++k) {
    CHECK(same_bits(widened.parameters()[k], astype<double>(single.parameters()[k])));
  }
}

// ------------------------------------------------------------------------------------------------- what is refused

TEST_CASE("logs have names of their own, and a compile that throws changes nothing") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const auto refusal = [&](const std::vector<nn::Metric>& metrics) {
    return message_of([&] { model.compile({.loss = "mse", .metrics = metrics}); });
  };
  const auto own = [](const char* name) {
    return nn::Metric(name, [](const auto& a, const auto& y) { return mean(a - y); });
  };
  CHECK(contains(refusal({nn::Accuracy{.threshold = 0.3}, nn::Accuracy{}}), "compile at fit.cpp:"));
  CHECK(contains(refusal({nn::Accuracy{.threshold = 0.3}, nn::Accuracy{}}), "\"accuracy\""));
  CHECK(contains(refusal({own("loss")}), "\"loss\""));
  CHECK(contains(refusal({own("val_loss")}), "\"val_loss\""));
  CHECK(contains(message_of([&] { model.compile({.loss = "mae", .output_delta = nn::OutputDelta::closed_form}); }),
                 "fit.cpp:"));
  nn::Sequential<double> same = classifier<double>();
  CHECK(model.fit(data.X, data.y)["loss"] == same.fit(data.X, data.y)["loss"]);
  // The cure that the message names.
  model.compile({.loss = "mse", .metrics = {nn::Metric("lenient", nn::Accuracy{.threshold = 0.3}), nn::Accuracy{}}});
  CHECK(model.evaluate(data.X, data.y).size() == 3);
}

TEST_CASE("a callback cannot compile or fit its model, and what it adds to the logs stands in the history") {
  const Folder folder;
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const auto add = [&](nn::Epoch& e) {
    CHECK_THROWS_AS(model.compile({.loss = "mse", .metrics = {"mae", "rmse"}}), ValueError);
    CHECK_THROWS_AS(model.fit(data.X, data.y), ValueError);
    nn::Sequential<double> copy = model;
    copy.compile({.loss = "mse"});
    if (e.index > 0) e.logs.add("rate, \"learning\"", e.learning_rate());
  };
  const nn::History h = model.fit(data.X, data.y, {.epochs = 3, .callbacks = {add}});
  const std::vector<double>& rates = h["rate, \"learning\""];
  REQUIRE(rates.size() == 3);
  CHECK(std::isnan(rates[0]));
  CHECK(rates[2] == 0.1);
  h.save_csv(folder.file("h.csv"));
  CHECK(contents(folder.file("h.csv")).starts_with("epoch,loss,accuracy,\"rate, \"\"learning\"\"\"\n1,"));
  // Also after a fit that has thrown.
  const auto thrower = [](nn::Epoch&) { throw std::runtime_error("stop"); };
  CHECK_THROWS(model.fit(data.X, data.y, {.callbacks = {thrower}}));
  model.compile({.loss = "mse"});
  CHECK(model.fit(data.X, data.y, {.epochs = 2})["loss"].size() == 2);
}

TEST_CASE("numbers of steps and epochs that cannot be counted are refused, and many epochs take no memory") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const auto stop = [](nn::Epoch& e) { e.stop(); };
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(contains(
      message_of([&] { model.fit(data.X, data.y, {.steps_per_epoch = std::int64_t{1} << 60, .callbacks = {stop}}); }),
      "too many"));
  const Tensor<std::int64_t> batches = zeros<std::int64_t>({4, 2});
  CHECK_THROWS_AS(model.fit(data.X, data.y, {.epochs = most, .steps_per_epoch = 2, .batches = batches}), ValueError);
  CHECK(model.fit(data.X, data.y, {.epochs = most, .callbacks = {stop}})["loss"].size() == 1);
}

TEST_CASE("options are checked before the model is built, and the validation before the first epoch") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  CHECK_THROWS_AS(model.fit(data.X, data.y, {.batch_size = 0}), ValueError);
  model.build({3});  // not built yet
  nn::Sequential<double> other = classifier<double>();
  int epochs = 0;
  const auto count = [&](nn::Epoch&) { ++epochs; };
  const std::string message = message_of([&] {
    other.fit(data.X, data.y, {.validation_data = {{data.X, zeros({60, 4})}}, .callbacks = {count}});
  });
  CHECK(contains(message, "(1, 4)"));
  CHECK(epochs == 0);
  CHECK(contains(message_of([&] { other.fit(data.X, data.y, {.validation_split = -1e-20}); }),
                 "validation_split is -1e-20"));
}

TEST_CASE("the loss of evaluate and of the validation includes the penalties, as that of training does") {
  const Clouds<double> data;
  for (const nn::Reduction reduction : {nn::Reduction::mean, nn::Reduction::sum}) {
    nn::Sequential<double> model({nn::Dense{.units = 4, .kernel_regularizer = nn::l2(0.1)},
                                  nn::Dense{.units = 3, .activation = "softmax", .kernel_regularizer = nn::l1(0.3)}});
    model.compile(
        {.optimizer = nn::SGD{.learning_rate = 0}, .loss = "categorical_crossentropy", .reduction = reduction});
    const nn::History h = model.fit(data.X, data.y, {.batch_size = 60, .validation_data = {{data.X, data.y}}});
    const double loss = model.evaluate(data.X, data.y, {.batch_size = 7})["loss"];
    CHECK(h["loss"].back() == about(loss, 1e-14));
    CHECK(h["val_loss"].back() == about(loss, 1e-14));
    const TensorList<double> p = model.parameters();
    const double penalties = 0.1 * sum(square(p[0])).item() + 0.3 * sum(abs(p[2])).item();
    CHECK(loss == about(mean(nn::categorical_crossentropy(model.predict(data.X), data.y)).item() + penalties, 1e-14));
  }
}

TEST_CASE("a step that throws has not moved what layers keep") {
  const Folder folder;
  nn::Sequential<double> model({nn::BatchNorm{}, nn::Dense{1}});
  model.compile({.loss = "mse"});
  model.build({5});
  model.save(folder.file("before.npz"));
  const Clouds<double> data;
  CHECK_THROWS_AS(model.train_on_batch(data.X, data.y), ShapeError);
  model.save(folder.file("after.npz"));
  CHECK(contents(folder.file("before.npz")) == contents(folder.file("after.npz")));
}

TEST_CASE("errors of layers and optimizers name the line of the call and the layer") {
  const Clouds<double> data;
  nn::Sequential<double> model({nn::Dense{3}, nn::Dense{3}});
  model.compile({.optimizer = nn::SGD{.momentum = 2}, .loss = "mse"});
  CHECK(contains(message_of([&] {
                   model.fit(reshape(data.X, {15, 4, 5}), slice(data.y, 0, 0, 15));
                 }),
                 "layer 0 (Dense): "));
  CHECK(message_of([&] {
          model.fit(reshape(data.X, {15, 4, 5}), slice(data.y, 0, 0, 15));
        }).starts_with("fit at fit.cpp:"));
  CHECK(message_of([&] { model.fit(data.X, data.y); }).starts_with("step at fit.cpp:"));
  CHECK(message_of([&] { model.add(nn::Dense{2}); }).starts_with("add at fit.cpp:"));
  nn::Sequential<double> penal({nn::Dense{.units = 1, .kernel_regularizer = [](const auto& w) { return square(w); }}});
  CHECK(message_of([&] { penal.build({2}); }).starts_with("build at fit.cpp:"));
  nn::Sequential<double> short_of_rows({[](const auto& x) { return slice(x, 0, 0, 1); }, nn::Dense{2}});
  CHECK(contains(message_of([&] { short_of_rows.predict(data.X); }), "layer 0 (custom): it gave (1, 5)"));
}

TEST_CASE("threads may share a model that is loaded") {
  const Folder folder;
  const Clouds<double> data;
  nn::Sequential<double> trained = resumable<double>(), model = resumable<double>();
  trained.fit(data.X, data.y);
  trained.save(folder.file("m.npz"));
  model.load(folder.file("m.npz"));
  const Tensor<> expected = trained.predict(data.X);
  const double loss = trained.evaluate(data.X, data.y)["loss"];
  std::atomic<int> same{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      if (same_bits(model.predict(data.X), expected) && model.evaluate(data.X, data.y)["loss"] == loss) ++same;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(same == 4);
}

TEST_CASE("load gives back the rate that was saved, a callback's or the rule's own") {
  const Folder folder;
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  model.build({5});
  model.save(folder.file("own.npz"));
  double rate = 0;
  const auto note = [&](nn::Epoch& e) { rate = e.learning_rate(); };
  const auto scheduled = [&](double value) {
    return nn::LearningRateScheduler{[value](std::int64_t, double) { return value; }};
  };
  model.fit(data.X, data.y, {.callbacks = {scheduled(0.25)}});
  model.save(folder.file("set.npz"));
  model.fit(data.X, data.y, {.callbacks = {scheduled(1e-9)}});
  model.load(folder.file("own.npz"));
  model.fit(data.X, data.y, {.callbacks = {note}});
  CHECK(rate == 0.1);
  model.load(folder.file("set.npz"));
  model.fit(data.X, data.y, {.callbacks = {note}});
  CHECK(rate == 0.25);
}

TEST_CASE("a hostile file of a model is refused, naming it, before memory is taken") {
  const Folder folder;
  const Clouds<double> data;
  const std::int64_t huge = std::int64_t{1} << 33;
  const auto refusal = [&](const std::vector<std::int64_t>& example, std::int64_t steps = 0, std::int64_t epochs = 0,
                           std::int64_t iterations = 0, double rate = 0.1) {
    nn::Sequential<double> model({nn::Dense{7}});
    model.compile({.loss = "mse"});
    nn::write_npz(folder.file("x.npz"), {{"example", Tensor<std::int64_t>({std::ssize(example)}, example)},
                                         {"0.kernel", zeros({5, 7})},
                                         {"0.bias", zeros({7})},
                                         {"seed", Tensor<std::int64_t>(std::int64_t{1})},
                                         {"steps", Tensor<std::int64_t>(steps)},
                                         {"epochs_trained", Tensor<std::int64_t>(epochs)},
                                         {"optimizer.iterations", Tensor<std::int64_t>(iterations)},
                                         {"optimizer.learning_rate", Tensor<>(rate)}});
    const std::string message = message_of([&] { model.load(folder.file("x.npz")); });
    if (!message.empty()) {
      CHECK(message.starts_with("load at fit.cpp:"));
      CHECK(contains(message, "x.npz"));
      model.build({6});  // nothing has changed
    }
    return message;
  };
  CHECK(refusal({5}) == "");
  CHECK(contains(refusal({-1}), "\"example\" is (-1)"));
  CHECK(contains(refusal({huge}), "\"example\" is (8589934592)"));
  CHECK(contains(refusal({huge, huge, huge}), "\"example\""));
  CHECK(contains(refusal({5}, -7), "\"steps\" is -7"));
  CHECK(contains(refusal({5}, 0, -5), "\"epochs_trained\" is -5"));
  CHECK(contains(refusal({5}, 0, 0, -1), "\"optimizer.iterations\" is -1"));
  CHECK(contains(refusal({5}, 0, 0, 0, std::nan("")), "optimizer."));
}

TEST_CASE("options of callbacks") {
  const Folder folder;
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const auto refusal = [&](const nn::Callback& callback) {
    return message_of([&] { model.fit(data.X, data.y, {.callbacks = {callback}}); });
  };
  for (const double factor : {0.0, 1.0, -3.0, 2.0, std::nan("")}) {
    CHECK(contains(refusal(nn::ReduceLearningRateOnPlateau{.monitor = "loss", .factor = factor}), "factor is"));
  }
  CHECK(contains(refusal(nn::ReduceLearningRateOnPlateau{.monitor = "loss", .patience = -1}), "patience is -1"));
  CHECK(contains(refusal(nn::EarlyStopping{.monitor = "loss", .patience = -1}), "patience is -1"));

  const std::string path = folder.file("{epoch}_of_{epoch}.npz");
  model.fit(data.X, data.y, {.callbacks = {nn::ModelCheckpoint{path}}});
  CHECK(fs::exists(folder.file("1_of_1.npz")));

  // A fit that goes on keeps the better file.
  nn::ModelCheckpoint best{.path = folder.file("best.npz"), .monitor = "loss", .save_best_only = true};
  const nn::History h = model.fit(data.X, data.y, {.epochs = 3, .callbacks = {best}});
  const std::string file = contents(best.path);
  best.initial_best = *std::ranges::min_element(h["loss"]);
  nn::Sequential<double> worse = classifier<double>(77);
  worse.fit(data.X, data.y, {.callbacks = {best}});
  CHECK(contents(best.path) == file);
  best.initial_best = 100;
  worse.fit(data.X, data.y, {.callbacks = {best}});
  CHECK(contents(best.path) != file);
}

// ------------------------------------------------------------------------------------------------- bad numbers

namespace {

constexpr double undefined = std::numeric_limits<double>::quiet_NaN(),
                 infinite = std::numeric_limits<double>::infinity();

nn::Sequential<double> linear(const nn::Optimizer& optimizer = nn::SGD{.learning_rate = 0.1}) {
  nn::Sequential<double> model({nn::Dense{3}}, 4);
  model.compile({.optimizer = optimizer, .loss = "mse"});
  model.build({5});
  return model;
}

/// `all`, with one number of a row changed.
Tensor<> spoilt(const Tensor<>& all, std::int64_t row, double value) {
  Tensor<> changed = all;
  changed.mutable_data()[row * all.shape()[1] + 1] = value;
  return changed;
}

/// Momentum that makes NaN of all it has at one step, once.
struct Spoiling {
  nn::LearningRate learning_rate = 0.01;
  int* steps_to_go = nullptr;
  template <class T>
  nn::Params<T> slots(const Tensor<T>& w) const {
    return {{"v", zeros<T>(w.shape())}};
  }
  template <class T>
  void update(Tensor<T>& w, const Tensor<T>& g, nn::Params<T>& slots, const nn::Step& step) const {
    slots["v"] = 0.5 * slots["v"] + g;
    w = w - step.rate * slots["v"];
    // The kernel comes first.
    if (w.rank() != 2 || --*steps_to_go != 0) return;
    slots["v"] = slots["v"] * std::numeric_limits<T>::quiet_NaN();
    w = w + slots["v"];
  }
};

}  // namespace

TEST_CASE("a loss that is not finite ends fit before the step is made, and says what went first") {
  const Clouds<double> data;
  for (const double bad : {undefined, infinite, -infinite}) {
    const std::string printed = std::isnan(bad) ? "nan" : bad > 0 ? "inf" : "-inf";
    nn::Sequential<double> model = linear(), same = linear();
    std::string message = message_of(
        [&] { model.fit(spoilt(data.X, 37, bad), data.y, {.epochs = 3, .batch_size = 10, .shuffle = false}); });
    CAPTURE(message);
    CHECK(message.starts_with("fit at fit.cpp:"));
    CHECK(contains(message, "the loss of epoch 1, step 4, is "));
    CHECK(contains(message, "X holds " + printed + " in row 37"));
    CHECK(contains(message, "the model keeps the weights of before that step"));
    CHECK(contains(message, "on_nonfinite"));
    same.fit(slice(data.X, 0, 0, 30), slice(data.y, 0, 0, 30), {.batch_size = 10, .shuffle = false});
    CHECK(same_bits(model.parameters(), same.parameters()));

    message = message_of([&] { model.fit(data.X, spoilt(data.y, 8, bad)); });
    CAPTURE(message);
    CHECK(contains(message, "y holds " + printed + " in row 8"));
  }
  // Shuffled, the row is that of the user's X all the same; so it is for examples that are pictures.
  nn::Sequential<double> model = linear();
  CHECK(contains(message_of([&] { model.fit(spoilt(data.X, 23, undefined), data.y, {.seed = 6}); }),
                 "X holds nan in row 23"));
  nn::Sequential<double> pictures({nn::Flatten{}, nn::Dense{3, "softmax"}});
  pictures.compile({.loss = "sparse_categorical_crossentropy"});
  const Tensor<> images = reshape(spoilt(data.X, 23, undefined), {12, 5, 5});
  CHECK(contains(message_of([&] { pictures.fit(images, slice(data.labels, 0, 0, 12)); }), "X holds nan in row 4"));
}

TEST_CASE("a row of weight 0 is not what went first") {
  const Clouds<double> data;
  Tensor<> weights = ones({60});
  weights.mutable_data()[11] = 0;
  nn::Sequential<double> model = linear();
  const Tensor<> X = spoilt(spoilt(data.X, 11, undefined), 40, infinite);
  const nn::FitOptions options{.batch_size = 60, .sample_weight = weights, .shuffle = false};
  CHECK(contains(message_of([&] { model.fit(X, data.y, options); }), "X holds inf in row 40"));
  CHECK(contains(message_of([&] { model.fit(data.X, spoilt(spoilt(data.y, 11, undefined), 40, infinite), options); }),
                 "y holds inf in row 40"));
}

TEST_CASE("what overflows on the way, with finite data and weights, is said to") {
  const Clouds<double> data;
  nn::Sequential<double> model = linear();
  const TensorList<double> before = model.parameters();
  const std::string message = message_of([&] { model.fit(data.X, data.y * 1e200); });
  CHECK(contains(message, "the loss of epoch 1, step 1, is inf"));
  CHECK(contains(message, "X, y and the weights are finite"));
  CHECK(same_bits(model.parameters(), before));

  // An exploding rate is of this kind too: each step's weights are finite.
  nn::Sequential<double> exploding = linear(nn::SGD{.learning_rate = 1e10});
  CHECK(contains(message_of([&] { exploding.fit(data.X, data.y, {.epochs = 100}); }), "learning rate"));
  for (const Tensor<>& w : exploding.parameters()) CHECK(std::isfinite(sum(w / 1e200).item()));

  nn::Sequential<double> penal({nn::Dense{.units = 3, .kernel_regularizer = nn::l2(1e300)}});
  penal.compile({.optimizer = nn::SGD{.learning_rate = 1}, .loss = "mse"});
  penal.build({5});
  CHECK(contains(message_of([&] { penal.fit(data.X, data.y, {.epochs = 9}); }), "is inf"));
}

TEST_CASE("weights that went first are those of the last epoch's end again, from where training can go on") {
  const Clouds<double> data;
  const auto options = [](std::int64_t epochs) {
    return nn::FitOptions{.epochs = epochs, .batch_size = 15, .seed = 2};  // 4 steps
  };
  const auto trained = [&](std::int64_t epochs) {
    int never = -1;
    nn::Sequential<double> model = linear(Spoiling{.steps_to_go = &never});
    model.fit(data.X, data.y, options(epochs));
    return model;
  };
  struct Case {
    int spoilt_step;
    std::string told;
    std::int64_t kept;
  };
  for (const Case& spoilt :
       {Case{10, "the loss of epoch 3, step 3, is nan", 2}, Case{9, "the loss of epoch 3, step 2, is nan", 2},
        // Those of the end of epoch 2 are not finite either.
        Case{8, "the loss of epoch 3, step 1, is nan", 1}, Case{3, "the loss of epoch 1, step 4, is nan", 0}}) {
    const auto& [spoilt_step, told, kept] = spoilt;
    CAPTURE(spoilt.spoilt_step);
    int steps_to_go = spoilt_step;
    nn::Sequential<double> model = linear(Spoiling{.steps_to_go = &steps_to_go});
    const TensorList<double> before = model.parameters();
    const std::string message = message_of([&] { model.fit(data.X, data.y, options(5)); });
    CAPTURE(message);
    CHECK(contains(message, told));
    CHECK(contains(message, "the weights hold nan in \"kernel\" of layer 0 (Dense)"));
    CHECK(contains(message, kept == 0 ? "the model has those from before the first epoch"
                                      : "the model has those of the end of epoch " + std::to_string(kept)));
    CHECK(model.epochs_trained() == kept);
    CHECK(same_bits(model.parameters(), kept == 0 ? before : trained(kept).parameters()));
    model.fit(data.X, data.y, options(5 - kept));
    CHECK(same_bits(model.parameters(), trained(5).parameters()));
  }
  // There may be none to go back to.
  nn::Sequential<double> model = linear();
  TensorList<double> w = model.parameters();
  w[1] = full({3}, -infinite);
  model.set_parameters(w);
  const std::string message = message_of([&] { model.fit(data.X, data.y); });
  CHECK(contains(message, "the weights hold -inf in \"bias\" of layer 0 (Dense)"));
  CHECK(contains(message, "before the first epoch they were not finite either"));
  CHECK(same_bits(model.parameters(), w));
}

TEST_CASE("a loss that is not finite may stop training, or be passed over") {
  const Clouds<double> data;
  const auto options = [](nn::OnNonfinite on_nonfinite) {
    return nn::FitOptions{.epochs = 5, .batch_size = 15, .seed = 2, .on_nonfinite = on_nonfinite};
  };
  for (const int spoilt_step : {10, 8}) {
    int to_stop = spoilt_step, to_go_on = spoilt_step, never = -1;
    nn::Sequential<double> stopped = linear(Spoiling{.steps_to_go = &to_stop}),
                           gone_on = linear(Spoiling{.steps_to_go = &to_go_on}),
                           good = linear(Spoiling{.steps_to_go = &never});
    const nn::History h = stopped.fit(data.X, data.y, options(nn::OnNonfinite::stop));
    CHECK(h["loss"].size() == 2);
    CHECK(contains(h.nonfinite, "the loss of epoch 3, step "));
    CHECK_FALSE(h.interrupted);
    const nn::History g = good.fit(data.X, data.y, {.epochs = spoilt_step == 8 ? 1 : 2, .batch_size = 15, .seed = 2});
    CHECK(g.nonfinite.empty());
    CHECK(same_bits(stopped.parameters(), good.parameters()));

    const nn::History all = gone_on.fit(data.X, data.y, options(nn::OnNonfinite::go_on));
    CHECK(all["loss"].size() == 5);
    CHECK(std::isnan(all["loss"].back()));
    CHECK(all.nonfinite.empty());
    CHECK(gone_on.epochs_trained() == 5);
  }
  // The best epoch comes back after a stop too.
  int steps_to_go = 14;
  nn::Sequential<double> model = linear(Spoiling{.steps_to_go = &steps_to_go});
  std::vector<TensorList<double>> weights;
  const auto log = [&](nn::Epoch& e) {
    e.logs["loss"] = e.index == 1 ? 1 : 2;
    weights.push_back(model.parameters());
  };
  nn::FitOptions restoring = options(nn::OnNonfinite::stop);
  restoring.callbacks = {log, nn::EarlyStopping{.monitor = "loss", .patience = 9, .restore_best = true}};
  model.fit(data.X, data.y, restoring);
  CHECK(weights.size() == 3);
  CHECK(same_bits(model.parameters(), weights[1]));
}

TEST_CASE("the best so far is never NaN") {
  const Folder folder;
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const std::string path = folder.file("best.npz");
  model.fit(data.X, data.y,
            {.callbacks = {nn::ModelCheckpoint{
                 .path = path, .monitor = "loss", .save_best_only = true, .initial_best = undefined}}});
  CHECK(fs::exists(path));
  std::vector<double> losses{undefined, undefined, 2, undefined, 3, 3};
  std::vector<TensorList<double>> weights;
  const auto log = [&](nn::Epoch& e) {
    e.logs["loss"] = losses[static_cast<std::size_t>(e.index)];
    weights.push_back(model.parameters());
  };
  nn::EarlyStopping stopping{.monitor = "loss", .patience = 3, .restore_best = true};
  stopping.best.value = undefined;
  CHECK(model.fit(data.X, data.y, {.epochs = 6, .callbacks = {log, stopping}})["loss"].size() == 6);
  CHECK(same_bits(model.parameters(), weights[2]));
  stopping.min_delta = undefined;
  CHECK(contains(message_of([&] { model.fit(data.X, data.y, {.callbacks = {stopping}}); }), "min_delta is nan"));
}

// ---------------------------------------------------------------------------------------------- parts of the rows

TEST_CASE("validation_split is the decimal that was written") {
  const auto trained_on = [](std::int64_t rows, double part) {
    std::int64_t seen = 0;
    const auto count = [&](const nn::Params<double>&, const Tensor<>& x, nn::Mode mode) {
      if (mode.training) seen += x.shape()[0];
      return x;
    };
    nn::Sequential<double> model({count, nn::Dense{1}});
    model.compile({.loss = "mse"});
    model.fit(zeros({rows, 1}), zeros({rows, 1}), {.validation_split = part});
    return seen;
  };
  CHECK(trained_on(5, 0.8) == 1);
  CHECK(trained_on(100, 0.9) == 10);
  CHECK(trained_on(10, 0.9) == 1);
  CHECK(trained_on(1000, 0.999) == 1);
  CHECK(trained_on(10, 0.3) == 7);
  CHECK(trained_on(50, 0.25) == 37);
  CHECK(trained_on(3, 1.0 / 3) == 2);
  CHECK(trained_on(7, 1e-300) == 6);
  for (std::int64_t k = 1; k < 100; ++k) {
    CAPTURE(k);
    CHECK(trained_on(100, static_cast<double>(k) / 100) == 100 - k);
  }
  CHECK(contains(message_of([&] { trained_on(5, 0.81); }), "validation_split is 0.81 of 5"));
}

// ------------------------------------------------------------------------------------------------ files of a run

namespace {

std::vector<std::string> lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> all;
  for (std::string line; std::getline(file, line);) all.push_back(line);
  return all;
}
std::vector<std::string> fields(const std::string& line) {
  std::vector<std::string> all(1);
  for (const char c : line) c == ',' ? void(all.emplace_back()) : all.back().push_back(c);
  return all;
}

}  // namespace

TEST_CASE("every row of a CSV log has the header's columns, whatever callbacks do and wherever they stand") {
  const Folder folder;
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const std::string path = folder.file("log.csv");
  struct InBegin {
    void begin(nn::Epoch& e) const { e.logs.add("begun", 7); }
  };
  const auto adds = [](nn::Epoch& e) {
    if (e.index != 2) e.logs.add("rate", e.learning_rate());
  };
  const auto leaves_out = [](nn::Epoch& e) {
    if (e.index == 1) e.logs = nn::Logs{{"begun", 8}, {"loss", 3}};
  };
  const nn::FitOptions options{.epochs = 4, .callbacks = {leaves_out, nn::CsvLogger{path}, adds, InBegin{}}};
  const nn::History h = model.fit(data.X, data.y, options);
  const std::vector<std::string> rows = lines(path);
  REQUIRE(rows.size() == 5);
  CHECK(rows[0] == "epoch,loss,accuracy,begun,rate");
  for (const std::string& row : rows) REQUIRE(fields(row).size() == 5);
  CHECK(rows[2] == "2,3,nan,8,0.10000000000000001");
  CHECK(fields(rows[3])[4] == "nan");
  h.save_csv(folder.file("history.csv"));
  CHECK(contents(folder.file("history.csv")) == contents(path));

  const auto late = [](nn::Epoch& e) {
    if (e.index == 2) e.logs.add("late", 1);
  };
  const std::string message = message_of([&] {
    model.fit(data.X, data.y, {.epochs = 4, .callbacks = {nn::CsvLogger{path}, late}});
  });
  CHECK(message.starts_with("fit at fit.cpp:"));
  CHECK(contains(message, "\"late\""));
  CHECK(contains(message, "begin"));
  CHECK(lines(path).size() == 3);
  // The cure that the message names.
  struct InTime {
    void begin(nn::Epoch& e) const { e.logs.add("late", undefined); }
  };
  model.fit(data.X, data.y, {.epochs = 2, .callbacks = {InTime{}, nn::CsvLogger{path}}});
  CHECK(lines(path)[2].ends_with(",nan"));
}

TEST_CASE("a CSV log that a crash has cut off goes on in whole rows") {
  const Folder folder;
  const Clouds<double> data;
  const std::string path = folder.file("log.csv");
  const auto goes_on = [&](const std::string& text, const nn::Metric& metric = "accuracy") {
    nn::Sequential<double> model = classifier<double>();
    model.compile({.loss = "categorical_crossentropy", .metrics = {metric}});
    std::ofstream(path) << text;
    model.fit(data.X, data.y, {.epochs = 2, .callbacks = {nn::CsvLogger{path, true}}});
    const std::vector<std::string> rows = lines(path);
    for (const std::string& row : rows) CHECK(fields(row).size() == 3);
    CHECK(contents(path).ends_with("\n"));
    return rows;
  };
  const std::string header = "epoch,loss,accuracy\n";
  CHECK(goes_on("").size() == 3);
  CHECK(goes_on("epoch,lo").size() == 3);
  CHECK(goes_on("epoch,loss,accuracy").size() == 3);
  CHECK(goes_on(header).size() == 3);
  CHECK(goes_on(header + "1").size() == 3);
  CHECK(goes_on(header + "1,0.5,0.25\n").size() == 4);
  for (const char* cut : {"2,", "2,0.5", "2,0.5,0.2", "2,0.5,0.25"}) {
    CAPTURE(cut);
    const std::vector<std::string> rows = goes_on(header + "1,0.5,0.25\n" + cut);
    REQUIRE(rows.size() == 4);
    CHECK(rows[1] == "1,0.5,0.25");
    CHECK(rows[2].starts_with("1,"));
  }
  // A name with a line of its own is not where the header ends.
  const nn::Metric two_lines("two\nlines", nn::accuracy);
  nn::Sequential<double> model = classifier<double>();
  model.compile({.loss = "categorical_crossentropy", .metrics = {two_lines}});
  const nn::FitOptions once{.callbacks = {nn::CsvLogger{path, true}}};
  fs::remove(path);
  model.fit(data.X, data.y, once);
  model.fit(data.X, data.y, once);
  CHECK(lines(path).size() == 4);
  // What is of another kind is left as it is, and refused before training.
  const TensorList<double> before = model.parameters();
  for (const char* other : {"my notes", "my notes\n", "epoch,loss\n1,2\n", "epoch,loss,two", "\"epoch"}) {
    CAPTURE(other);
    std::ofstream(path) << other;
    CHECK(contains(message_of([&] { model.fit(data.X, data.y, once); }), "CsvLogger"));
    CHECK(contents(path) == other);
  }
  CHECK(same_bits(model.parameters(), before));
  // Columns that this run does not have stay columns.
  model.compile({.loss = "categorical_crossentropy"});
  std::ofstream(path) << "epoch,rate,loss\n1,0.5,2\n";
  model.fit(data.X, data.y, once);
  CHECK(lines(path)[2].starts_with("1,nan,"));
}

TEST_CASE("the path of a checkpoint is formatted from the epoch and the logs") {
  const Folder folder;
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const auto saved_as = [&](const std::string& pattern) {
    fs::remove_all(folder.path);
    fs::create_directories(folder.path);
    const auto fixed = [](nn::Epoch& e) { e.logs["val_loss"] = 1.23456; };
    model.fit(data.X, data.y,
              {.epochs = 2,
               .validation_split = 0.2,
               .callbacks = {fixed, nn::ModelCheckpoint{.path = folder.file(pattern)}}});
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder.path)) names.insert(entry.path().filename());
    return names;
  };
  using Names = std::set<std::string>;
  CHECK(saved_as("m.npz") == Names{"m.npz"});
  CHECK(saved_as("{epoch}.npz") == Names{"1.npz", "2.npz"});
  CHECK(saved_as("{epoch:03}_of_{epoch:>2}.npz") == Names{"001_of_ 1.npz", "002_of_ 2.npz"});
  CHECK(saved_as("{val_loss:.4f}.npz") == Names{"1.2346.npz"});
  CHECK(saved_as("{val_loss}-{epoch}.npz") == Names{"1.23456-1.npz", "1.23456-2.npz"});
  CHECK(saved_as("{{{epoch}}}.npz") == Names{"{1}.npz", "{2}.npz"});
  CHECK(saved_as("{accuracy:.1e}{loss:.0f}.npz").size() >= 1);
  const auto refusal = [&](const std::string& path, const std::vector<nn::Callback>& others = {}) {
    std::vector<nn::Callback> callbacks{nn::ModelCheckpoint{.path = path}};
    callbacks.insert(callbacks.begin(), others.begin(), others.end());
    int epochs = 0;
    callbacks.push_back([&](nn::Epoch&) { ++epochs; });
    const std::string message = message_of([&] { model.fit(data.X, data.y, {.callbacks = callbacks}); });
    CHECK(epochs == 0);
    CAPTURE(message);
    CHECK(message.starts_with("fit at fit.cpp:"));
    CHECK(contains(message, "ModelCheckpoint"));
    return message;
  };
  CHECK(contains(refusal(folder.file("{val_loss}.npz")), "{val_loss}: the names are epoch, loss, accuracy"));
  CHECK(contains(refusal(folder.file("{}.npz")), "{}"));
  CHECK(contains(refusal(folder.file("{0}.npz")), "{0}"));
  CHECK(contains(refusal(folder.file("{epochs}.npz")), "{epochs}"));
  CHECK(contains(refusal(folder.file("{epoch:.2f}.npz")), "{epoch:.2f}"));
  CHECK(contains(refusal(folder.file("{loss:03d}.npz")), "{loss:03d}"));
  CHECK(contains(refusal(folder.file("{loss:.{epoch}f}.npz")), "{loss:.{epoch}"));
  CHECK(contains(refusal(folder.file("{epoch.npz")), "{{"));
  CHECK(contains(refusal(folder.file("epoch}.npz")), "}}"));
  // Names that callbacks add are known when they add them in begin, and need not be words.
  struct Adds {
    void begin(nn::Epoch& e) const { e.logs.add("my rate:x", 0.5); }
  };
  model.fit(data.X, data.y, {.callbacks = {nn::ModelCheckpoint{.path = folder.file("{my rate:x:.2f}.npz")}, Adds{}}});
  CHECK(fs::exists(folder.file("0.50.npz")));
}

TEST_CASE("what cannot be written is refused before the first step") {
  const Folder folder;
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  model.build({5});
  const TensorList<double> before = model.parameters();
  std::ofstream(folder.file("file")) << "x";
  fs::create_directories(folder.file("folder"));
  fs::create_directories(folder.file("run_1"));
  const auto refusal = [&](const nn::Callback& callback) {
    int epochs = 0;
    const auto count = [&](nn::Epoch&) { ++epochs; };
    const std::string message = message_of([&] { model.fit(data.X, data.y, {.callbacks = {callback, count}}); });
    CHECK(epochs == 0);
    CHECK(same_bits(model.parameters(), before));
    return message;
  };
  for (const char* path : {"none/log", "none/{epoch}", "none/{loss}/log", "file/log", "folder", "run_{epoch}/none/log",
                           "none_{epoch}/log"}) {
    CAPTURE(path);
    const std::string message = refusal(nn::ModelCheckpoint{.path = folder.file(path)});
    CHECK(message.starts_with("fit at fit.cpp:"));
    CHECK(contains(message, "ModelCheckpoint: cannot write " + folder.path.string()));
    const std::string plain(path);
    if (contains(plain, "{")) continue;
    CHECK(contains(refusal(nn::CsvLogger{folder.file(path)}), "CsvLogger: cannot write " + folder.file(path)));
    CHECK(contains(refusal(nn::CsvLogger{folder.file(path), true}), "CsvLogger: cannot write " + folder.file(path)));
  }
  CHECK(contains(refusal(nn::ModelCheckpoint{.path = ""}), "ModelCheckpoint"));
  model.fit(data.X, data.y, {.callbacks = {nn::ModelCheckpoint{folder.file("run_{epoch}/m.npz")}}});
  CHECK(fs::exists(folder.file("run_1/m.npz")));
}

TEST_CASE("metrics and labels that do not fit are refused before the first step") {
  const Clouds<double> data;
  const auto refusal = [&](const nn::CompileOptions& compiled, const auto& y, nn::FitOptions options) {
    nn::Sequential<double> model({nn::Dense{3, "softmax"}});
    model.compile(compiled);
    model.build({5});
    const TensorList<double> before = model.parameters();
    const std::string message = message_of([&] { model.fit(data.X, y, options); });
    CHECK(same_bits(model.parameters(), before));
    CHECK(message != "");
    return message;
  };
  const nn::Loss sparse = "sparse_categorical_crossentropy";
  CHECK(contains(refusal({.loss = sparse, .metrics = {"mse"}}, data.labels, {}), "mse"));
  CHECK(contains(refusal({.loss = sparse, .metrics = {"categorical_crossentropy"}}, data.labels, {}), "labels"));
  CHECK(contains(refusal({.loss = sparse, .metrics = {"binary_accuracy"}}, data.labels, {}), "binary_accuracy"));
  const auto wide = [](const auto& a, const auto&) { return mean(reshape(a, {a.shape()[0], 5})); };
  CHECK(contains(refusal({.loss = "mse", .metrics = {nn::Metric("wide", wide)}}, data.y, {}), "reshape"));

  // One that needs several examples is no reason to refuse.
  nn::Sequential<double> model({nn::Dense{3, "softmax"}});
  const auto spread = [](const auto& a, const auto&) {
    if (a.shape()[0] < 2) throw ValueError("spread needs two examples");
    return max(a) - min(a);
  };
  model.compile({.loss = "mse", .metrics = {nn::Metric("spread", spread)}});
  CHECK_NOTHROW(model.fit(data.X, data.y));

  // A label that there is no class for, in whatever row.
  const auto bad = [&](std::int64_t row, std::int64_t label) {
    Tensor<std::int64_t> labels = data.labels;
    labels.mutable_data()[row] = label;
    return labels;
  };
  CHECK(contains(refusal({.loss = sparse}, bad(59, 3), {.batch_size = 1, .shuffle = false}), "label 3"));
  CHECK(contains(refusal({.loss = sparse}, bad(31, -2), {}), "label -2"));
  CHECK(contains(refusal({.loss = sparse}, data.labels, {.validation_data = {{data.X, bad(58, 7)}}}), "label 7"));
  CHECK(contains(refusal({.loss = sparse, .metrics = {"accuracy"}}, bad(59, 4), {.validation_split = 0.1}), "label 4"));
  for (const std::string& message :
       {refusal({.loss = sparse}, data.labels, {.validation_data = {{data.X, bad(58, 7)}}})}) {
    CHECK(contains(message, "row 58"));
  }
}

// -------------------------------------------------------------------------------------------------- fit again

namespace {

/// The parameters after 4 epochs, in calls of so many each.
TensorList<double> after_calls(nn::Sequential<double> model, const std::vector<std::int64_t>& calls,
                               nn::FitOptions options, bool compile_again = false) {
  const Clouds<double> data;
  options.batch_size = 7;
  for (const std::int64_t epochs : calls) {
    options.epochs = epochs;
    const nn::History h = model.fit(data.X, data.y, options);
    CHECK(h.first_epoch == 0);
    CHECK(std::ssize(h["loss"]) == epochs);
    if (compile_again) model.compile({.optimizer = nn::SGD{.learning_rate = 0.1}, .loss = "categorical_crossentropy"});
  }
  CHECK(model.epochs_trained() == 4);
  return model.parameters();
}

}  // namespace

TEST_CASE("calls of fit go on where the last one ended, to the bit") {
  const auto by_epoch = [](std::int64_t epoch, std::int64_t step) {
    return 0.1 / static_cast<double>(1 + epoch) / static_cast<double>(1 + step);
  };
  const nn::LearningRateScheduler scheduler{[](std::int64_t epoch, double rate) {
    return epoch == 2 ? rate * 0.1 : rate + 0.01 * static_cast<double>(epoch);
  }};
  const std::vector<nn::Optimizer> optimizers{nn::SGD{.learning_rate = 0.1}, nn::SGD{.learning_rate = by_epoch},
                                              nn::SGD{.learning_rate = 0.1, .momentum = 0.9},
                                              nn::Adam{.learning_rate = nn::warm_up(0.01, 20)}};
  for (const nn::Optimizer& optimizer : optimizers) {
    for (const nn::FitOptions& options :
         {nn::FitOptions{}, nn::FitOptions{.validation_split = 0.1, .seed = 3},
          nn::FitOptions{.steps_per_epoch = 5, .seed = 3}, nn::FitOptions{.callbacks = {scheduler}}}) {
      nn::Sequential<double> model = resumable<double>();
      model.compile({.optimizer = optimizer, .loss = "categorical_crossentropy"});
      const TensorList<double> whole = after_calls(model, {4}, options);
      CHECK(same_bits(after_calls(model, {1, 1, 1, 1}, options), whole));
      CHECK(same_bits(after_calls(model, {2, 0, 1, 1}, options), whole));
    }
  }
  // What is compiled again has learned all the same, and another seed is another order.
  const nn::Sequential<double> model = classifier<double>();
  const TensorList<double> whole = after_calls(model, {4}, {});
  CHECK(same_bits(after_calls(model, {1, 3}, {}, true), whole));
  CHECK_FALSE(same_bits(after_calls(model, {4}, {.seed = 1}), whole));
}

TEST_CASE("epochs and history count within the call, and a given initial_epoch within the whole") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  std::vector<std::int64_t> seen;
  const nn::Callback note = [&](nn::Epoch& e) { seen.insert(seen.end(), {e.index, e.first, e.epochs, e.trained}); };
  using Seen = std::vector<std::int64_t>;
  model.fit(data.X, data.y, {.epochs = 2, .callbacks = {note}});
  model.fit(data.X, data.y, {.epochs = 1, .callbacks = {note}});
  CHECK(seen == Seen{0, 0, 2, 0, 1, 0, 2, 1, 0, 0, 1, 2});
  seen.clear();
  const nn::History h = model.fit(data.X, data.y, {.epochs = 6, .initial_epoch = 5, .callbacks = {note}});
  CHECK(h.first_epoch == 5);
  CHECK(seen == Seen{5, 5, 6, 5});
  CHECK(model.epochs_trained() == 6);
  // From 0 again: the order of the first epoch, as often as it is asked for.
  nn::Sequential<double> first = classifier<double>(), again = classifier<double>();
  first.fit(data.X, data.y);
  again.fit(data.X, data.y, {.epochs = 3});
  nn::Sequential<double> fresh = classifier<double>();
  fresh.build({5});
  again.set_parameters(fresh.parameters());
  again.fit(data.X, data.y, {.initial_epoch = 0});
  CHECK(same_bits(again.parameters(), first.parameters()));
  CHECK(again.epochs_trained() == 1);

  // A list of batches is of its call.
  const Tensor<std::int64_t> batches = reshape(arange<std::int64_t>(60), {4, 15});
  nn::Sequential<double> listed = classifier<double>(), all = classifier<double>();
  for (std::int64_t k = 0; k < 4; ++k) listed.fit(data.X, data.y, {.batches = slice(batches, 0, k, k + 1)});
  all.fit(data.X, data.y, {.epochs = 4, .batches = batches});
  CHECK(same_bits(listed.parameters(), all.parameters()));
}

TEST_CASE("a loaded model goes on too") {
  const Folder folder;
  const Clouds<double> data;
  nn::Sequential<double> whole = resumable<double>(), part = resumable<double>(), rest = resumable<double>();
  whole.fit(data.X, data.y, {.epochs = 5});
  part.fit(data.X, data.y, {.epochs = 2});
  part.save(folder.file("m.npz"));
  rest.load(folder.file("m.npz"));
  rest.fit(data.X, data.y, {.epochs = 3});
  CHECK(same_bits(rest.parameters(), whole.parameters()));
}
