// Several threads at once: transforms side by side over shared plain tensors, and what may not cross between threads.
// The tsan preset runs this file.
#include <doctest/doctest.h>

#include <atomic>
#include <barrier>
#include <cmath>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <thread>
#include <vector>

namespace {

using namespace tapegrad;
using X = Tensor<>;

constexpr int thread_count = 8;

// Runs body(i) on eight threads that start together; rethrows what one of them throws. doctest's checks stay outside.
void on_threads(const std::function<void(int)>& body) {
  std::barrier start(thread_count);
  std::mutex mutex;
  std::exception_ptr failure;
  std::vector<std::thread> threads;
  for (int i = 0; i < thread_count; ++i) {
    threads.emplace_back([&, i] {
      start.arrive_and_wait();
      try {
        body(i);
      } catch (...) {
        const std::lock_guard lock(mutex);
        failure = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}
template <class F>
auto on_another_thread(F f) {
  std::optional<decltype(f())> result;
  std::exception_ptr failure;
  std::thread([&] {
    try {
      result = f();
    } catch (...) {
      failure = std::current_exception();
    }
  }).join();
  if (failure) std::rethrow_exception(failure);
  return *std::move(result);
}

struct Net {
  X W, b;
  auto tensors() { return std::tie(W, b); }
};

TEST_SUITE("threads") {
  TEST_CASE("eight threads differentiate at once, over shared tensors") {
    random::Generator rng(1);
    const X data = rng.normal<double>({40, 6}), y = softmax(rng.normal<double>({40, 3}));
    const Net net{rng.normal<double>({6, 3}), rng.normal<double>({3})};
    const Tensor<std::int64_t> order = rng.permutation(40);
    auto loss = [&](const Net& n) {
      return -mean(sum(take(y, order) * log_softmax(tanh(matmul(take(data, order), n.W)) + n.b), -1));
    };
    auto smooth = [&](const X& b) { return loss({net.W, b}); };
    const auto reference = value_and_grad(loss)(net);
    const Net& gradient = reference.second;
    const X H = hessian(smooth)(net.b), J = batch_jacobian([](const X&z) { return softmax(z); })(y).dense();
    const double expected = reference.first.item();

    std::atomic<int> wrong{0};
    on_threads([&](int thread) {
      for (int i = 0; i < 30; ++i) {
        const auto [v, g] = value_and_grad(loss)(net);
        if (v.item() != expected || !allclose(g.W, gradient.W, 1e-14, 1e-15) ||
            !allclose(g.b, gradient.b, 1e-14, 1e-15))
          ++wrong;
        if ((i + thread) % 10 == 0) {
          if (!allclose(hessian(smooth)(net.b), H, 1e-13, 1e-15)) ++wrong;
          if (!allclose(hvp(smooth)(net.b, net.b), matmul(H, net.b), 1e-13, 1e-15)) ++wrong;
          if (!allclose(batch_jacobian([](const X& z) { return softmax(z); })(y).dense(), J, 1e-14, 1e-15)) ++wrong;
          try {
            static_cast<void>(grad([&](const X& z) { return z + data; })(X(1.0)));
            ++wrong;
          } catch (const TapeError&) {
          }
        }
      }
    });
    CHECK(wrong == 0);
    // Each thread's steps descend on its own copy; the shared parameters stay as they are.
    on_threads([&](int thread) {
      Net own = net;
      for (int i = 0; i < 20; ++i) {
        const Net g = grad(loss)(own);
        for (std::int64_t k = 0; k < own.W.size(); ++k) own.W.mutable_data()[k] -= 0.1 * (1 + thread) * g.W.data()[k];
        own.b -= 0.1 * g.b;
      }
      if (!(loss(own).item() < expected)) ++wrong;
    });
    CHECK(wrong == 0);
    CHECK(loss(net).item() == expected);
  }

  TEST_CASE("a traced handle on another thread throws, naming that; its value can be read and detached") {
    std::string recorded, traced, nested;
    double read = 0, detached = 0;
    const X g = grad([&](const X& x) {
      const X y = x * 2;
      std::thread([&] {
        read = y(1);
        detached = sum(stop_gradient(y) * 3).item();
        try {
          static_cast<void>(y + 1);
        } catch (const TapeError& error) {
          recorded = error.what();
        }
        try {
          static_cast<void>(grad([](const X& z) { return sum(z); })(y));
        } catch (const TapeError& error) {
          traced = error.what();
        }
        try {  // while a scope of that thread is open
          static_cast<void>(grad([&](const X& z) { return sum(z * y); })(X{1, 2, 3}));
        } catch (const TapeError& error) {
          nested = error.what();
        }
        // That thread goes on.
        if (grad([](const X& z) { return square(z); })(X(3.0)).item() != 6) read = -1;
      }).join();
      return sum(y);
    })(X{1, 2, 3});
    CHECK(allclose(g, full({3}, 2), 0, 0));
    CHECK(read == 4);
    CHECK(detached == 36);
    for (const std::string& message : {recorded, traced, nested}) {
      CAPTURE(message);
      CHECK(message.find("another thread") != std::string::npos);
      CHECK(message.find("stop_gradient") != std::string::npos);
    }
    CHECK(recorded.find("threads.cpp") != std::string::npos);
  }

  TEST_CASE("a handle that went stale on the thread that made it, used on another") {
    const X stale = on_another_thread([] {
      X kept;
      static_cast<void>(grad([&](const X& z) { return kept = square(z), sum(kept); })(X{1, 2}));
      return kept;
    });
    CHECK(stale(1) == 4);
    CHECK_THROWS_AS(static_cast<void>(stale + 1), TapeError);
    CHECK(allclose(stop_gradient(stale) + 1, X{2, 5}, 0, 0));
  }

  TEST_CASE("buffers are freed on other threads than allocated them") {
    std::vector<std::vector<X>> made(thread_count);
    for (int round = 0; round < 20; ++round) {
      on_threads([&](int i) {
        // Frees what its neighbor made in the round before, then makes its own.
        auto& own = made[static_cast<std::size_t>(i)];
        own.clear();
        for (int k = 0; k < 20; ++k) own.push_back(full({1 + (k * 37 + i) % 300}, i));
      });
      std::rotate(made.begin(), made.begin() + 1, made.end());
      for (std::size_t i = 0; i < made.size(); ++i) {
        for (const X& x : made[i]) REQUIRE(x(0) == static_cast<double>((i + 1) % thread_count));
      }
    }
    // A tensor whose last handle may be released on any of the threads.
    for (int round = 0; round < 50; ++round) {
      std::vector<X> handles(thread_count, full({100}, 3));
      std::atomic<int> wrong{0};
      on_threads([&](int i) {
        X own = std::move(handles[static_cast<std::size_t>(i)]);
        const X shape = reshape(own, {10, 10});
        own = X();
        if (shape(9, 9) != 3) ++wrong;
      });
      CHECK(wrong == 0);
    }
    on_threads([](int) {
      static_cast<void>(exp(ones({1000})));
      release_cached_memory();
    });
  }

  TEST_CASE("blocks that come home while their thread allocates, waits, empties its pool or ends") {
    std::atomic<int> wrong{0};
    for (int round = 0; round < 10; ++round) {
      std::mutex mutex;
      std::vector<std::pair<int, X>> shared;  // the owner, and the tensor
      on_threads([&](int i) {
        for (int k = 0; k < 200; ++k) {
          std::pair<int, X> mine(i, full({1 + (k * 37 + i) % 300}, i)), taken;
          {
            const std::lock_guard lock(mutex);
            shared.push_back(std::move(mine));
            if (k % 3 != 0)
              std::swap(shared.front(), shared.back()), taken = std::move(shared.back()), shared.pop_back();
          }
          if (taken.second.handle() && taken.second(0) != taken.first) ++wrong;
          if (k % 50 == 49) release_cached_memory();
        }
      });
      if (round % 2 == 0) shared.clear();  // made by threads that have ended
      for (const auto& [whose, x] : shared) wrong += x(-1) != whose;
    }
    CHECK(wrong == 0);
  }

  TEST_CASE("copy on write between threads") {
    const X shared = full({64}, 1);
    std::atomic<int> wrong{0};
    on_threads([&](int i) {
      X own = shared;
      own.mutable_data()[0] = i;
      if (own(0) != i || own(1) != 1) ++wrong;
    });
    CHECK(wrong == 0);
    CHECK(shared(0) == 1);
  }

  TEST_CASE("a pullback is used on another thread, and dies there") {
    auto made = on_another_thread([] { return vjp([](const X& z) { return square(z) * exp(z); }, X{1, 2}); });
    const X expected = X{3 * std::exp(1.0), 8 * std::exp(2.0)};
    CHECK(allclose(made.second(ones({2})), expected, 1e-13, 0));
    // Differentiable in its cotangent, wherever it was recorded.
    CHECK(allclose(grad([&](const X& g) { return sum(square(made.second(g))); })(ones({2})), 2 * square(expected),
                   1e-13, 0));
    // Several threads take turns, and the last copy is destroyed on one of them.
    for (int i = 0; i < 3; ++i) {
      CHECK(allclose(on_another_thread([p = made.second] { return p(ones({2})); }), expected, 1e-13, 0));
    }
    auto last = std::make_unique<decltype(made.second)>(made.second);
    std::thread([p = std::move(last)]() mutable { p.reset(); }).join();
    std::thread([m = std::move(made)]() mutable { const auto gone = std::move(m); }).join();
    CHECK(grad([](const X& z) { return square(z); })(X(3.0)).item() == 6);
  }

  TEST_CASE("one pullback on eight threads at once") {
    const X W = random::Generator(2).normal<double>({5, 5});
    const auto pullback = vjp([&](const X& z) { return softmax(tanh(matmul(W, z)) * z); }, ones({5})).second;
    const X J = pullback(eye(5));
    std::atomic<int> wrong{0};
    on_threads([&](int i) {
      for (int k = 0; k < 50; ++k) {
        const X row = pullback(reshape(slice(eye(5), 0, i % 5, i % 5 + 1), {5}));
        if (!allclose(row, reshape(slice(J, 0, i % 5, i % 5 + 1), {5}), 1e-14, 1e-16)) ++wrong;
      }
    });
    CHECK(wrong == 0);
  }

  TEST_CASE("a pullback of an open scope does not work on another thread") {
    std::string message;
    const X g = grad([&](const X& x) {
      const auto [y, pullback_] = vjp([](const X& z) { return square(z); }, x);
      const auto& pullback = pullback_;
      std::thread([&] {
        try {
          static_cast<void>(pullback(X(1.0)));
        } catch (const TapeError& error) {
          message = error.what();
        }
      }).join();
      return pullback(x);
    })(X(3.0));
    CHECK(g.item() == 12);
    CHECK(message.find("another thread") != std::string::npos);
  }

  TEST_CASE("threads that begin and end leave nothing behind") {
    for (int i = 0; i < 50; ++i) {
      CHECK(on_another_thread([i] { return grad([](const X& z) { return sum(z * z); })(full({10}, i)); })(0) == 2 * i);
    }
  }
}

}  // namespace
