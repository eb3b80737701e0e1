// random::NumpyRandomState, compared with numbers drawn by NumPy.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn/data/npz.hpp>
#include <vector>

namespace {

using namespace tapegrad;
using I = Tensor<std::int64_t>;

nn::Npz reference(const std::string& name) { return nn::read_npz(TAPEGRAD_REFERENCE_DIR "/" + name); }

template <class T>
bool same_bits(const Tensor<T>& a, const Tensor<T>& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}

}  // namespace

TEST_SUITE("numpy_random") {
  TEST_CASE("the initial weights of notebooks 002, 003 and 004") {
    const struct {
      std::string file;
      std::uint64_t seed;
      double scale;
      std::vector<std::string> weights;
    } cases[] = {{"seed2_train.npz", 42, 0.01, {"W1_0", "W2_0"}},
                 {"seed3_train.npz", 0, 1, {"W1_0", "W2_0"}},
                 {"seed4_train.npz", 0, 0.1, {"W1_init", "W2_init", "W3_init"}}};
    for (const auto& c : cases) {
      CAPTURE(c.file);
      const nn::Npz file = reference(c.file);
      random::NumpyRandomState rng(c.seed);
      for (const std::string& name : c.weights) {
        CAPTURE(name);
        const Tensor<> W = file.read<double>(name);
        CHECK(same_bits(c.scale * rng.randn(W.shape()), W));
      }
    }
  }

  TEST_CASE("the permutation, the weights and the 5000 batches of notebook 001") {
    const nn::Npz file = reference("seed1_train.npz");
    CHECK(same_bits(random::NumpyRandomState(0).permutation(1797), file.read<std::int64_t>("perm")));
    random::NumpyRandomState weights(0);
    for (const std::string name : {"W0", "b0", "W1", "b1"}) {
      CAPTURE(name);
      const Tensor<> expected = file.read<double>(name + "_init");
      CHECK(same_bits(0.01 * weights.randn(expected.shape()), expected));
    }
    random::NumpyRandomState batches(0);
    const I expected = file.read<std::int64_t>("batch_idx");
    std::int64_t wrong = 0;
    for (std::int64_t step = 0; step < expected.shape()[0]; ++step) {
      const I batch = batches.choice(1437, {10}, false);
      for (std::int64_t i = 0; i < 10; ++i) wrong += batch(i) != expected(step, i);
    }
    CHECK(wrong == 0);
  }

  TEST_CASE("the other distributions") {
    using Rng = random::NumpyRandomState;
    CHECK(same_bits(Rng(42).rand({3}), Tensor<>{0.3745401188473625, 0.9507143064099162, 0.7319939418114051}));
    CHECK(same_bits(Rng(42).uniform(-1, 1, {1}), Tensor<>{-1 + 2 * 0.3745401188473625}));
    CHECK(same_bits(Rng(0).normal(3, 2, {1}), Tensor<>{3 + 2 * 1.764052345967664}));
    CHECK(same_bits(Rng(42).randint(0, 100, {5}), I{51, 92, 14, 71, 60}));
    CHECK(same_bits(Rng(42).randint(-10, 90, {5}), I{41, 82, 4, 61, 50}));
    CHECK(same_bits(Rng(0).choice(10, {5}), I{5, 0, 3, 3, 7}));
    CHECK(same_bits(Rng(0).permutation(10), I{2, 8, 4, 9, 1, 6, 7, 3, 0, 5}));
    CHECK(same_bits(Rng(0).permutation(arange<double>(10)), Tensor<>{2, 8, 4, 9, 1, 6, 7, 3, 0, 5}));
    CHECK(Rng(1).randint(7, 8, {100})(99) == 7);
    CHECK(Rng(1).choice(0, {0}).size() == 0);
    // A half drawn pair of normal numbers is kept, and a whole one costs no uniform numbers.
    Rng rng(0);
    rng.randn({3});
    CHECK(rng.gauss() == 2.240893199201458);
    for (int i = 0; i < 100; ++i) {
      const std::int64_t huge = rng.randint(0, std::int64_t{3} << 61, {}).item();
      CHECK(huge >= 0);
      CHECK(huge < std::int64_t{3} << 61);
    }
  }

  TEST_CASE("what NumPy refuses") {
    CHECK_THROWS_AS(random::NumpyRandomState(std::uint64_t{1} << 32), ValueError);
    random::NumpyRandomState rng(0);
    CHECK_THROWS_AS(rng.randint(3, 3, {1}), ValueError);
    CHECK_THROWS_AS(rng.choice(3, {4}, false), ValueError);
    CHECK_THROWS_AS(rng.choice(0, {1}), ValueError);
    CHECK_THROWS_AS(rng.permutation(-1), ValueError);
    CHECK_THROWS_AS(rng.permutation(Tensor<>(1.0)), ShapeError);
    const double inf = std::numeric_limits<double>::infinity(), nan = std::nan(""), huge = 1.7e308;
    CHECK_THROWS_WITH_AS(rng.normal(0, -1, {2}), doctest::Contains("normal at numpy_random.cpp:"), ValueError);
    CHECK_THROWS_AS(rng.normal(0, -0.0, {2}), ValueError);
    CHECK_THROWS_AS(rng.normal(0, -inf, {2}), ValueError);
    CHECK_THROWS_WITH_AS(rng.uniform(0, inf, {2}), doctest::Contains("uniform at numpy_random.cpp:"), ValueError);
    CHECK_THROWS_AS(rng.uniform(nan, 1, {2}), ValueError);
    CHECK_THROWS_AS(rng.uniform(-huge, huge, {2}), ValueError);
    CHECK_THROWS_AS(rng.uniform(inf, inf, {2}), ValueError);
    for (const Shape& shape : {Shape{-1}, Shape{2, -3}, Shape{-2, -2}}) {
      CHECK_THROWS_AS(rng.rand(shape), ValueError);
      CHECK_THROWS_AS(rng.randn(shape), ValueError);
      CHECK_THROWS_AS(rng.uniform(0, 1, shape), ValueError);
      CHECK_THROWS_AS(rng.normal(0, 1, shape), ValueError);
      CHECK_THROWS_AS(rng.randint(0, 9, shape), ValueError);
      CHECK_THROWS_WITH_AS(rng.choice(9, shape), doctest::Contains("choice at numpy_random.cpp:"), ValueError);
      CHECK_THROWS_AS(rng.choice(9, shape, false), ValueError);
    }
    // Nothing was drawn, and whatever NumPy accepts is accepted.
    CHECK(rng.rand({}).item() == random::NumpyRandomState(0).rand({}).item());
    CHECK(rng.uniform(1, 0, {1})(0) < 1);
    CHECK(std::isnan(rng.normal(0, nan, {1})(0)));
    CHECK(std::isinf(rng.normal(0, inf, {1})(0)));
    CHECK(rng.normal(inf, 1, {1})(0) == inf);
    CHECK(rng.normal(2, 0, {1})(0) == 2);
  }
}
