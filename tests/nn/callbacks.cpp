// fit: callbacks, the files they write, and Ctrl-C.

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "../error_message.hpp"
#include "fit_models.hpp"

using namespace fit_tests;

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

TEST_CASE("early stopping waits, and gives back the best epoch") {
  const Clouds<double> data;
  // Sets the validation loss of epoch k in a callback that comes first.
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
  // Without patience, and with a NaN, which is never better. If it is not stopped, the best is restored all the same.
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

  // Stops within an epoch, through a loss that is called at each step.
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

  // An exception leaves the handler as it was, too.
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
  // The same holds after a fit that has thrown.
  const auto thrower = [](nn::Epoch&) { throw std::runtime_error("stop"); };
  CHECK_THROWS(model.fit(data.X, data.y, {.callbacks = {thrower}}));
  model.compile({.loss = "mse"});
  CHECK(model.fit(data.X, data.y, {.epochs = 2})["loss"].size() == 2);
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

  // A second fit keeps the better file.
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
  CHECK(message.starts_with("fit at callbacks.cpp:"));
  CHECK(contains(message, "\"late\""));
  CHECK(contains(message, "begin"));
  CHECK(lines(path).size() == 3);
  // The remedy that the message names.
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
  // A file of another kind is left as it is, and refused before training.
  const TensorList<double> before = model.parameters();
  for (const char* other : {"my notes", "my notes\n", "epoch,loss\n1,2\n", "epoch,loss,two", "\"epoch"}) {
    CAPTURE(other);
    std::ofstream(path) << other;
    CHECK(contains(message_of([&] { model.fit(data.X, data.y, once); }), "CsvLogger"));
    CHECK(contents(path) == other);
  }
  CHECK(same_bits(model.parameters(), before));
  // Columns that this run does not have are kept.
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
    CHECK(message.starts_with("fit at callbacks.cpp:"));
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
    CHECK(message.starts_with("fit at callbacks.cpp:"));
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
