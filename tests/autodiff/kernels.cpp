// Every kernel of every table is compared with a plain loop in long double, at all sizes up to 70 and some beyond.
#include "../../autodiff/kernels/kernels.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace tapegrad::kernels;
using std::int64_t;
using Real = long double;

template <class T>
struct Table {
  std::string name;
  const Kernels<T>* kernels;
};

template <class T>
std::vector<Table<T>> tables() {
  constexpr bool is_float = std::is_same_v<T, float>;
  std::vector<Table<T>> all;
  if constexpr (is_float) {
    all.push_back({"baseline", &baseline_f32});
  } else {
    all.push_back({"baseline", &baseline_f64});
  }
#ifndef TAPEGRAD_BASELINE_ONLY
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    if constexpr (is_float) {
      all.push_back({"x86-64-v3", &v3_f32});
    } else {
      all.push_back({"x86-64-v3", &v3_f64});
    }
  }
#endif
  return all;
}

template <class T>
constexpr T inf = std::numeric_limits<T>::infinity();
template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();
template <class T>
constexpr T eps = std::numeric_limits<T>::epsilon();
// xsimd's exp flushes to zero before the smallest normal number.
template <class T>
constexpr Real flushed = std::is_same_v<T, float> ? 1e-37L : 1e-306L;

// n values in [-scale, scale], then exactly the padding, full of NaN.
template <class T>
std::vector<T> input(int64_t n, double scale = 3) {
  static std::mt19937 engine(7);
  std::uniform_real_distribution<double> uniform(-scale, scale);
  std::vector<T> x(static_cast<std::size_t>(n) + padding / sizeof(T), not_a_number<T>);
  for (int64_t i = 0; i < n; ++i) x[static_cast<std::size_t>(i)] = static_cast<T>(uniform(engine));
  return x;
}

// n values, the padding, and behind it a guard that must not change.
template <class T>
class Output {
 public:
  explicit Output(int64_t n) : end_(static_cast<std::size_t>(n) + padding / sizeof(T)), values_(end_ + 32, T{-7}) {}
  T* data() { return values_.data(); }
  T operator[](int64_t i) const { return values_[static_cast<std::size_t>(i)]; }
  bool guard_intact() const {
    return std::all_of(values_.begin() + static_cast<std::ptrdiff_t>(end_), values_.end(),
                       [](T v) { return v == T{-7}; });
  }

 private:
  std::size_t end_;
  std::vector<T> values_;
};

// Whether two numbers are equal within the tolerance, the same infinity, or both NaN.
template <class T>
bool close(T value, Real expected, Real tolerance) {
  if (std::isnan(expected)) return std::isnan(value);
  if (std::isinf(expected)) return static_cast<Real>(value) == expected;
  return std::abs(static_cast<Real>(value) - expected) <= tolerance;
}

struct Extents {
  int64_t outer, count, inner;
};

std::vector<Extents> extents() {
  std::vector<Extents> all;
  for (int64_t n = 0; n <= 70; ++n) {
    for (int64_t other : {1, 3}) {
      all.push_back({other, n, 1});
      all.push_back({1, other, n});
      all.push_back({other, n, 5});
      all.push_back({other, 4, n});
    }
  }
  for (Extents e : {Extents{1, 70, 70},
                    {2, 33, 129},
                    {3, 65, 17},
                    {0, 3, 3},
                    {2, 1000, 1},
                    {1, 1025, 300},
                    {1, 100003, 1},
                    {1, 33000, 2},
                    {2, 1, 513},
                    {5, 7, 0}}) {
    all.push_back(e);
  }
  return all;
}

template <class T>
Real natural_log_sum(const T* x, int64_t n, Real shift) {
  Real sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<Real>(x[i]) - shift);
  return std::log(sum);
}

template <class T>
Real largest(const T* x, int64_t n) {
  Real m = -inf<Real>;
  for (int64_t i = 0; i < n; ++i) m = std::max(m, static_cast<Real>(x[i]));
  return m;
}

}  // namespace

