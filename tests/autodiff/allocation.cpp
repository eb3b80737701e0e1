// A steady-state training step makes no heap allocation. A program of its own: it counts every allocation of the
// process.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <thread>
#include <tuple>

// ------------------------------------------------------------------------------------------------ the hook

// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* block, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);
void __libc_free(void* block);
}
// NOLINTEND(bugprone-reserved-identifier)

namespace {
std::atomic<long> allocations{0}, frees{0};
void count() { allocations.fetch_add(1, std::memory_order_relaxed); }
}  // namespace

extern "C" {
void* malloc(std::size_t bytes) noexcept {
  count();
  return __libc_malloc(bytes);
}
void* calloc(std::size_t number, std::size_t bytes) noexcept {
  count();
  return __libc_calloc(number, bytes);
}
void* realloc(void* block, std::size_t bytes) noexcept {
  count();
  return __libc_realloc(block, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) noexcept {
  count();
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) noexcept {
  count();
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** block, std::size_t alignment, std::size_t bytes) noexcept {
  count();
  *block = __libc_memalign(alignment, bytes);
  return *block ? 0 : ENOMEM;
}
void free(void* block) noexcept {
  if (block) frees.fetch_add(1, std::memory_order_relaxed);
  __libc_free(block);
}
}

namespace {

using namespace tapegrad;

struct Count {
  long allocations, frees;
};

// Counts what `steps` calls of step allocate and free, after ten calls to warm up.
template <class Step>
Count count_in(Step step, int steps = 200) {
  for (int i = 0; i < 10; ++i) step();
  const long before = allocations.load(), freed = frees.load();
  for (int i = 0; i < steps; ++i) step();
  return {allocations.load() - before, frees.load() - freed};
}
#define CHECK_NO_ALLOCATION(step)         \
  do {                                    \
    const Count counted = count_in(step); \
    CHECK(counted.allocations == 0);      \
    CHECK(counted.frees == 0);            \
  } while (false)

// Plain gradient descent, in place where nobody else holds the parameter.
template <Real T>
void descend(Tensor<T>& parameter, const Tensor<T>& gradient, T rate) {
  T* p = parameter.mutable_data();
  const T* g = gradient.data();
  for (std::int64_t i = 0; i < parameter.size(); ++i) p[i] -= rate * g[i];
}

template <Real T>
struct Mlp {
  Tensor<T> W0, b0, W1, b1;
  auto tensors() { return std::tie(W0, b0, W1, b1); }
};

template <Real T>
struct Problem {
  Tensor<T> X, y, W0, b0, W1, b1;
  Problem() {
    random::Generator rng(1);
    X = rng.normal<T>({32, 20});
    y = one_hot<T>(Tensor<std::int64_t>({32}, std::vector<std::int64_t>(32, 3)), 10);
    W0 = rng.normal<T>({20, 16}, 0, 0.3);
    b0 = zeros<T>({16});
    W1 = rng.normal<T>({16, 10}, 0, 0.3);
    b1 = zeros<T>({10});
  }
  // Softmax written by hand, so that max, exp, sum and a division are on the tape too.
  static Tensor<T> loss(const Tensor<T>& W0, const Tensor<T>& b0, const Tensor<T>& W1, const Tensor<T>& b1,
                        const Tensor<T>& X, const Tensor<T>& y) {
    const Tensor<T> z = matmul(tanh(matmul(X, W0) + b0), W1) + b1;
    const Tensor<T> e = exp(z - max(z, -1, keep_dims));
    return mean(-sum(y * log(e / sum(e, -1, keep_dims)), -1));
  }
};

TEST_SUITE("allocation") {
  TEST_CASE("the hook counts") {
    const long before = allocations.load();
    auto* p = new std::array<char, 100>;
    asm volatile("" : : "r"(p) : "memory");
    delete p;
    void* q = std::aligned_alloc(64, 128);
    asm volatile("" : : "r"(q) : "memory");
    std::free(q);
    void* r = nullptr;
    CHECK(posix_memalign(&r, 64, 64) == 0);
    r = std::realloc(r, 256);
    std::free(r);
    CHECK(allocations.load() - before >= 4);
    CHECK(count_in([] { std::free(std::malloc(10)); }, 5).frees <= 5);
  }

  TEST_CASE_TEMPLATE("value_and_grad and an update, of a struct", T, float, double) {
    const Problem<T> p;
    Mlp<T> net{p.W0, p.b0, p.W1, p.b1};
    auto loss = [](const Mlp<T>& n, const Tensor<T>& X, const Tensor<T>& y) {
      return Problem<T>::loss(n.W0, n.b0, n.W1, n.b1, X, y);
    };
    T first = 0, last = 0;
    auto step = [&] {
      auto [value, gradient] = value_and_grad(loss)(net, p.X, p.y);
      descend(net.W0, gradient.W0, T(0.1));
      descend(net.b0, gradient.b0, T(0.1));
      descend(net.W1, gradient.W1, T(0.1));
      descend(net.b1, gradient.b1, T(0.1));
      if (first == 0) first = value.item();
      last = value.item();
    };
    CHECK_NO_ALLOCATION(step);
    CHECK(last < T(0.2) * first);
    CHECK(allclose(p.b0, zeros<T>({16}), 0, 0));  // the first update copied what was shared
  }

  TEST_CASE_TEMPLATE("value_and_grad and an update, of an array", T, float, double) {
    const Problem<T> p;
    std::array<Tensor<T>, 4> net{p.W0, p.b0, p.W1, p.b1};
    auto loss = [](const std::array<Tensor<T>, 4>& n, const Tensor<T>& X, const Tensor<T>& y) {
      return Problem<T>::loss(n[0], n[1], n[2], n[3], X, y);
    };
    auto step = [&] {
      auto [value, gradient] = value_and_grad(loss)(net, p.X, p.y);
      for (std::size_t i = 0; i < 4; ++i) descend(net[i], gradient[i], T(0.1));
    };
    CHECK_NO_ALLOCATION(step);
  }

  TEST_CASE_TEMPLATE("value_and_grad and an update, of a TensorList", T, float, double) {
    const Problem<T> p;
    TensorList<T> net{p.W0, p.b0, p.W1, p.b1};
    auto loss = [](const TensorList<T>& n, const Tensor<T>& X, const Tensor<T>& y) {
      return Problem<T>::loss(n[0], n[1], n[2], n[3], X, y);
    };
    auto step = [&] {
      auto [value, gradient] = value_and_grad(loss)(net, p.X, p.y);
      for (std::size_t i = 0; i < net.size(); ++i) descend(net[i], gradient[i], T(0.1));
    };
    CHECK_NO_ALLOCATION(step);
  }

  TEST_CASE_TEMPLATE("several arguments, and the parameters replaced by fresh tensors", T, float, double) {
    const Problem<T> p;
    std::tuple net{p.W0, p.b0, p.W1, p.b1};
    auto step = [&] {
      auto& [W0, b0, W1, b1] = net;
      auto [dW0, db0, dW1, db1] = grad<0, 1, 2, 3>(Problem<T>::loss)(W0, b0, W1, b1, p.X, p.y);
      net = {W0 - 0.1 * dW0, b0 - 0.1 * db0, W1 - 0.1 * dW1, b1 - 0.1 * db1};
    };
    CHECK_NO_ALLOCATION(step);
  }

  TEST_CASE_TEMPLATE("batches of changing rows, and every other kind of operation", T, float, double) {
    const Problem<T> p;
    const Tensor<std::int64_t> labels({32}, std::vector<std::int64_t>(32, 3));
    Tensor<T> W = p.W0;
    int k = 0;
    auto step = [&] {
      const std::int64_t rows = 20 + 4 * (k++ % 4);
      const Tensor<T> X = slice(p.X, 0, 0, rows);
      const Tensor<std::int64_t> y = reshape(slice(labels, 0, 0, rows), {rows, 1});
      auto loss = [&](const Tensor<T>& w) {
        const Tensor<T> z = matmul(X, w);
        const Tensor<T> gated = where(z > 0, z, leaky_relu(z, 0.01)) + cumsum(z, -1) + transpose(sort(transpose(z)));
        const Tensor<T> joined = concatenate({gated, sqrt(abs(z) + 1), pow(sigmoid(z), 2)}, 1);
        return -mean(take_along(log_softmax(joined), y)) + sum(square(softmax(z))) + mean(logsumexp(erf(z), -1));
      };
      const auto [value, gradient] = value_and_grad(loss)(W);
      descend(W, gradient, T(0.01));
    };
    CHECK_NO_ALLOCATION(step);
  }

  TEST_CASE_TEMPLATE("vjp, jvp, jacobian, batch_jacobian, hvp", T, float, double) {
    const Problem<T> p;
    const Tensor<T> z = matmul(p.X, matmul(p.W0, p.W1)), one = reshape(slice(z, 0, 0, 1), {10});
    auto f = [](const Tensor<T>& x) { return softmax(x); };
    auto by_vjp = [&] {
      const auto [a, pullback] = vjp(f, z);
      const Tensor<T> delta = pullback(-p.y / a);
    };
    CHECK_NO_ALLOCATION(by_vjp);
    CHECK_NO_ALLOCATION([&] { const auto both = jvp(f, z, p.y); });
    CHECK_NO_ALLOCATION([&] { const Tensor<T> delta = jacobian(f)(one).apply_transposed(one); });
    CHECK_NO_ALLOCATION([&] { const Tensor<T> delta = batch_jacobian(f)(z).apply_transposed(p.y); });
    auto loss = [](const Tensor<T>& x) { return sum(square(softmax(x))); };
    CHECK_NO_ALLOCATION([&] { const Tensor<T> hv = hvp(loss)(one, one); });
    CHECK_NO_ALLOCATION([&] { const Tensor<T> H = hessian(loss)(one); });
  }

  TEST_CASE("a large batch that another thread makes and this one frees") {
    constexpr std::int64_t rows = 4096, columns = 784;
    Tensor<float> batch;
    std::barrier turn(2);
    std::atomic<bool> stop{false};
    std::thread other([&] {
      for (;;) {
        turn.arrive_and_wait();
        if (stop) return;
        batch = zeros<float>({rows, columns});
        turn.arrive_and_wait();
      }
    });
    CHECK_NO_ALLOCATION([&] {
      turn.arrive_and_wait();
      turn.arrive_and_wait();
      batch = Tensor<float>();
    });
    stop = true;
    turn.arrive_and_wait();
    other.join();
  }

  TEST_CASE_TEMPLATE("user-made elementwise functions", T, float, double) {
    const Problem<T> p;
    const auto swish = elementwise([](auto x) { return x / (1 + exp(-x)); });
    const auto gated = elementwise([](auto x, auto b, auto c) { return where(x > b, x * tanh(c), exp(b - x) / 2); });
    CHECK_NO_ALLOCATION([&] { const Tensor<T> y = swish(p.X); });
    auto loss = [&](const Tensor<T>& W, const Tensor<T>& b) {
      const Tensor<T> z = matmul(p.X, W);
      return sum(swish(z) * gated(z, b, sum(z, -1, keep_dims)));
    };
    auto both = [&] { const auto gradients = grad<0, 1>(loss)(p.W0, p.b0); };
    CHECK_NO_ALLOCATION(both);
    CHECK_NO_ALLOCATION(
        [&] { const Tensor<T> hv = hvp([&](const Tensor<T>& b) { return loss(p.W0, b); })(p.b0, p.b0); });
    CHECK_NO_ALLOCATION([&] { const auto blocks = batch_jacobian(swish)(p.X); });
  }

  TEST_CASE_TEMPLATE("every optimizer, with a schedule and clipping", T, float, double) {
    struct HeavyBall {
      nn::LearningRate learning_rate = 0.01;
      nn::Params<float> slots(const Tensor<float>& w) const { return {{"v", zeros<float>(w.shape())}}; }
      nn::Params<double> slots(const Tensor<double>& w) const { return {{"v", zeros(w.shape())}}; }
      void update(Tensor<float>& w, const Tensor<float>& g, nn::Params<float>& slots, nn::Step step) const {
        w += slots["v"] = 0.9 * slots["v"] - step.rate * g;
      }
      void update(Tensor<double>& w, const Tensor<double>& g, nn::Params<double>& slots, nn::Step step) const {
        w += slots["v"] = 0.9 * slots["v"] - step.rate * g;
      }
    };
    const Problem<T> p;
    auto loss = [](const TensorList<T>& n, const Tensor<T>& X, const Tensor<T>& y) {
      return Problem<T>::loss(n[0], n[1], n[2], n[3], X, y);
    };
    for (nn::Optimizer opt :
         {nn::Optimizer("sgd"), nn::Optimizer(nn::SGD{.momentum = 0.9}), nn::Optimizer("adam"), nn::Optimizer("adamw"),
          nn::Optimizer("rmsprop"), nn::Optimizer("adagrad"),
          nn::Optimizer(nn::RMSprop{.momentum = 0.9, .centered = true}), nn::Optimizer(HeavyBall{})}) {
      opt.set_learning_rate(nn::warm_up(nn::cosine_decay(0.01, 1000), 100));
      TensorList<T> net{p.W0, p.b0, p.W1, p.b1};
      auto step = [&] {
        auto [value, gradient] = value_and_grad(loss)(net, p.X, p.y);
        nn::clip_by_value(gradient, 0.01);
        nn::clip_by_global_norm(gradient, 0.01);
        opt.step(net, gradient);
      };
      CHECK_NO_ALLOCATION(step);
    }
  }

  TEST_CASE_TEMPLATE("fit, under every output delta", T, float, double) {
    random::Generator rng(1);
    const Tensor<T> X = rng.normal<T>({200, 20});
    const Tensor<T> y = one_hot<T>(argmax(slice(X, 1, 0, 10), -1), 10);
    auto softsign = [](const auto& z) { return z / (1 + abs(z)); };
    auto quartic = [](const auto& a, const auto& t) { return sum(square(square(a - t)), -1); };
    auto count_fit = [&](std::initializer_list<nn::Layer<T>> layers, const nn::Loss& loss, nn::OutputDelta delta) {
      nn::Sequential<T> model(layers);
      model.compile({.optimizer = nn::SGD{.learning_rate = nn::inverse_time_decay_in_epoch(0.01, 0.01)},
                     .loss = loss,
                     .metrics = {"accuracy"},
                     .output_delta = delta});
      std::array<Count, 6> after{};
      model.fit(X, y,
                {.epochs = 6,
                 .batch_size = 10,
                 .callbacks = {[&](nn::Epoch& e) {
                   after[static_cast<std::size_t>(e.index)] = {allocations.load(), frees.load()};
                 }}});
      // Counts two whole epochs of 20 steps, after the first ones have warmed up.
      CHECK(after[5].allocations - after[3].allocations == 0);
      CHECK(after[5].frees - after[3].frees == 0);
    };
    for (const nn::OutputDelta delta :
         {nn::OutputDelta::closed_form, nn::OutputDelta::vjp, nn::OutputDelta::jacobian}) {
      CAPTURE(to_string(delta));
      count_fit({nn::Dense{16, "tanh"}, nn::Dense{10, "softmax"}}, "categorical_crossentropy", delta);
    }
    for (const nn::OutputDelta delta : {nn::OutputDelta::vjp, nn::OutputDelta::jacobian}) {
      CAPTURE(to_string(delta));
      count_fit({nn::Dense{16, "tanh"}, nn::Dense{10, softsign}}, quartic, delta);
    }
    count_fit({nn::Flatten{}, nn::Dense{.units = 16, .kernel_regularizer = nn::l1_l2()}, nn::BatchNorm{},
               nn::Activation("relu"), nn::Dropout{0.2},
               nn::Residual{nn::Dense{.units = 16, .bias_regularizer = nn::l2()}, nn::BatchNorm{}, nn::Dropout{0.1}},
               [](const auto& z) {
                 return concatenate({z, square(z)}, -1);
               },
               nn::LayerNorm{}, nn::Dense{10, "softmax"}},
              "categorical_crossentropy", nn::OutputDelta::automatic);
  }

  TEST_CASE_TEMPLATE("fit with validation, weights, Adam and snapshots of the best epoch", T, float, double) {
    random::Generator rng(1);
    const Tensor<T> X = rng.normal<T>({203, 20});
    const Tensor<T> y = one_hot<T>(argmax(slice(X, 1, 0, 10), -1), 10);
    nn::Sequential<T> model({nn::Dense{16, "tanh"}, nn::Dense{10, "softmax"}});
    model.compile({.optimizer = nn::Adam{},
                   .loss = "categorical_crossentropy",
                   .metrics = {"accuracy", "mse"},
                   .clip_global_norm = 0.1});
    std::array<Count, 8> after{};
    model.fit(X, y,
              {.epochs = 8,
               .batch_size = 10,
               .validation_split = 0.2,
               .sample_weight = ones<T>({203}),
               .callbacks = {nn::EarlyStopping{.patience = 100, .restore_best = true}, [&](nn::Epoch& e) {
                               after[static_cast<std::size_t>(e.index)] = {allocations.load(), frees.load()};
                             }}});
    CHECK(after[7].allocations - after[5].allocations == 0);
    CHECK(after[7].frees - after[5].frees == 0);
  }

  TEST_CASE_TEMPLATE("fit with ignored labels and weights of 0", T, float, double) {
    random::Generator rng(1);
    const Tensor<T> X = rng.normal<T>({203, 20});
    Tensor<std::int64_t> labels = argmax(slice(X, 1, 0, 10), -1);
    Tensor<T> weights = ones<T>({203});
    for (std::int64_t i = 0; i < 203; i += 7) labels.mutable_data()[i] = -1;
    for (std::int64_t i = 0; i < 203; i += 5) weights.mutable_data()[i] = 0;
    for (const nn::OutputDelta way : {nn::OutputDelta::closed_form, nn::OutputDelta::vjp, nn::OutputDelta::jacobian}) {
      CAPTURE(to_string(way));
      nn::Sequential<T> model({nn::Dense{10, "softmax"}});
      model.compile({.loss = nn::SparseCategoricalCrossentropy{.label_smoothing = 0.1, .ignored_label = -1},
                     .metrics = {"accuracy"},
                     .output_delta = way});
      std::array<Count, 8> after{};
      model.fit(X, labels,
                {.epochs = 8,
                 .batch_size = 10,
                 .sample_weight = weights,
                 .callbacks = {[&](nn::Epoch& e) {
                   after[static_cast<std::size_t>(e.index)] = {allocations.load(), frees.load()};
                 }}});
      CHECK(after[7].allocations - after[5].allocations == 0);
      CHECK(after[7].frees - after[5].frees == 0);
    }
  }
}

}  // namespace
