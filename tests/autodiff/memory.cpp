// Long chains and long runs: linear time, bounded memory, no recursion. A program of its own: it measures its process.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <thread>
#include <tuple>
#include <vector>

#include "../close.hpp"

namespace {

using namespace tapegrad;
using X = Tensor<>;

// The memory of this process in MB: its peak, and its present size (0 without /proc).
double peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}
double memory_now() {
  long pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  if (resident == 0) MESSAGE("no /proc: resident memory is not checked");
  return static_cast<double>(resident * sysconf(_SC_PAGESIZE)) / (1024 * 1024);
}

// A chain of `operations` operations, x * a and x + b in turn, on 10-vectors.
struct Chain {
  int operations;
  X a, b;
  X operator()(X x) const {
    for (int i = 0; i < operations / 2; ++i) x = x * a + b;
    return sum(x);
  }
};

// The seconds of one forward and backward pass, whose result is checked.
double run(int operations) {
  const Chain chain{operations, full({10}, 1 - 1e-6), full({10}, 1e-6)};
  const X x = linspace(0.5, 2, 10);
  const auto start = std::chrono::steady_clock::now();
  const auto [value, gradient] = value_and_grad(chain)(x);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  // Computes 1 + (x - 1) (1 - 1e-6)^n, whose derivative is the same in every element.
  const double slope = std::pow(1 - 1e-6, operations / 2);
  CHECK(allclose(gradient, full({10}, slope), 1e-9, 0));
  double expected = 0;
  for (int i = 0; i < 10; ++i) expected += 1 + (x(i) - 1) * slope;
  CHECK(std::abs(value.item() - expected) < 1e-8);
  return seconds;
}

// A queue of at most eight things from one thread to another.
template <class E>
class Belt {
 public:
  void put(E e) {
    while (put_ - taken_.load(std::memory_order_acquire) == size) std::this_thread::yield();
    slots_[put_.load() % size] = std::move(e);
    put_.fetch_add(1, std::memory_order_release);
  }
  E take() {
    while (put_.load(std::memory_order_acquire) == taken_) std::this_thread::yield();
    E e = std::move(*std::exchange(slots_[taken_.load() % size], std::nullopt));
    taken_.fetch_add(1, std::memory_order_release);
    return e;
  }

 private:
  static constexpr std::size_t size = 8;
  std::optional<E> slots_[size];
  std::atomic<std::size_t> put_{0}, taken_{0};
};

// The most MB by which this process grows while one thread calls make() `count` times and another destroys the results.
template <class Make>
double growth_while_passing(int count, Make make) {
  using E = decltype(make(0));
  release_cached_memory();
  const double before = memory_now();
  double most = before;
  Belt<E> belt;
  std::thread producer([&] {
    for (int i = 0; i < count; ++i) belt.put(make(i));
  });
  for (int i = 0; i < count; ++i) {
    static_cast<void>(belt.take());
    if (i % 1000 == 0) most = std::max(most, memory_now());
  }
  most = std::max(most, memory_now());
  producer.join();
  return most - before;
}