TEST_CASE_TEMPLATE("kernels: sum, max, min, cumsum", T, float, double) {
  for (const Table<T>& table : tables<T>()) {
    for (const Extents& extent : extents()) {
      const int64_t outer = extent.outer, count = extent.count, inner = extent.inner;
      CAPTURE(table.name);
      CAPTURE(outer);
      CAPTURE(count);
      CAPTURE(inner);
      const auto x = input<T>(outer * count * inner);
      Output<T> sum(outer * inner), max(outer * inner), min(outer * inner);
      Output<T> forward(outer * count * inner), backward(outer * count * inner);
      table.kernels->sum(x.data(), sum.data(), outer, count, inner);
      if (count > 0) table.kernels->max(x.data(), max.data(), outer, count, inner);
      if (count > 0) table.kernels->min(x.data(), min.data(), outer, count, inner);
      table.kernels->cumsum(x.data(), forward.data(), outer, count, inner, false);
      table.kernels->cumsum(x.data(), backward.data(), outer, count, inner, true);
      bool sums = true, maxima = true, running = true;
      for (int64_t o = 0; o < outer; ++o) {
        for (int64_t j = 0; j < inner; ++j) {
          const auto index = [&](int64_t c) { return (o * count + c) * inner + j; };
          const auto at = [&](int64_t c) { return x[static_cast<std::size_t>(index(c))]; };
          Real total = 0, magnitude = 0;
          T m = -inf<T>, least = inf<T>, before{0}, after{0};
          for (int64_t c = 0; c < count; ++c) {
            total += at(c), magnitude += std::abs(at(c)), m = std::max(m, at(c));
            least = std::min(least, at(c));
            running &= forward[index(c)] == (before += at(c));
            running &= backward[index(count - 1 - c)] == (after += at(count - 1 - c));
          }
          const Real additions = 2 * std::log2(static_cast<Real>(count) + 2);
          sums &= close(sum[o * inner + j], total, eps<T> * additions * magnitude);
          maxima &= count == 0 || (max[o * inner + j] == m && min[o * inner + j] == least);
        }
      }
      CHECK(sums);
      CHECK(maxima);
      CHECK(running);
      CHECK((sum.guard_intact() && max.guard_intact() && min.guard_intact() && forward.guard_intact() &&
             backward.guard_intact()));
    }
  }
}

TEST_CASE_TEMPLATE("kernels: find, spread", T, float, double) {
  for (const Table<T>& table : tables<T>()) {
    for (const Extents& extent : extents()) {
      const int64_t outer = extent.outer, count = extent.count, inner = extent.inner, size = outer * count * inner;
      CAPTURE(table.name);
      CAPTURE(outer);
      CAPTURE(count);
      CAPTURE(inner);
      const auto y = input<T>(outer * inner), old = input<T>(size);
      Output<T> written(size), added(size);
      std::copy_n(old.begin(), size, added.data());
      table.kernels->spread(y.data(), written.data(), outer, count, inner, false);
      table.kernels->spread(y.data(), added.data(), outer, count, inner, true);
      // The wanted element stands at one place of each group, and once more after it; every other group has a NaN.
      auto x = input<T>(size), wanted = input<T>(outer * inner);
      std::vector<int64_t> expected, found(wanted.size(), -1);
      bool right = true;
      for (int64_t g = 0; g < outer * inner; ++g) {
        const auto group = static_cast<std::size_t>(g);
        const auto at = [&](int64_t c) {
          return static_cast<std::size_t>((g / inner * count + c) * inner + g % inner);
        };
        for (int64_t c = 0; c < count; ++c) {
          const auto i = static_cast<int64_t>(at(c));
          right &= written[i] == y[group] && added[i] == old[at(c)] + y[group];
        }
        if (count == 0) continue;
        if (g % 2 == 1) wanted[group] = not_a_number<T>;
        const int64_t place = (7 * g + 3) % count;
        x[at(place)] = x[at(count - 1)] = wanted[group];
        expected.push_back(static_cast<int64_t>(at(place)));
      }
      CHECK(right);
      CHECK((written.guard_intact() && added.guard_intact()));
      CHECK((size == 0 || added[size] == T{-7}));
      if (count == 0) continue;
      table.kernels->find(x.data(), wanted.data(), found.data(), outer, count, inner);
      CHECK(std::equal(expected.begin(), expected.end(), found.begin()));
    }
  }
}

