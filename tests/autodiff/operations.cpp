// The values of the operations that choose, move and reduce elements, against plain loops over index tuples.
// (tests/kernels.cpp holds the elementwise functions to long double, tests/primitives.cpp the derivatives.)
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <span>
#include <tapegrad/autodiff.hpp>
#include <vector>

namespace {

using namespace tapegrad;
using X = Tensor<>;
using Index = std::vector<std::int64_t>;
using Labels = Tensor<std::int64_t>;

// Calls visit(index) for each element of `shape`, in row-major order.
void for_each_index(const Shape& shape, const std::function<void(const Index&)>& visit) {
  Index index(static_cast<std::size_t>(shape.rank()), 0);
  for (std::int64_t n = shape.count(); n > 0; --n) {
    visit(index);
    for (std::size_t axis = index.size(); axis-- > 0;) {
      if (++index[axis] < shape[axis]) break;
      index[axis] = 0;
    }
  }
}
template <class T>
T element(const Tensor<T>& x, const Index& index) {
  std::int64_t at = 0;
  for (std::size_t axis = 0; axis < index.size(); ++axis) at = at * x.shape()[axis] + index[axis];
  return x.data()[at];
}
// The element of x that broadcasting puts at `index`.
template <class T>
T spread(const Tensor<T>& x, const Index& index) {
  Index own(static_cast<std::size_t>(x.rank()));
  for (std::size_t axis = 0; axis < own.size(); ++axis) {
    own[axis] = x.shape()[axis] == 1 ? 0 : index[index.size() - own.size() + axis];
  }
  return element(x, own);
}
// Compares each element of y with expected(index).
template <class T, class F>
void check(const Tensor<T>& y, const Shape& shape, F expected, double tolerance = 0) {
  REQUIRE(y.shape() == shape);
  for_each_index(shape, [&](const Index& index) {
    const auto wanted = static_cast<double>(expected(index));
    if (!(std::abs(static_cast<double>(element(y, index)) - wanted) <= tolerance * std::max(1.0, std::abs(wanted)))) {
      CHECK(static_cast<double>(element(y, index)) == wanted);
    }
  });
  CHECK(true);
}

X numbers(const Shape& shape) { return random::Generator(4).normal<double>(shape); }

const std::vector<Shape> shapes = {{},        {1},        {7},       {3, 4},       {1, 5},          {5, 1}, {16, 17},
                                   {2, 3, 4}, {33, 2, 1}, {1, 1, 1}, {2, 3, 4, 5}, {2, 1, 3, 1, 2}, {0},    {2, 0, 3}};

TEST_SUITE("operations") {
  TEST_CASE("broadcasting") {
    struct Case {
      Shape a, b, y;
    };
    for (const Case& c :
         {Case{{}, {}, {}}, Case{{3, 4}, {3, 4}, {3, 4}}, Case{{3, 4}, {4}, {3, 4}}, Case{{4}, {3, 4}, {3, 4}},
          Case{{3, 1}, {4}, {3, 4}}, Case{{3, 1}, {1, 4}, {3, 4}}, Case{{2, 1, 3}, {4, 1}, {2, 4, 3}},
          Case{{}, {2, 3}, {2, 3}}, Case{{17, 1}, {33}, {17, 33}}, Case{{1}, {0}, {0}}, Case{{3, 1}, {0}, {3, 0}},
          Case{{2, 1, 3, 1}, {4, 1, 5}, {2, 4, 3, 5}}, Case{{2, 3, 1}, {2, 3, 9}, {2, 3, 9}},
          Case{{1, 1, 5}, {3, 2, 5}, {3, 2, 5}}, Case{{5, 2, 1}, {1, 7}, {5, 2, 7}}}) {
      CAPTURE(to_string(c.a));
      CAPTURE(to_string(c.b));
      const X a = numbers(c.a), b = random::Generator(5).normal<double>(c.b);
      check(a + b, c.y, [&](const Index& i) { return spread(a, i) + spread(b, i); });
      check(a - b, c.y, [&](const Index& i) { return spread(a, i) - spread(b, i); });
      check(a * b, c.y, [&](const Index& i) { return spread(a, i) * spread(b, i); });
      check(b / a, c.y, [&](const Index& i) { return spread(b, i) / spread(a, i); });
      check(maximum(a, b), c.y, [&](const Index& i) { return std::max(spread(a, i), spread(b, i)); });
      check(minimum(a, b), c.y, [&](const Index& i) { return std::min(spread(a, i), spread(b, i)); });
      check(a < b, c.y, [&](const Index& i) { return spread(a, i) < spread(b, i); });
      check(a >= b, c.y, [&](const Index& i) { return spread(a, i) >= spread(b, i); });
      check(a == a + 0 * b, c.y, [&](const Index&) { return true; });
      check(where(a > 0, a, b), c.y, [&](const Index& i) { return spread(a, i) > 0 ? spread(a, i) : spread(b, i); });
      check(where(b > 0, a, 7), c.y, [&](const Index& i) { return spread(b, i) > 0 ? spread(a, i) : 7; });
      check(logical_and(a > 0, b > 0), c.y, [&](const Index& i) { return spread(a, i) > 0 && spread(b, i) > 0; });
      check(logical_or(a > 0, b > 0), c.y, [&](const Index& i) { return spread(a, i) > 0 || spread(b, i) > 0; });
      check(a > 0 && b > 0, c.y, [&](const Index& i) { return spread(a, i) > 0 && spread(b, i) > 0; });
      check(a > 0 || !(b > 0), c.y, [&](const Index& i) { return spread(a, i) > 0 || !(spread(b, i) > 0); });
      const Labels m = astype<std::int64_t>(2 * a), n = astype<std::int64_t>(2 * b);
      check(m + n, c.y, [&](const Index& i) { return spread(m, i) + spread(n, i); });
      check(m - n, c.y, [&](const Index& i) { return spread(m, i) - spread(n, i); });
      check(m == n, c.y, [&](const Index& i) { return spread(m, i) == spread(n, i); });
      check(m != n, c.y, [&](const Index& i) { return spread(m, i) != spread(n, i); });
      check(m < n, c.y, [&](const Index& i) { return spread(m, i) < spread(n, i); });
      check(m <= n, c.y, [&](const Index& i) { return spread(m, i) <= spread(n, i); });
      check(m > n, c.y, [&](const Index& i) { return spread(m, i) > spread(n, i); });
      check(m >= n, c.y, [&](const Index& i) { return spread(m, i) >= spread(n, i); });
      check(broadcast_to(a, c.y), c.y, [&](const Index& i) { return spread(a, i); });
      check(broadcast_to(b > 0, c.y), c.y, [&](const Index& i) { return spread(b, i) > 0; });
    }
    check(logical_not(X{1, -1} > 0), {2}, [](const Index& i) { return i[0] == 1; });
    check(2 - X{1, 4}, {2}, [](const Index& i) { return i[0] == 0 ? 1 : -2; });
    check(X{1, 4} > 2, {2}, [](const Index& i) { return i[0] == 1; });
    check(2.0 > X{1, 4}, {2}, [](const Index& i) { return i[0] == 0; });
  }

  TEST_CASE("keep_dims in place of the axes keeps all of them") {
    for (const Shape& shape : shapes) {
      const X x = numbers(shape);
      Shape kept;
      for (std::int64_t axis = 0; axis < shape.rank(); ++axis) kept.push_back(1);
      CHECK(sum(x, keep_dims).shape() == kept);
      CHECK(allclose(sum(x, keep_dims), reshape(sum(x), kept), 0, 0));
      CHECK(sum(x, KeepDims::no).shape() == Shape{});
      if (shape.count() == 0) continue;
      CHECK(allclose(mean(x, keep_dims), reshape(mean(x), kept), 0, 0));
      CHECK(allclose(max(x, keep_dims), reshape(max(x), kept), 0, 0));
      CHECK(allclose(prod(x, keep_dims), reshape(prod(x), kept), 0, 0));
      CHECK(allclose(min(x, keep_dims), reshape(min(x), kept), 0, 0));
    }
  }

  TEST_CASE("tensors by shape and elements, by a sequence, and vectors of constants") {
    const X x({2, 3}, {1, 2, 3, 4, 5, 6});
    check(x, {2, 3}, [](const Index& i) { return 3 * i[0] + i[1] + 1; });
    check(X({3}, {1, 2, 3}), {3}, [](const Index& i) { return i[0] + 1; });
    check(X({2}, {3, 4}), {2}, [](const Index& i) { return i[0] + 3; });
    check(X({2, 1}, {3, 4}), {2, 1}, [](const Index& i) { return i[0] + 3; });
    check(X({1, 1, 2}, {3, 4}), {1, 1, 2}, [](const Index& i) { return i[2] + 3; });
    check(X(Shape{}, {7}), {}, [](const Index&) { return 7; });
    check(X({2, 0}, {}), {2, 0}, [](const Index&) { return 0; });
    check(Labels({2, 2}, {0, 1, 2, 3}), {2, 2}, [](const Index& i) { return 2 * i[0] + i[1]; });
    check(Tensor<bool>({1, 2}, {false, true}), {1, 2}, [](const Index& i) { return i[1] == 1; });
    // As before, braces make a vector, or a matrix from its rows.
    check(X({2, 3}), {2}, [](const Index& i) { return 2 + i[0]; });
    check(X({{1, 2}, {3, 4}}), {2, 2}, [](const Index& i) { return 2 * i[0] + i[1] + 1; });

    std::vector<double> values{1, 2, 3};
    check(X(values), {3}, [](const Index& i) { return i[0] + 1; });
    check(X(std::vector<double>{}), {0}, [](const Index&) { return 0; });
    check(X(std::span<const double>(values)), {3}, [](const Index& i) { return i[0] + 1; });
    check(X(std::span<double>(values)), {3}, [](const Index& i) { return i[0] + 1; });
    check(Tensor<bool>(std::vector<bool>{true, false}), {2}, [](const Index& i) { return i[0] == 0; });

    check(zeros(3), {3}, [](const Index&) { return 0; });
    check(ones<float>(std::size_t{2}), {2}, [](const Index&) { return 1; });
    check(full<std::int64_t>(4L, 7), {4}, [](const Index&) { return 7; });
    check(zeros(0), {0}, [](const Index&) { return 0; });
    CHECK(zeros({}).shape() == Shape{});
    CHECK(ones({3}).shape() == Shape{3});
    CHECK(full({2, 3}, 1).shape() == Shape{2, 3});
  }

  TEST_CASE("range-for goes along the first axis, and stays on the tape") {
    const X x{1, 2, 4};
    double total = 0;
    for (const X& element : x) {
      CHECK(element.shape() == Shape{});
      total = 10 * total + element.item();
    }
    CHECK(total == 124);
    std::vector<X> rows;
    for (const X& row : 2 * X({{1, 2}, {3, 4}})) rows.push_back(row);  // a temporary
    REQUIRE(rows.size() == 2);
    check(rows[0], {2}, [](const Index& i) { return 2 + 2 * i[0]; });
    check(rows[1], {2}, [](const Index& i) { return 6 + 2 * i[0]; });
    for (const Labels& label : Labels{7}) CHECK(label.item() == 7);
    for (const X& row : zeros({0, 3})) FAIL(row.shape());
    static_assert(std::input_iterator<decltype(x.begin())>);

    const auto cubes = [](const X& z) {
      X sum = 0.0;
      for (const X& element : z) sum += element * element * element;
      return sum;
    };
    check(grad(cubes)(x), {3}, [&](const Index& i) { return 3 * x(i[0]) * x(i[0]); });
    check(hessian(cubes)(x), {3, 3}, [&](const Index& i) { return i[0] == i[1] ? 6 * x(i[0]) : 0; });
  }

  TEST_CASE("operators of masks and labels take numbers on either side") {
    const Labels labels{0, 1, 2};
    check(labels == 1, {3}, [](const Index& i) { return i[0] == 1; });
    check(1 != labels, {3}, [](const Index& i) { return i[0] != 1; });
    check(1 < labels, {3}, [](const Index& i) { return i[0] > 1; });
    check(labels >= 1U, {3}, [](const Index& i) { return i[0] >= 1; });
    check(labels + 2, {3}, [](const Index& i) { return i[0] + 2; });
    check(2 - labels, {3}, [](const Index& i) { return 2 - i[0]; });
    constexpr auto most = std::numeric_limits<std::int64_t>::max(), least = std::numeric_limits<std::int64_t>::min();
    CHECK((Labels(most) + 1).item() == least);
    CHECK((Labels(least) - 1).item() == most);
    // What a double would round.
    CHECK((Labels(most) == most).item());
    CHECK(!(Labels(most) == most - 1).item());
    const Tensor<bool> mask = labels > 0;
    check(mask && true, {3}, [](const Index& i) { return i[0] > 0; });
    check(false || mask, {3}, [](const Index& i) { return i[0] > 0; });
    check(!mask, {3}, [](const Index& i) { return i[0] == 0; });
    check(take(X{5, 6, 7}, labels - 1), {3}, [](const Index& i) { return i[0] == 0 ? 7 : 4 + i[0]; });
  }

  TEST_CASE("reductions over every set of axes") {
    for (const Shape& shape : shapes) {
      const X x = numbers(shape);
      const int rank = static_cast<int>(shape.rank());
      for (int set = 0; set < 1 << rank; ++set) {
        std::vector<int> chosen;
        Shape kept, dropped;
        for (int axis = 0; axis < rank; ++axis) {
          const std::int64_t size = shape[static_cast<std::size_t>(axis)];
          if ((set >> axis & 1) != 0)
            chosen.push_back(axis % 2 == 0 ? axis : axis - rank);
          else
            dropped.push_back(size);
          kept.push_back((set >> axis & 1) != 0 ? 1 : size);
        }
        std::reverse(chosen.begin(), chosen.end());
        Axes axes = std::initializer_list<int>{};
        switch (chosen.size()) {
          case 1:
            axes = {chosen[0]};
            break;
          case 2:
            axes = {chosen[0], chosen[1]};
            break;
          case 3:
            axes = {chosen[0], chosen[1], chosen[2]};
            break;
          case 4:
            axes = {chosen[0], chosen[1], chosen[2], chosen[3]};
            break;
          case 5:
            axes = {chosen[0], chosen[1], chosen[2], chosen[3], chosen[4]};
            break;
          default:
            break;
        }
        X total = zeros(kept), product = ones(kept), largest = full(kept, -1e300), smallest = full(kept, 1e300),
          size = zeros(kept);
        for_each_index(shape, [&](const Index& index) {
          std::int64_t at = 0;
          for (std::size_t axis = 0; axis < index.size(); ++axis)
            at = at * kept[axis] + (kept[axis] == 1 ? 0 : index[axis]);
          const double v = element(x, index);
          total.mutable_data()[at] += v;
          product.mutable_data()[at] *= v;
          size.mutable_data()[at] += 1;
          largest.mutable_data()[at] = std::max(largest.data()[at], v);
          smallest.mutable_data()[at] = std::min(smallest.data()[at], v);
        });
        CAPTURE(to_string(shape));
        CAPTURE(set);
        CHECK(allclose(sum(x, axes, keep_dims), total, 1e-13, 1e-13));
        CHECK(allclose(sum(x, axes), reshape(total, dropped), 1e-13, 1e-13));
        CHECK(allclose(prod(x, axes, keep_dims), product, 1e-13, 0));
        CHECK(allclose(prod(x, axes), reshape(product, dropped), 1e-13, 0));
        if (shape.count() == 0) continue;
        CHECK(allclose(mean(x, axes), reshape(total / size, dropped), 1e-13, 1e-13));
        CHECK(allclose(max(x, axes, keep_dims), largest, 0, 0));
        CHECK(allclose(max(x, axes), reshape(largest, dropped), 0, 0));
        CHECK(allclose(min(x, axes), reshape(smallest, dropped), 0, 0));
      }
      CHECK(allclose(sum(x), sum(reshape(x, {shape.count()})), 1e-13, 1e-13));
    }
  }

  TEST_CASE("along one axis: cumsum, argmax, softmax and its kin, sort") {
    for (const Shape& shape : shapes) {
      const X x = numbers(shape);
      for (std::int64_t axis = 0; axis < shape.rank(); ++axis) {
        const int a = static_cast<int>(axis), from_end = a - static_cast<int>(shape.rank());
        CAPTURE(to_string(shape));
        CAPTURE(axis);
        auto line = [&](const Index& index, auto visit) {  // the elements along the axis through `index`
          Index at = index;
          std::int64_t& i = at[static_cast<std::size_t>(axis)];
          for (i = 0; i < shape[axis]; ++i) visit(element(x, at), i);
        };
        auto running = [&](const Index& index) {
          double s = 0;
          line(index, [&](double v, std::int64_t i) { s += i <= index[static_cast<std::size_t>(axis)] ? v : 0; });
          return s;
        };
        check(cumsum(x, a), shape, running, 1e-14);
        check(cumsum(x, from_end), shape, running, 1e-14);
        if (shape[axis] == 0) continue;
        auto partition = [&](const Index& index) {
          double s = 0;
          line(index, [&](double v, std::int64_t) { s += std::exp(v); });
          return s;
        };
        check(
            softmax(x, a), shape, [&](const Index& i) { return std::exp(element(x, i)) / partition(i); }, 1e-14);
        check(
            log_softmax(x, from_end), shape, [&](const Index& i) { return element(x, i) - std::log(partition(i)); },
            1e-14);
        Shape kept = shape;
        kept[axis] = 1;
        check(
            logsumexp(x, a, keep_dims), kept, [&](const Index& i) { return std::log(partition(i)); }, 1e-14);
        CHECK(allclose(logsumexp(x, from_end),
                       reshape(logsumexp(x, a, keep_dims), shape.prefix(axis).concat(shape.suffix(axis + 1))), 0, 0));
        const Labels best = reshape(argmax(x, a), kept);
        check(best, kept, [&](const Index& i) {
          double largest = -1e300;
          std::int64_t at = 0;
          line(i, [&](double v, std::int64_t k) {
            if (v > largest) largest = v, at = k;
          });
          return at;
        });
      }
      if (shape.rank() == 0) continue;
      const X sorted = sort(x);
      check(sorted, shape, [&](const Index& index) {
        std::vector<double> row;
        Index at = index;
        for (at.back() = 0; at.back() < shape.back(); ++at.back()) row.push_back(element(x, at));
        std::sort(row.begin(), row.end());
        return row[static_cast<std::size_t>(index.back())];
      });
    }
  }

  TEST_CASE("transpose with every order of axes") {
    const X x = numbers({2, 3, 4, 5});
    std::vector<int> order{0, 1, 2, 3};
    do {
      Shape shape;
      for (int axis : order) shape.push_back(x.shape()[static_cast<std::size_t>(axis)]);
      auto expected = [&](const Index& index) {
        Index at(4);
        for (std::size_t i = 0; i < 4; ++i) at[static_cast<std::size_t>(order[i])] = index[i];
        return element(x, at);
      };
      check(transpose(x, {order[0], order[1], order[2], order[3]}), shape, expected);
      check(transpose(x > 0, {order[0] - 4, order[1], order[2] - 4, order[3]}), shape,
            [&](const Index& i) { return expected(i) > 0; });
    } while (std::next_permutation(order.begin(), order.end()));
    for (const Shape& shape : {Shape{3, 4}, Shape{1, 7}, Shape{7, 1}, Shape{67, 35}, Shape{2, 18, 33}, Shape{0, 3}}) {
      const X m = numbers(shape);
      Shape swapped = shape;
      std::swap(swapped[shape.rank() - 1], swapped[shape.rank() - 2]);
      check(matrix_transpose(m), swapped, [&](const Index& index) {
        Index at = index;
        std::swap(at[at.size() - 1], at[at.size() - 2]);
        return element(m, at);
      });
    }
  }

  TEST_CASE("slice as Python's") {
    for (const Shape& shape : {Shape{7}, Shape{3, 7}, Shape{7, 2}, Shape{2, 7, 3}}) {
      const X x = numbers(shape);
      for (std::int64_t axis = 0; axis < shape.rank(); ++axis) {
        const std::int64_t n = shape[axis];
        for (std::int64_t start : {-9, -7, -3, 0, 1, 6, 7, 12})
          for (std::int64_t stop : {-9, -2, 0, 3, 7, 20})
            for (std::int64_t step : {1, 2, 3, 10}) {
              std::vector<std::int64_t> chosen;
              const std::int64_t from = std::clamp<std::int64_t>(start < 0 ? start + n : start, 0, n);
              const std::int64_t to = std::clamp<std::int64_t>(stop < 0 ? stop + n : stop, 0, n);
              for (std::int64_t i = from; i < to; i += step) chosen.push_back(i);
              Shape out = shape;
              out[axis] = static_cast<std::int64_t>(chosen.size());
              check(slice(x, static_cast<int>(axis), start, stop, step), out, [&](const Index& index) {
                Index at = index;
                const auto k = static_cast<std::size_t>(axis);
                at[k] = chosen[static_cast<std::size_t>(index[k])];
                return element(x, at);
              });
            }
      }
    }
    check(slice(Labels{1, 2, 3, 4}, 0, 1, 4, 2), {2}, [](const Index& i) { return 2 + 2 * i[0]; });
  }

  TEST_CASE("take, take_along, one_hot") {
    const X x = numbers({4, 3, 5});
    const Labels indices({2, 3}, std::vector<std::int64_t>{0, -1, 2, 2, -3, 1});
    for (int axis : {0, 1, 2, -1, -2, -3}) {
      const auto at_axis = static_cast<std::size_t>(axis < 0 ? axis + 3 : axis);
      Shape shape = x.shape().prefix(at_axis).concat(indices.shape()).concat(x.shape().suffix(at_axis + 1));
      check(take(x, indices, axis), shape, [&](const Index& index) {
        Index at(index.begin(), index.begin() + static_cast<std::ptrdiff_t>(at_axis));
        const std::int64_t i = element(indices, {index[at_axis], index[at_axis + 1]});
        at.push_back(i < 0 ? i + x.shape()[at_axis] : i);
        at.insert(at.end(), index.begin() + static_cast<std::ptrdiff_t>(at_axis) + 2, index.end());
        return element(x, at);
      });
    }
    check(take(x, Labels(2)), {3, 5}, [&](const Index& i) { return element(x, {2, i[0], i[1]}); });
    check(take(x, Labels(Shape{0}, {}), 1), {4, 0, 5}, [](const Index&) { return 0; });
    check(take(x > 0, Labels{3, 3}), {2, 3, 5}, [&](const Index& i) { return element(x, {3, i[1], i[2]}) > 0; });
    Labels own = zeros<std::int64_t>({4, 3, 2});
    for (std::int64_t i = 0; i < own.size(); ++i) own.mutable_data()[i] = i % 10 - 5;
    check(take_along(x, own), {4, 3, 2}, [&](const Index& i) {
      const std::int64_t k = element(own, i);
      return element(x, {i[0], i[1], k < 0 ? k + 5 : k});
    });
  }

  TEST_CASE("concatenate") {
    for (int axis : {0, 1, 2, -1, -2, -3}) {
      const auto a = static_cast<std::size_t>(axis < 0 ? axis + 3 : axis);
      std::vector<X> parts;
      Shape out{2, 3, 4};
      out[a] = 0;
      for (std::int64_t size : {2, 0, 1, 5}) {
        Shape shape{2, 3, 4};
        shape[a] = size;
        out[a] += size;
        parts.push_back(random::Generator(static_cast<std::uint64_t>(size)).normal<double>(shape));
      }
      check(concatenate(parts, axis), out, [&](const Index& index) {
        Index at = index;
        for (const X& part : parts) {
          if (at[a] < part.shape()[a]) return element(part, at);
          at[a] -= part.shape()[a];
        }
        return 0.0;
      });
    }
    check(concatenate({Labels{1}, Labels{2, 3}}), {3}, [](const Index& i) { return i[0] + 1; });
  }

  TEST_CASE("stack") {
    std::vector<X> parts;
    for (std::uint64_t seed : {1U, 2U, 3U}) parts.push_back(random::Generator(seed).normal<double>({2, 5}));
    for (int axis : {0, 1, 2, -1, -2, -3}) {
      const auto a = static_cast<std::size_t>(axis < 0 ? axis + 3 : axis);
      Shape out{2, 5};
      const auto before = static_cast<std::int64_t>(a);
      out = out.prefix(before).concat({3}).concat(out.suffix(before));
      check(stack(parts, axis), out, [&](const Index& index) {
        Index at = index;
        at.erase(at.begin() + static_cast<std::ptrdiff_t>(a));
        return element(parts[static_cast<std::size_t>(index[a])], at);
      });
      check_derivatives(
          [axis](const X& x, const X& y) {
            return tanh(stack({x, y, x * y}, axis));
          },
          parts[0], parts[1]);
    }
    check(stack({Labels{1, 2}, Labels{3, 4}}), {2, 2}, [](const Index& i) { return 2 * i[0] + i[1] + 1; });
    check(stack({X(1.0), X(2.0)}), {2}, [](const Index& i) { return i[0] + 1; });
    CHECK_THROWS_WITH_AS(stack({X{1, 2}, X{1}}), doctest::Contains("stack at operations.cpp:"), ShapeError);
    CHECK_THROWS_WITH_AS(stack({X{1, 2}}, 2), doctest::Contains("axis 2"), ShapeError);
    CHECK_THROWS_AS(stack(std::vector<X>{}), ShapeError);
  }

  TEST_CASE("reshape shares the elements, astype and stop_gradient keep them") {
    const X x = numbers({2, 3, 4});
    for (const Shape& shape : {Shape{24}, Shape{4, -1}, Shape{-1, 2, 2}, Shape{1, 24, 1}, Shape{2, 3, 4}}) {
      const X y = reshape(x, shape);
      CHECK(std::equal(x.data(), x.data() + 24, y.data()));
      CHECK(y.data() == x.data());
    }
    CHECK(reshape(x, {4, -1}).shape() == Shape{4, 6});
    CHECK(reshape(zeros({0, 3}), {-1, 3}).shape() == Shape{0, 3});
    check(astype<float>(x), {2, 3, 4}, [&](const Index& i) { return static_cast<float>(element(x, i)); });
    check(astype<bool>(X{0, 0.5, -1}), {3}, [](const Index& i) { return i[0] > 0; });
    const X stopped = stop_gradient(x);
    CHECK(stopped.data() == x.data());
  }
}

}  // namespace
