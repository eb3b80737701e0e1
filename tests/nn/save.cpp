// Models in files: what load gives back, and what it refuses.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <thread>

#include "../error_message.hpp"
#include "fit_models.hpp"

using namespace fit_tests;

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
    CHECK(contains(message, "load at save.cpp:"));
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
  // Files written by 0.1 do not say which layers they belong to.
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
      CHECK(message.starts_with("load at save.cpp:"));
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