TEST_CASE_TEMPLATE("kernels: a sum of 2e7 ones is 2e7", T, float, double) {
  const int64_t n = 20'000'000;
  const std::vector<T> ones(static_cast<std::size_t>(n) + padding, T{1});
  for (const Table<T>& table : tables<T>()) {
    CAPTURE(table.name);
    for (int64_t inner : {1, 2, 5, 10}) {
      Output<T> y(inner);
      table.kernels->sum(ones.data(), y.data(), 1, n / inner, inner);
      for (int64_t j = 0; j < inner; ++j) CHECK(y[j] == static_cast<T>(n / inner));
    }
  }
}

TEST_CASE_TEMPLATE("kernels: where, whatever steps", T, float, double) {
  const int64_t rows = 3;
  for (const Table<T>& table : tables<T>()) {
    for (int64_t cols = 1; cols <= 40; ++cols) {
      const auto a = input<T>(rows * cols), b = input<T>(rows * cols);
      const auto mask = std::make_unique<bool[]>(static_cast<std::size_t>(rows * cols) + padding);
      for (int64_t i = 0; i < rows * cols; ++i) mask[static_cast<std::size_t>(i)] = (i * i + i / 7) % 3 == 1;
      bool right = true;
      for (int steps = 0; steps < 8; ++steps) {
        const bool m_steps = steps & 1, a_steps = steps & 2, b_steps = steps & 4;
        const auto row = [=](bool step) { return step ? cols : int64_t{1}; };
        const Source<T> in[] = {{a.data(), row(a_steps), a_steps}, {b.data(), row(b_steps), b_steps}};
        Output<T> y(rows * cols);
        table.kernels->where(rows, cols, {mask.get(), row(m_steps), m_steps}, in, y.data());
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < cols; ++j) {
            const auto at = [=](bool step) { return static_cast<std::size_t>(i * row(step) + (step ? j : 0)); };
            right &= y[i * cols + j] == (mask[at(m_steps)] ? a[at(a_steps)] : b[at(b_steps)]);
          }
        }
        right &= y.guard_intact();
      }
      CAPTURE(table.name);
      CAPTURE(cols);
      CHECK(right);
    }
  }
}

TEST_CASE_TEMPLATE("kernels: max keeps NaN and infinities, wherever they are", T, float, double) {
  for (const Table<T>& table : tables<T>()) {
    for (int64_t inner : {1, 3, 40}) {
      for (int64_t count = 1; count <= 70; ++count) {
        bool kept = true;
        for (int64_t place = 0; place < count; ++place) {
          for (T value : {not_a_number<T>, inf<T>}) {
            auto x = input<T>(count * inner);
            const int64_t column = place % inner;
            x[static_cast<std::size_t>(place * inner + column)] = value;
            Output<T> y(inner);
            table.kernels->max(x.data(), y.data(), 1, count, inner);
            for (int64_t j = 0; j < inner; ++j) kept &= j == column ? close(y[j], value, 0) : std::isfinite(y[j]);
          }
        }
        CAPTURE(table.name);
        CAPTURE(count);
        CAPTURE(inner);
        CHECK(kept);
      }
    }
    const std::vector<T> lowest(100, -inf<T>);
    Output<T> y(3);
    table.kernels->max(lowest.data(), y.data(), 1, 1, 3);
    CHECK(y[2] == -inf<T>);
    table.kernels->max(lowest.data(), y.data(), 1, 7, 1);
    CHECK(y[0] == -inf<T>);
  }
}

