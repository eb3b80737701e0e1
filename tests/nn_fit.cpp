// fit: validation, callbacks, Ctrl-C; batches of evaluate and predict; saving and resuming.

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <thread>

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

std::string message_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

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
  CHECK(h["val_loss"].back() == doctest::Approx(model.evaluate(data.X, data.y)["loss"]).epsilon(1e-6));
  const std::string message = message_of([&] {
    model.fit(data.X, data.y, {.validation_data = {{data.X, data.labels}}});
  });
  CHECK(contains(message, "nn_fit.cpp:"));
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
  CHECK(h["loss"][1] == doctest::Approx(now["loss"]).epsilon(1e-14));
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
    CHECK(logs["loss"] == doctest::Approx(model.evaluate(data.X, data.y)["loss"]).epsilon(1e-14));
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
  CHECK(sum(model.predict(data.X, {.batch_size = 7})).item() == doctest::Approx(1).epsilon(1e-14));
}

TEST_CASE("predict_classes: the largest output, or above a half") {
  const Clouds<double> data;
  nn::Sequential<double> model = classifier<double>();
  const Tensor<std::int64_t> classes = model.predict_classes(data.X, {.batch_size = 9});
  CHECK(classes.shape() == Shape{60});
  CHECK(same_bits(classes, argmax(model.predict(data.X))));
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
