// The Jacobian object: products before and after its form is known, composition, several arguments, and its messages.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <thread>
#include <tuple>
#include <vector>

#include "../close.hpp"

namespace {

using namespace tapegrad;
using doctest::Contains;

Tensor<> softmax_by_hand(const Tensor<>& z) {
  const Tensor<> e = exp(z);
  return e / sum(e, -1, keep_dims);
}
Tensor<> normal(const Shape& shape, std::uint64_t seed = 1) { return random::Generator(seed).normal<double>(shape); }
bool close(const Tensor<>& a, const Tensor<>& b) { return allclose(a, b, 1e-12, 1e-12); }

TEST_CASE("products are the same before and after the form is known") {
  const Tensor<> z = normal({6}), v = normal({6}, 2), g = normal({6}, 3);
  const auto expected = jvp(softmax_by_hand, z, v).second;
  const auto pulled = vjp(softmax_by_hand, z).second(g);
  for (Sweep sweep : {Sweep::automatic, Sweep::forward, Sweep::reverse}) {
    const auto J = jacobian(softmax_by_hand, {.sweep = sweep})(z);
    CHECK(close(J.apply(v), expected));
    CHECK(close(J.apply_transposed(g), pulled));
    CHECK(J.structure() == (sweep == Sweep::automatic ? Structure::diagonal_plus_low_rank : Structure::dense));
    CHECK(close(J.apply(v), expected));
    CHECK(close(J.apply_transposed(g), pulled));
    const Tensor<> dense = J.dense();
    CHECK(close(matmul(dense, v), expected));
    CHECK(close(J.apply(v), expected));
    CHECK(close(J.apply_transposed(g), pulled));
    CHECK(close(J.value(), softmax_by_hand(z)));
  }
}

TEST_CASE("the Jacobian outlives its function, and is shared by threads") {
  const Tensor<> z = normal({64, 6}), g = normal({64, 6}, 3);
  const auto J = [&] { return batch_jacobian(softmax_by_hand)(z); }();
  const Tensor<> expected = vjp(softmax_by_hand, z).second(g);
  std::vector<char> right(4, 0);
  std::vector<std::thread> threads;
  for (char& mine : right) {
    threads.emplace_back([&] {
      bool all = true;
      for (int i = 0; i < 20; ++i) all = all && close(J.apply_transposed(g), expected) && J.rank() == 1;
      mine = all ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(right == std::vector<char>(4, 1));
}

TEST_CASE("inside a function that has returned it says so") {
  std::optional<Jacobian<>> kept;
  grad([&](const Tensor<>& x) {
    kept = jacobian(softmax_by_hand)(x);
    return sum(kept->apply_transposed(x));
  })(normal({4}));
  CHECK_THROWS_WITH_AS(kept->dense(), Contains("has returned"), TapeError);
}

TEST_CASE("first asked inside an inner function, and used again outside") {
  const Tensor<> z = normal({4}), w = normal({4}, 2);
  for (Sweep sweep : {Sweep::automatic, Sweep::forward, Sweep::reverse}) {
    const auto total = [&](int first) {
      return [&, first](const Tensor<>& x) {
        const auto J = jacobian([](const Tensor<>& t) { return sort(softmax_by_hand(t)); }, {.sweep = sweep})(x);
        const Tensor<> inner = grad([&](const Tensor<>& v) {
          const Tensor<> found = first == 0   ? J.dense()
                                 : first == 1 ? J.apply(x)
                                 : first == 2 ? J.diagonal()
                                              : full({}, static_cast<double>(J.rank()));
          return sum(v * v) * sum(found * found);
        })(w);
        return sum(square(J.dense())) + sum(inner) + sum(J.apply_transposed(x)) + sum(J.diagonal());
      };
    };
    for (int first = 0; first < 4; ++first) {
      const double h = 1e-6;
      const Tensor<> step{h, 0, 0, 0};
      const double slope = (total(first)(z + step).item() - total(first)(z - step).item()) / (2 * h);
      CHECK(grad(total(first))(z)(0) == about(slope, 1e-6));
    }
  }
}

TEST_CASE("products never form a matrix") {
  // 3000^2 doubles would be 72 MB, and (400 200)^2 of them do not fit at all.
  const Tensor<> W = normal({3000, 3000}) * 0.01, x = normal({3000}, 2), Z = normal({400, 200});
  const auto J = jacobian([&](const Tensor<>& t) { return tanh(matmul(tanh(matmul(t, W)), W)); })(x);
  CHECK(J.structure() == Structure::dense);
  const auto pulled = vjp([&](const Tensor<>& t) { return tanh(matmul(tanh(matmul(t, W)), W)); }, x).second(x);
  for (int times = 0; times < 3; ++times) CHECK(close(J.apply_transposed(x), pulled));
  const auto rows = jacobian(softmax_by_hand)(Z);
  CHECK(rows.structure() == Structure::dense);
  for (int times = 0; times < 3; ++times) CHECK(close(rows.apply_transposed(Z), vjp(softmax_by_hand, Z).second(Z)));
}

TEST_CASE("infinite slopes that nothing asks for give no NaN") {
  const Tensor<> z{0, 4};
  using F = std::function<Tensor<>(const Tensor<>&)>;
  for (const F& f :
       {F([](const Tensor<>& x) { return sqrt(x) * sqrt(x); }),
        F([](const Tensor<>& x) { return pow(x, 0.5) * pow(x, 1.5); }),
        F([](const Tensor<>& x) { return 0.0 * sqrt(x); }), F([](const Tensor<>& x) { return sqrt(x); })}) {
    const auto J = jacobian(f)(z);
    const auto swept = jacobian(f, {.sweep = Sweep::reverse})(z);
    for (std::int64_t i = 0; i < 4; ++i) {
      const double a = J.dense()(i / 2, i % 2), b = swept.dense()(i / 2, i % 2);
      CHECK((a == b || std::abs(a - b) < 1e-12));
    }
    CHECK(close(J.apply({0, 1}) * Tensor<>{0, 1}, swept.apply({0, 1}) * Tensor<>{0, 1}));
    CHECK(close(J.apply(zeros({2})), zeros({2})));
    CHECK(close(swept.apply(zeros({2})), zeros({2})));
  }
}

TEST_CASE("intermediates with as many axes as there can be") {
  const auto f = [](const Tensor<>& x) {
    const Tensor<> y = reshape(x, {1, 1, 1, 1, 1, 1, 2, 3});
    return reshape(transpose(y, {0, 1, 2, 3, 4, 5, 7, 6}), {6}) * 2.0;
  };
  const Tensor<> x = normal({6}), g = normal({6}, 2);
  const auto J = jacobian(f)(x);
  for (int times = 0; times < 3; ++times) {
    CHECK(close(J.apply_transposed(g), vjp(f, x).second(g)));
    CHECK(J.structure() == Structure::dense);
  }
}

TEST_CASE("made of a matrix, moved and copied") {
  const Tensor<> A = normal({3, 4});
  Jacobian<> J(A, {3}, {4});
  CHECK(close(J.dense(), A));
  CHECK(J.structure() == Structure::dense);
  CHECK(close(J.apply(normal({4})), matmul(A, normal({4}))));
  Jacobian<> moved = std::move(J);
  CHECK(J.rank() == 3);  // still there
  CHECK(moved.rank() == 3);
  CHECK_THROWS_WITH_AS(Jacobian<>(A, {4}, {3}), Contains("has shape (3, 4) where (4, 3) is needed"), ShapeError);
  CHECK_THROWS_AS(Jacobian<>(A, {3}, {4}, true), ShapeError);
  CHECK_THROWS_AS(Jacobian<>(Tensor<>(), {0}, {}), ValueError);
}

TEST_CASE("the chain rule") {
  const Tensor<> z = normal({5});
  const Tensor<> A = normal({5, 4}, 4), B = normal({5, 5}, 5);
  const auto scale = [](const Tensor<>& x) { return tanh(x) * 2.0; };
  const auto parts = [](const Tensor<>& x) { return concatenate({slice(x, -1, 1, 5), x * sum(x, -1, keep_dims)}, -1); };
  const auto linear = [&](const Tensor<>& x) { return matmul(x, A); };
  const auto sorted = [](const Tensor<>& x) { return sort(x); };
  using F = std::function<Tensor<>(const Tensor<>&)>;
  const std::vector<F> functions{softmax_by_hand, scale, parts, linear, sorted};
  for (const F& inner : functions) {
    for (const F& outer : functions) {
      const Tensor<> y = inner(z);
      if (&outer == &functions[3] && y.shape() != Shape{5}) continue;  // A takes five
      const auto outer_J = jacobian(outer)(y), inner_J = jacobian(inner)(z), J = outer_J * inner_J;
      const auto expected = jacobian([&](const Tensor<>& x) { return outer(inner(x)); })(z);
      CAPTURE(J.explain());
      CHECK(close(J.dense(), expected.dense()));
      const Tensor<> v = normal({5}, 6), g = normal(J.output_shape(), 7);
      CHECK(close(J.apply(v), expected.apply(v)));
      CHECK(close(J.apply_transposed(g), expected.apply_transposed(g)));
    }
  }
  const auto twice = jacobian(softmax_by_hand)(softmax_by_hand(z)) * jacobian(softmax_by_hand)(z);
  CHECK(twice.structure() == Structure::diagonal_plus_low_rank);
  CHECK(twice.rank() == 2);
  CHECK((jacobian(scale)(scale(z)) * jacobian(scale)(z)).structure() == Structure::diagonal);
  const auto total = [](const Tensor<>& x) { return sum(exp(x), -1, keep_dims) * linspace(1, 2, 5); };
  for (const F& inner : functions) {
    if (inner(z).shape() != z.shape()) continue;
    const auto J = jacobian(total)(inner(z)) * jacobian(inner)(z);  // low rank alone
    CHECK(close(J.dense(), jacobian([&](const Tensor<>& x) { return total(inner(x)); })(z).dense()));
  }
  auto power = twice;
  for (int i = 0; i < 12; ++i) power = power * twice;
  CHECK(power.rank() <= 5);
  CHECK(std::string(twice.explain()).find("the structure of two Jacobians") != std::string::npos);
  CHECK_THROWS_WITH_AS(jacobian(linear)(z) * jacobian(linear)(z),
                       Contains("the outer one takes (5), the inner one gives (4)"), ShapeError);
  const Tensor<> Z = normal({3, 5});
  const auto blocks = batch_jacobian(softmax_by_hand)(softmax_by_hand(Z)) * batch_jacobian(softmax_by_hand)(Z);
  CHECK(close(blocks.dense(),
              batch_jacobian([](const Tensor<>& x) { return softmax_by_hand(softmax_by_hand(x)); })(Z).dense()));
  CHECK_THROWS_AS(jacobian(softmax_by_hand)(Z) * batch_jacobian(softmax_by_hand)(Z), ShapeError);
  CHECK_THROWS_AS(twice.value(), ValueError);
}

struct Layer {
  Tensor<> W, b;
  auto tensors() { return std::tie(W, b); }
};

TEST_CASE("by several arguments, and by parameters") {
  const Tensor<> x = normal({3}), y = normal({3}, 2);
  const auto f = [](const Tensor<>& a, const Tensor<>& b) { return softmax_by_hand(a * a) + a * sum(b) + exp(b); };
  const auto [by_x, by_y] = jacobian<0, 1>(f)(x, y);
  CHECK(close(by_x.dense(), jacobian([&](const Tensor<>& a) { return f(a, y); })(x).dense()));
  CHECK(close(by_y.dense(), jacobian([&](const Tensor<>& b) { return f(x, b); })(y).dense()));
  CHECK(close(jacobian<1>(f)(x, y).dense(), by_y.dense()));
  const auto [second, first] = jacobian<1, 0>(f)(x, y);
  CHECK(close(second.dense(), by_y.dense()));
  CHECK(close(first.dense(), by_x.dense()));
  CHECK(by_y.structure() == Structure::diagonal_plus_low_rank);

  const Layer layer{normal({3, 4}, 5), normal({4}, 6)};
  const auto apply = [](const Layer& l, const Tensor<>& in) { return tanh(matmul(in, l.W) + l.b); };
  for (Sweep sweep : {Sweep::automatic, Sweep::forward, Sweep::reverse}) {
    const auto all = jacobian(apply, {.sweep = sweep})(layer, x);
    REQUIRE(all.size() == 2);
    CHECK(all[0].dense().shape() == Shape{4, 3, 4});
    CHECK(close(all[0].dense(), jacobian([&](const Tensor<>& W) { return apply({W, layer.b}, x); })(layer.W).dense()));
    CHECK(close(all[1].dense(), jacobian([&](const Tensor<>& b) { return apply({layer.W, b}, x); })(layer.b).dense()));
    const Tensor<> g = normal({4}, 8);
    const auto [value, pullback] = vjp([&](const Layer& l) { return apply(l, x); }, layer);
    CHECK(close(all[0].apply_transposed(g), pullback(g).W));
    CHECK(close(all[1].apply_transposed(g), pullback(g).b));
  }
  const std::map<std::string, Tensor<>> named{{"a", x}, {"b", y}};
  const auto of_map =
      jacobian([&](const std::map<std::string, Tensor<>>& p) { return f(p.at("a"), p.at("b")); })(named);
  CHECK(close(of_map[1].dense(), by_y.dense()));
}

TEST_CASE("what it says") {
  const Tensor<> z = normal({4}), Z = normal({7, 4}), A = normal({4, 3}, 2);
  const auto linear = [&](const Tensor<>& x) { return matmul(x, A); };
  CHECK(jacobian(softmax_by_hand)(z).explain() ==
        "Jacobian of (4) -> (4): a matrix (4, 4), diagonal plus low rank (rank 1); found in the recorded operations. "
        "Products use that form, dense() writes the elements.");
  CHECK(doctest::String(batch_jacobian(linear)(Z).explain().c_str()) == Contains("7 blocks (3, 4), constant"));
  CHECK_THROWS_WITH_AS(batch_jacobian([](const Tensor<>&) {
                         return zeros({3, 2});
                       })(normal({2, 3})),
                       Contains("which is another batch"), ShapeError);
  CHECK(doctest::String(jacobian(softmax_by_hand)(Z).explain().c_str()) == Contains("batch_jacobian finds"));
  const auto narrow = jacobian([&](const Tensor<>& x) {
    return matmul(tanh(matmul(x, normal({4, 6}))), normal({6, 2}));
  })(z);
  CHECK(doctest::String(narrow.explain().c_str()) == Contains("dense: no structure was found"));
  CHECK(doctest::String(narrow.explain().c_str()) == Contains("Structure ended at matmul at jacobian.cpp:"));
  const auto turned = batch_jacobian([](const Tensor<>& x) { return sort(tanh(x)); })(Z);
  CHECK(turned.structure() == Structure::dense);
  CHECK(doctest::String(turned.explain().c_str()) == Contains("Structure ended at take_along at jacobian.cpp:"));
  CHECK_THROWS_WITH_AS(jacobian(linear)(z).diagonal(), Contains("the blocks are (3, 4), not square"), ShapeError);
  CHECK_THROWS_WITH_AS(jacobian(linear)(z).apply(normal({3})), Contains(": v has shape (3) where (4) is needed"),
                       ShapeError);
  CHECK_THROWS_WITH_AS(jacobian(linear)(z).apply_transposed(normal({4})),
                       Contains(": g has shape (4) where (3) is needed"), ShapeError);
  std::ostringstream out;
  out << jacobian([](const Tensor<>& x) { return 2.0 * x; })(Tensor<>{1, 2});
  CHECK(out.str() ==
        "Jacobian of (2) -> (2): a matrix (2, 2), diagonal; found in the recorded operations. Products use "
        "that form, dense() writes the elements.\n[[2, 0],\n [0, 2]]");
  CHECK(to_string(Structure::low_rank) == "low rank");
}

TEST_CASE_TEMPLATE("empty, scalar and single", T, float, double) {
  const double few = 8 * eps<T>;
  const auto f = [](const Tensor<T>& x) { return tanh(x) * sum(x); };
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{1}, Shape{2, 0}, Shape{2, 3}}) {
    const Tensor<T> x = random::Generator(1).normal<T>(shape);
    const auto J = jacobian(f)(x);
    CHECK(J.dense().shape() == shape.concat(shape));
    CHECK(allclose(J.dense(), jacobian(f, {.sweep = Sweep::reverse})(x).dense(), few, few));
    CHECK(allclose(J.apply_transposed(x), vjp(f, x).second(x), few, few));
  }
  const auto rows = [](const Tensor<T>& x) { return tanh(x) * sum(x, -1, keep_dims); };
  for (const Shape& shape : {Shape{0, 3}, Shape{1, 1}, Shape{5, 1}, Shape{3, 0}}) {
    const Tensor<T> x = random::Generator(1).normal<T>(shape);
    CHECK(allclose(batch_jacobian(rows)(x).dense(), batch_jacobian(rows, {.sweep = Sweep::forward})(x).dense(), few,
                   few));
  }
}

}  // namespace