TEST_CASE_TEMPLATE("kernels: softmax, log_softmax, logsumexp", T, float, double) {
  std::vector<int64_t> widths = {100, 127, 128, 257, 1000, 3001};
  for (int64_t n = 0; n <= 70; ++n) widths.push_back(n);
  for (const Table<T>& table : tables<T>()) {
    for (int64_t cols : widths) {
      for (int64_t rows : {0, 1, 3, 37}) {
        for (double scale : {1.0, 30.0, 1e4}) {
          CAPTURE(table.name);
          CAPTURE(rows);
          CAPTURE(cols);
          CAPTURE(scale);
          const auto x = input<T>(rows * cols, scale);
          Output<T> p(rows * cols), log_p(rows * cols), lse(rows);
          table.kernels->softmax(x.data(), p.data(), rows, cols);
          table.kernels->log_softmax(x.data(), log_p.data(), nullptr, rows, cols);
          table.kernels->logsumexp(x.data(), lse.data(), nullptr, rows, cols);
          Output<T> lse_too(rows), slope(rows * cols);
          table.kernels->logsumexp(x.data(), lse_too.data(), slope.data(), rows, cols);
          bool probabilities = true, logarithms = true, sums = true;
          for (int64_t r = 0; r < rows; ++r) {
            const T* row = x.data() + r * cols;
            const Real m = largest(row, cols), log_sum = cols == 0 ? m : natural_log_sum(row, cols, m);
            // x - m is rounded, so exp carries eps |x - m|; a term that matters has a small one.
            sums &= lse_too[r] == lse[r];
            sums &= close(lse[r], cols == 0 ? m : m + log_sum, eps<T> * (4 + std::abs(m) + 2 * std::abs(log_sum)));
            for (int64_t c = 0; c < cols; ++c) {
              const Real d = row[c] - m, expected = std::exp(d - log_sum);
              const Real tolerance = eps<T> * expected * (8 + std::abs(d)) + flushed<T>;
              probabilities &= close(p[r * cols + c], expected, tolerance);
              probabilities &= close(slope[r * cols + c], expected, tolerance);
              logarithms &= close(log_p[r * cols + c], d - log_sum, eps<T> * (4 + std::abs(d) + 2 * std::abs(log_sum)));
            }
          }
          CHECK(probabilities);
          CHECK(logarithms);
          CHECK(sums);
          CHECK((p.guard_intact() && log_p.guard_intact() && lse.guard_intact()));
          CHECK((lse_too.guard_intact() && slope.guard_intact()));
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("kernels: softmax confines NaN and infinities to their row", T, float, double) {
  for (const Table<T>& table : tables<T>()) {
    for (int64_t cols : {1, 2, 7, 8, 10, 16, 31, 33, 64, 100, 600}) {
      for (int64_t place : {int64_t{0}, cols / 2, cols - 1}) {
        for (T value : {not_a_number<T>, inf<T>, -inf<T>}) {
          CAPTURE(table.name);
          CAPTURE(cols);
          CAPTURE(place);
          CAPTURE(value);
          auto x = input<T>(3 * cols);
          x[static_cast<std::size_t>(cols + place)] = value;
          Output<T> p(3 * cols), log_p(3 * cols), lse(3);
          table.kernels->softmax(x.data(), p.data(), 3, cols);
          table.kernels->log_softmax(x.data(), log_p.data(), nullptr, 3, cols);
          table.kernels->logsumexp(x.data(), lse.data(), nullptr, 3, cols);
          const bool undefined = value != -inf<T>;
          bool neighbors = true, row = true;
          for (int64_t c = 0; c < cols; ++c) {
            for (int64_t r : {0, 2}) {
              neighbors &= std::isfinite(p[r * cols + c]) && std::isfinite(log_p[r * cols + c]);
            }
            const T own = p[cols + c], own_log = log_p[cols + c];
            if (undefined) {
              row &= std::isnan(own) && std::isnan(own_log);
            } else {
              row &= c == place ? own == 0 && own_log == -inf<T> : own > 0 && std::isfinite(own_log);
            }
          }
          CHECK(neighbors);
          CHECK(row);
          if (value == -inf<T> && cols > 1) {
            CHECK(std::isfinite(lse[1]));
          } else {
            CHECK(close(lse[1], value, 0));
          }
        }
      }
      std::vector<T> lowest(static_cast<std::size_t>(cols) + padding, -inf<T>);
      Output<T> p(cols), log_p(cols), lse(1), slope(cols);
      table.kernels->softmax(lowest.data(), p.data(), 1, cols);
      table.kernels->log_softmax(lowest.data(), log_p.data(), slope.data(), 1, cols);
      table.kernels->logsumexp(lowest.data(), lse.data(), slope.data(), 1, cols);
      for (int64_t c : {int64_t{0}, cols - 1}) CHECK((p[c] == 0 && log_p[c] == -inf<T> && slope[c] == 0));
      CHECK(lse[0] == -inf<T>);
    }
  }
}

TEST_CASE_TEMPLATE("kernels: the products of softmax and log_softmax, for each seed", T, float, double) {
  std::vector<int64_t> widths = {100, 128, 1000, 2100};
  for (int64_t n = 0; n <= 70; ++n) widths.push_back(n);
  for (const Table<T>& table : tables<T>()) {
    for (int64_t cols : widths) {
      for (int64_t seeds : {0, 1, 3}) {
        CAPTURE(table.name);
        CAPTURE(cols);
        CAPTURE(seeds);
        const int64_t rows = 5;
        const auto x = input<T>(rows * cols), g = input<T>(seeds * rows * cols);
        // Rows 0 and 3 have no element above 1/2. In the others the last element leaves less and less for the rest.
        std::vector<T> p(x.size());
        std::vector<Real> of_others(static_cast<std::size_t>(rows));
        for (int64_t r = 0; r < rows; ++r) {
          Real total = 0;
          T* row = p.data() + r * cols;
          const bool peaked = r % 3 != 0;
          for (int64_t c = 0; c < cols; ++c) total += row[c] = 1 + std::abs(x[static_cast<std::size_t>(r * cols + c)]);
          const Real scale = peaked ? std::pow(Real{10}, -5 * r) : Real{1};
          if (peaked && cols > 0) total -= row[cols - 1];
          for (int64_t c = 0; c < cols; ++c) row[c] = static_cast<T>(row[c] / std::max(total, Real{1}) * scale);
          Real others = 0;
          for (int64_t c = 0; c + 1 < cols; ++c) others += row[c];
          if (peaked && cols > 0) row[cols - 1] = static_cast<T>(1 - others);
        }
        Output<T> out(seeds * rows * cols), log_out(seeds * rows * cols);
        table.kernels->softmax_product(p.data(), g.data(), out.data(), seeds, rows, cols);
        table.kernels->log_softmax_product(p.data(), g.data(), log_out.data(), seeds, rows, cols);
        bool right = true, log_right = true;
        for (int64_t r = 0; r < seeds * rows; ++r) {
          const T* row = p.data() + r % rows * cols;
          const T* q = g.data() + r * cols;
          // With the element k above 1/2, the product is p (w - <w, p>) with w = g - g_k, and g_k sum of the other p -
          // p_k sum of the other g.
          const T* const peak = std::find_if(row, row + cols, [](T x) { return x > T(0.5); });
          const int64_t k = peak - row;
          const Real shift = k < cols ? Real{q[k]} : 0;
          Real dot = 0, magnitude = 0, sum = 0, rest = 0, log_magnitude = 0;
          for (int64_t j = 0; j < cols; ++j) {
            dot += row[j] * (q[j] - shift), magnitude += std::abs(row[j] * (q[j] - shift));
            if (j != k) sum += q[j], rest += row[j], log_magnitude += std::abs(Real{q[j]});
          }
          for (int64_t i = 0; i < cols; ++i) {
            const Real w = q[i] - shift;
            right &= close(out[r * cols + i], row[i] * (w - dot), eps<T> * row[i] * (20 * magnitude + 4 * std::abs(w)));
            const Real first = i == k ? q[i] * rest : Real{q[i]}, second = row[i] * (i == k ? sum : sum + shift);
            log_right &= close(log_out[r * cols + i], first - second,
                               eps<T> * (20 * row[i] * (log_magnitude + std::abs(shift)) + 20 * std::abs(first)));
          }
        }
        CHECK(right);
        CHECK(log_right);
        CHECK((out.guard_intact() && log_out.guard_intact()));
      }
    }
  }
}

TEST_CASE_TEMPLATE("kernels: add_to writes nothing beyond n", T, float, double) {
  for (const Table<T>& table : tables<T>()) {
    for (int64_t n = 0; n <= 200; n += n < 70 ? 1 : 13) {
      CAPTURE(table.name);
      CAPTURE(n);
      const auto x = input<T>(n), old = input<T>(n);
      Output<T> sum(n);
      std::copy_n(old.begin(), n, sum.data());
      table.kernels->add_to(sum.data(), x.data(), n);
      bool right = true;
      for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
        const auto j = static_cast<int64_t>(i);
        right &= sum[j] == old[i] + x[i];
      }
      CHECK(right);
      CHECK((sum[n] == T{-7} && sum.guard_intact()));
    }
  }
}

TEST_CASE_TEMPLATE("kernels: an update of parameters gives the same bits by every table", T, float, double) {
  const T big{0.9F}, small{0.1F}, tiny{1e-3F};
  for (int64_t n = 0; n <= 70; ++n) {
    CAPTURE(n);
    const auto g = input<T>(n), start = input<T>(n);
    // update(kernels, w, others): the other arrays, of positive elements.
    const auto compare = [&](auto update) {
      std::vector<std::vector<T>> results;
      for (const Table<T>& table : tables<T>()) {
        std::vector<Output<T>> arrays(4, Output<T>(n));
        for (Output<T>& array : arrays) {
          for (int64_t i = 0; i < n; ++i) array.data()[i] = std::abs(start[static_cast<std::size_t>(i)]);
        }
        update(*table.kernels, arrays[0].data(), arrays[1].data(), arrays[2].data(), arrays[3].data());
        std::vector<T>& result = results.emplace_back();
        for (Output<T>& array : arrays) {
          CHECK(array.guard_intact());
          result.insert(result.end(), array.data(), array.data() + n);
        }
        CHECK(result == results.front());
        CHECK(std::none_of(result.begin(), result.end(), [](T x) { return std::isnan(x); }));
      }
    };
    for (const bool nesterov : {false, true}) {
      compare([&](const Kernels<T>& k, T* w, T* v, T*, T*) {
        k.momentum_update({n, g.data(), {w, w}, {v, v}, big, small, nesterov});
      });
    }
    compare([&](const Kernels<T>& k, T* w, T*, T*, T*) {
      k.momentum_update({n, g.data(), {w, w}, {}, T{0}, small, false});
    });
    compare([&](const Kernels<T>& k, T* w, T* m, T* v, T*) {
      k.adam_update({n, g.data(), {w, w}, {m, m}, {v, v}, big, small, tiny, small, tiny, big});
    });
    for (const bool all : {false, true}) {
      compare([&](const Kernels<T>& k, T* w, T* v, T* a, T* b) {
        const auto changed = [=](T* x) { return tapegrad::detail::Changed<T>{all ? x : nullptr, all ? x : nullptr}; };
        k.root_update({n, g.data(), {w, w}, {v, v}, changed(a), changed(b), big, small, big, small, tiny, tiny});
      });
    }
  }
}

TEST_CASE("kernels: the chosen table belongs to the named instruction set") {
  const std::string name = isa();
  CHECK((name == "baseline" || name == "x86-64-v3"));
  CHECK((&kernels<float>() == &baseline_f32) == (name == "baseline"));
  CHECK((&kernels<double>() == &baseline_f64) == (name == "baseline"));
}