TEST_SUITE("memory") {
  // This comes first, because the peak is that of the whole process.
  TEST_CASE("a chain of 1,000,000 operations: linear time, under 400 MB") {
    const double short_time = std::min(run(100'000), run(100'000));
    // It runs twice, because the first run also waits for fresh pages.
    const double long_time = std::min(run(1'000'000), run(1'000'000));
    CAPTURE(short_time);
    CAPTURE(long_time);
    CHECK(long_time <= 3 * 10 * short_time);
    const double peak = peak_memory();
    CAPTURE(peak);
    CHECK(peak > 0);
    CHECK(peak < 400);
  }

  TEST_CASE("a second chain takes no more memory, and the pool gives its blocks back") {
    const double before = memory_now();
    run(1'000'000);
    CHECK(memory_now() <= before + 8);
    release_cached_memory();
    run(10);
  }

  TEST_CASE("a chain in forward mode, and one that is differentiated twice") {
    const Chain chain{200'000, full({10}, 1 - 1e-6), full({10}, 1e-6)};
    const X x = linspace(0.5, 2, 10);
    // 100,000 roundings by half a unit in the last place each.
    CHECK(jvp(chain, x, ones({10})).second.item() == about(10 * std::pow(1 - 1e-6, 100'000), 1.2e-11));
    const Chain shorter{20'000, chain.a, chain.b};
    auto squared = [&](const X& z) { return square(shorter(z)); };
    const double slope = std::pow(1 - 1e-6, 10'000);
    CHECK(allclose(hvp(squared)(x, ones({10})), full({10}, 20 * slope * slope), 1e-9, 0));
  }

  TEST_CASE("a value_and_grad loop holds its memory: step 10,000 against step 1,000") {
    struct Net {
      Tensor<float> W0, b0, W1, b1;
      auto tensors() { return std::tie(W0, b0, W1, b1); }
    };
    random::Generator rng(1);
    Net net{rng.normal<float>({64, 32}, 0, 0.1), zeros<float>({32}), rng.normal<float>({32, 10}, 0, 0.1),
            zeros<float>({10})};
    const Tensor<float> data = rng.normal<float>({400, 64});
    const Tensor<float> targets = softmax(rng.normal<float>({400, 10}, 0, 3));
    double at_1000 = 0;
    float last = 0;
    for (int step = 1; step <= 10'000; ++step) {
      const std::int64_t from = 10 * (step % 40), rows = step % 7 == 0 ? 5 : 10;
      const Tensor<float> x = slice(data, 0, from, from + rows), y = slice(targets, 0, from, from + rows);
      auto loss = [&](const Net& n) {
        return -sum(y * log_softmax(matmul(sigmoid(matmul(x, n.W0) + n.b0), n.W1) + n.b1));
      };
      auto [value, gradient] = value_and_grad(loss)(net);
      net = {net.W0 - 0.01 * gradient.W0, net.b0 - 0.01 * gradient.b0, net.W1 - 0.01 * gradient.W1,
             net.b1 - 0.01 * gradient.b1};
      if (step % 100 == 0) {  // second derivatives, an exception and a Jacobian leave nothing behind
        static_cast<void>(hvp([&](const Tensor<float>& b) {
          return -sum(y * log_softmax(matmul(sigmoid(matmul(x, net.W0)), net.W1) + b));
        })(net.b1, net.b1));
        CHECK_THROWS_AS(grad([&](const Tensor<float>& b) { return matmul(x, net.W0) + b; })(net.b0), TapeError);
        static_cast<void>(batch_jacobian([](const Tensor<float>& z) { return softmax(z); })(y));
      }
      if (step == 1000) at_1000 = memory_now();
      last = value.item();
    }
    CHECK(std::isfinite(last));
    CAPTURE(at_1000);
    CHECK(memory_now() <= at_1000 + 1);
  }

  TEST_CASE("small blocks that were freed in random order follow each other again once a tape has begun") {
    std::vector<X> many;
    for (int i = 0; i < 60000; ++i) many.push_back(full({14}, i));
    const Tensor<std::int64_t> order = random::Generator(3).permutation(60000);
    for (std::int64_t i : order.elements_view()) many[static_cast<std::size_t>(i)] = X();
    many.clear();
    grad([](const X& x) { return sum(x); })(X{1, 2});
    int jumps = 0;
    std::vector<X> again{full({14}, 0)};
    for (int i = 0; i < 10000; ++i) {
      again.push_back(full({14}, 0));
      const auto from = reinterpret_cast<std::intptr_t>(again[again.size() - 2].data());
      jumps += std::abs(reinterpret_cast<std::intptr_t>(again.back().data()) - from) > 4096;
    }
    CHECK(jumps < 1000);
  }

  TEST_CASE("what one thread makes and another frees goes home") {
    CHECK(growth_while_passing(300'000, [](int) { return zeros({2048}); }) < 64);
    // Views of it, and memory that is no tensor's own block.
    CHECK(growth_while_passing(300'000, [](int) { return reshape(zeros({2048}), {2, 1024}); }) < 64);
    CHECK(growth_while_passing(100'000, [](int) { return TensorList<double>(512); }) < 64);
    CHECK(growth_while_passing(50'000, [](int) { return vjp([](const X& x) { return exp(x); }, zeros({512})); }) < 64);
    // These sizes are not asked for again by any other allocation.
    CHECK(growth_while_passing(20'000, [](int i) { return zeros({2048 + i}); }) < 64);
  }

  TEST_CASE("two threads that free what the other makes, in turns") {
    release_cached_memory();
    const double before = memory_now();
    double most = before;
    Belt<X> there, back;
    constexpr int turns = 20, each = 10'000;
    std::thread other([&] {
      for (int turn = 0; turn < turns; ++turn) {
        for (int i = 0; i < each; ++i) turn % 2 == 0 ? there.put(zeros({2048})) : static_cast<void>(back.take());
      }
    });
    for (int turn = 0; turn < turns; ++turn) {
      for (int i = 0; i < each; ++i) turn % 2 == 0 ? static_cast<void>(there.take()) : back.put(zeros({2048}));
      most = std::max(most, memory_now());
    }
    other.join();
    CHECK(most - before < 64);
  }

  TEST_CASE("what is left of threads that have ended") {
    release_cached_memory();
    const double before = memory_now();
    double most = before;
    for (int i = 0; i < 300; ++i) {
      std::vector<X> left;
      std::thread([&] {
        for (int k = 0; k < 100; ++k) left.push_back(zeros({2048}));
      }).join();
      left.clear();
      most = std::max(most, memory_now());
    }
    CHECK(most - before < 64);
  }
}

}  // namespace
