// Random programs, some hundreds a run: every way of taking a derivative agrees with the sum over all paths, and with
// finite differences.
//
//     TAPEGRAD_RANDOM_PROGRAMS=100000   how many
//     TAPEGRAD_RANDOM_SEED=7            the first; with TAPEGRAD_RANDOM_PROGRAMS=1 one alone
#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <vector>

#include "path_terms.hpp"
#include "random_program.hpp"

namespace {

using namespace tapegrad;
using namespace random_programs;

// Tolerances relative to the sum of the absolute terms.
template <Real T>
constexpr double tolerance = std::is_same_v<T, float> ? 5e-4 : 1e-12;

struct Counts {
  std::int64_t numbers = 0, zeros = 0, infinite = 0, nan = 0, differences = 0;
  std::int64_t canceling = 0, out_of_range = 0;  // about which nothing can be said
  std::int64_t rejected = 0;
};

struct Failure {
  std::string way;
  std::size_t row, column;
  double got;
  Terms expected;
  std::string text() const {
    std::ostringstream out;
    out.precision(17);
    out << way << " (" << row << ", " << column << ") is " << got << ", expected " << expected.p << " - " << expected.n;
    if (expected.nan != 0) out << " and NaN";
    return out.str();
  }
};

// Whether `got` is what the terms say, where they say something.
template <Real T>
bool right(T got, const Terms& terms, long double slack, bool in_range, Counts& counts) {
  if (terms.zero()) {
    ++counts.zeros;
    return std::abs(got) <= tolerance<T> * slack;
  }
  if (!in_range) return ++counts.out_of_range, true;
  if (terms.nan == 3 || (terms.nan == 0 && std::isinf(terms.p) && std::isinf(terms.n))) return ++counts.canceling, true;
  if (terms.nan != 0) return ++counts.nan, std::isnan(got);
  if (std::isinf(terms.size())) {
    ++counts.infinite;
    return std::isinf(got) && (got > 0) == std::isinf(terms.p);
  }
  ++counts.numbers;
  return std::abs(static_cast<long double>(got) - (terms.p - terms.n)) <= tolerance<T> * (terms.size() + slack);
}

template <Real T>
class Checker {
 public:
  using X = Tensor<T>;

  Checker(const Program<T>& program, Counts& counts) : program_(program), counts_(counts) {}

  /// The first way of differentiating that gives something else.
  std::optional<Failure> failure() {
    random::Generator rng(99);
    const std::vector<X> values = run(program_, program_.x);
    const X &x = program_.x, &y = values.back();
    const Shape x_shape = x.shape(), y_shape = y.shape();
    X c = rng.uniform<T>(y_shape, 0.5, 1.5), w = rng.uniform<T>(x_shape, -1.5, -0.5);
    if (c.size() > 1) c.mutable_data()[rng.below(c.size())] = 0;
    if (w.size() > 1) w.mutable_data()[rng.below(w.size())] = 0;
    const PathTerms<T> terms(program_, values, c);
    terms_ = &terms;
    m_ = terms.outputs();
    n_ = terms.inputs();
    const auto f = [this](const X& z) { return run(program_, z).back(); };

    const auto inputs = static_cast<std::int64_t>(n_), outputs = static_cast<std::int64_t>(m_);
    std::vector<X> e_x, e_y;  // the unit vectors
    for (std::int64_t i = 0; i < inputs; ++i) e_x.push_back(reshape(slice(eye<T>(inputs), 0, i, i + 1), x_shape));
    for (std::int64_t o = 0; o < outputs; ++o) e_y.push_back(reshape(slice(eye<T>(outputs), 0, o, o + 1), y_shape));
    const X all_y = reshape(eye<T>(outputs), Shape{outputs}.concat(y_shape));
    const X all_x = reshape(eye<T>(inputs), Shape{inputs}.concat(x_shape));

    const auto pullback = vjp(f, x).second;
    matrix("reverse", pullback(all_y));
    for (std::size_t o = 0; o < m_; ++o) row("reverse of a unit vector", o, pullback(e_y[o]));
    for (std::size_t i = 0; i < n_; ++i) column("forward", i, jvp(f, x, e_x[i]).second);
    by_all("reverse of a vector", pullback(c), [&](std::size_t i) { return weighed(y_terms(i), c); });
    by_all("forward of a vector", jvp(f, x, w).second, [&](std::size_t o) { return weighed(x_terms(o), w); });

    for (const Sweep sweep : {Sweep::automatic, Sweep::forward, Sweep::reverse}) {
      const char* names[] = {"jacobian", "jacobian by forward sweeps", "jacobian by reverse sweeps"};
      const std::string name = names[static_cast<std::size_t>(sweep)];
      const Jacobian<T> J = jacobian(f, {.sweep = sweep})(x);
      for (const char* known : {"", ", its structure known"}) {
        for (std::size_t i = 0; i < n_; ++i) column(name + ", apply" + known, i, J.apply(e_x[i]));
        for (std::size_t o = 0; o < m_; ++o) row(name + ", apply_transposed" + known, o, J.apply_transposed(e_y[o]));
        by_all(name + ", apply to a vector" + known, J.apply(w), [&](std::size_t o) { return weighed(x_terms(o), w); });
        by_all(name + ", apply_transposed to a vector" + known, J.apply_transposed(c),
               [&](std::size_t i) { return weighed(y_terms(i), c); });
        J.structure();
      }
      matrix(name + ", dense", J.dense());
      if (x_shape == y_shape) diagonal(name + ", diagonal", J.diagonal());
    }
    if (program_.rowwise) blocks(f, x, y_shape);

    // h = <c, f>, and its Hessian H; H w as the gradient of <c, J w>.
    const auto h = [&](const X& z) { return sum(f(z) * c); };
    const auto second_of = [&](std::size_t i) {
      return Weighed{[this, i](std::size_t j) { return terms_->second(i, j); },
                     [this, i](std::size_t j) { return terms_->slack(i, j); },
                     [this, i](std::size_t j) { return terms_->second_in_range(i, j); }, n_};
    };
    const auto H = [&](const std::string& way, const X& got) {
      for (std::size_t i = 0; i < n_; ++i) {
        for (std::size_t j = 0; j < n_; ++j) second(way, i, j, got.data()[i * n_ + j]);
      }
    };
    const auto H_column = [&](const std::string& way, std::size_t j, const X& got) {
      for (std::size_t i = 0; i < n_; ++i) second(way, i, j, got.data()[i]);
    };
    H("hessian", hessian(h)(x));
    H("reverse over reverse", vjp(grad(h), x).second(all_x));
    for (std::size_t j = 0; j < n_; ++j) {
      H_column("forward over reverse", j, hvp(h)(x, e_x[j]));
      H_column("reverse over reverse of a product", j, grad([&](const X& z) { return sum(grad(h)(z) * e_x[j]); })(x));
      const auto slope = [&](const X& z) { return jvp(h, z, e_x[j]).second; };
      H_column("reverse over forward", j, grad(slope)(x));
      for (std::size_t i = 0; i < n_; ++i) second("forward over forward", i, j, jvp(slope, x, e_x[i]).second.item());
    }
    const auto H_w = [&](const std::string& way, const X& got) {
      by_all(way, got, [&](std::size_t i) { return weighed(second_of(i), w); });
    };
    H_w("hvp", hvp(h)(x, w));
    for (const bool known : {false, true}) {
      const std::string suffix = known ? ", its structure known" : "";
      const auto J_at = [&](const X& z) {
        const Jacobian<T> J = jacobian(f)(z);
        if (known) J.structure();
        return J;
      };
      H_w("gradient through apply_transposed" + suffix,
          grad([&](const X& z) { return sum(J_at(z).apply_transposed(c) * w); })(x));
      H_w("gradient through apply" + suffix, grad([&](const X& z) { return sum(J_at(z).apply(w) * c); })(x));
    }
    const X weights = reshape(reshape(c, {outputs, 1}) * reshape(w, {1, inputs}), y_shape.concat(x_shape));
    H_w("gradient through dense", grad([&](const X& z) { return sum(jacobian(f)(z).dense() * weights); })(x));

    if (!failure_) differences(f, values);
    return failure_;
  }

 private:
  // Terms of a row or a column, how much slack they have, and whether they are in range.
  struct Weighed {
    std::function<Terms(std::size_t)> terms;
    std::function<long double(std::size_t)> slack;
    std::function<bool(std::size_t)> in_range;
    std::size_t size;
  };
  struct Sum {
    Terms terms;
    long double slack = 0;
    bool in_range = true;
  };

  static long double none(std::size_t) { return 0; }
  Weighed x_terms(std::size_t o) {
    return {[this, o](std::size_t i) { return terms_->first(o, i); }, none,
            [this, o](std::size_t i) { return terms_->first_in_range(o, i); }, n_};
  }
  Weighed y_terms(std::size_t i) {
    return {[this, i](std::size_t o) { return terms_->first(o, i); }, none,
            [this, i](std::size_t o) { return terms_->first_in_range(o, i); }, m_};
  }
  static Sum weighed(const Weighed& of, const X& weights) {
    Sum sum;
    for (std::size_t k = 0; k < of.size; ++k) {
      const Terms weight(weights.data()[k]);
      if (weight.zero()) continue;
      sum.terms += of.terms(k) * weight;
      sum.slack += of.slack(k) * weight.size();
      sum.in_range = sum.in_range && of.in_range(k);
    }
    return sum;
  }

  void compare(const std::string& way, std::size_t row, std::size_t column, T got, const Sum& expected) {
    if (failure_) return;
    if (!right(got, expected.terms, expected.slack, expected.in_range, counts_))
      failure_ = {way, row, column, static_cast<double>(got), expected.terms};
  }
  void first(const std::string& way, std::size_t o, std::size_t i, T got) {
    compare(way, o, i, got, {terms_->first(o, i), 0, terms_->first_in_range(o, i)});
  }
  void second(const std::string& way, std::size_t i, std::size_t j, T got) {
    compare(way, i, j, got, {terms_->second(i, j), terms_->slack(i, j), terms_->second_in_range(i, j)});
  }
  void shape(const std::string& way, const X& got, std::size_t size) {
    if (count(got) != size && !failure_) failure_ = {way + " has shape " + to_string(got.shape()), 0, 0, 0, {}};
  }
  void matrix(const std::string& way, const X& got) {
    shape(way, got, m_ * n_);
    for (std::size_t o = 0; o < m_ && !failure_; ++o) {
      for (std::size_t i = 0; i < n_; ++i) first(way, o, i, got.data()[o * n_ + i]);
    }
  }
  void row(const std::string& way, std::size_t o, const X& got) {
    shape(way, got, n_);
    for (std::size_t i = 0; i < n_ && !failure_; ++i) first(way, o, i, got.data()[i]);
  }
  void column(const std::string& way, std::size_t i, const X& got) {
    shape(way, got, m_);
    for (std::size_t o = 0; o < m_ && !failure_; ++o) first(way, o, i, got.data()[o]);
  }
  void diagonal(const std::string& way, const X& got) {
    shape(way, got, n_);
    for (std::size_t i = 0; i < n_ && !failure_; ++i) first(way, i, i, got.data()[i]);
  }
  template <class Expected>
  void by_all(const std::string& way, const X& got, Expected expected) {
    for (std::size_t k = 0; k < count(got) && !failure_; ++k) compare(way, k, 0, got.data()[k], expected(k));
  }

  template <class F>
  void blocks(const F& f, const X& x, const Shape& y_shape) {
    const auto batch = static_cast<std::size_t>(x.shape()[0]), n = n_ / batch, m = m_ / batch;
    for (const Sweep sweep : {Sweep::automatic, Sweep::forward, Sweep::reverse}) {
      const Jacobian<T> J = batch_jacobian(f, {.sweep = sweep})(x);
      for (const char* known : {"", ", its structure known"}) {
        const std::string suffix = known;
        // The units of one column or row, in all blocks at once.
        for (std::size_t i = 0; i < n; ++i) {
          X e = zeros<T>(x.shape());
          for (std::size_t b = 0; b < batch; ++b) e.mutable_data()[b * n + i] = 1;
          const X got = J.apply(e);
          for (std::size_t o = 0; o < m_; ++o) first("batch_jacobian, apply" + suffix, o, o / m * n + i, got.data()[o]);
        }
        for (std::size_t o = 0; o < m; ++o) {
          X e = zeros<T>(y_shape);
          for (std::size_t b = 0; b < batch; ++b) e.mutable_data()[b * m + o] = 1;
          const X got = J.apply_transposed(e);
          for (std::size_t i = 0; i < n_; ++i)
            first("batch_jacobian, apply_transposed" + suffix, i / n * m + o, i, got.data()[i]);
        }
        J.structure();
      }
      const X got = J.dense();
      for (std::size_t b = 0; b < batch; ++b) {
        for (std::size_t o = 0; o < m; ++o) {
          for (std::size_t i = 0; i < n; ++i)
            first("batch_jacobian, dense", b * m + o, b * n + i, got.data()[(b * m + o) * n + i]);
        }
      }
    }
  }

  // Compares with a central difference of fourth order, if two step sizes agree on it, no slope is large and no corner
  // is near.
  template <class F>
  void differences(const F& f, const std::vector<X>& values) {
    if constexpr (std::is_same_v<T, float>) return;
    for (const X& value : values) {
      for (const T v : value.elements_view()) {
        if (!(std::abs(v) < 1e6)) return;
      }
    }
    if (!terms_->slopes_are_moderate()) return;
    const double h = 1e-3;
    for (std::size_t v = 1; v < values.size(); ++v) {
      const Node<T>& node = program_.nodes[v];
      if (!node.to_corner) continue;
      long double reach = 0;
      std::vector<X> at;
      for (std::size_t k : node.operands) {
        at.push_back(values[k]);
        for (std::size_t e = 0; e < count(values[k]); ++e) reach = std::max(reach, terms_->reach(k, e));
      }
      if (!(node.to_corner(at) > 20 * h * reach)) return;
    }
    const auto at = [&](std::size_t i, double step) {
      X z(program_.x.shape(), program_.x.elements_view());
      z.mutable_data()[i] += static_cast<T>(step);
      return f(z);
    };
    const auto difference = [&](std::size_t i, double step) {
      return ((at(i, step) - at(i, -step)) * 8 - (at(i, 2 * step) - at(i, -2 * step))) / (12 * step);
    };
    for (std::size_t i = 0; i < n_; ++i) {
      const X fine = difference(i, h / 2), coarse = difference(i, h);
      for (std::size_t o = 0; o < m_; ++o) {
        const Terms& terms = terms_->first(o, i);
        const double scale = static_cast<double>(terms.size()) + 1e-3 * (1 + std::abs(values.back().data()[o]));
        const double d = fine.data()[o];
        if (!(std::abs(d - coarse.data()[o]) <= 1e-7 * scale)) continue;
        ++counts_.differences;
        if (!(std::abs(d - static_cast<double>(terms.p - terms.n)) <= 1e-6 * scale) && !failure_)
          failure_ = {"a finite difference", o, i, d, terms};
      }
    }
  }

  const Program<T>& program_;
  Counts& counts_;
  const PathTerms<T>* terms_ = nullptr;
  std::size_t m_ = 0, n_ = 0;
  std::optional<Failure> failure_;
};

/// What is wrong with the program; empty if nothing is.
struct Complaint {
  std::string text;
  bool thrown = false;
};
template <Real T>
Complaint complaint(const Program<T>& program, Counts& counts) {
  try {
    const auto failure = Checker<T>(program, counts).failure();
    return {failure ? failure->text() : "", false};
  } catch (const std::exception& error) {
    return {error.what(), true};
  }
}

std::int64_t from_environment(const char* name, std::int64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoll(text) : otherwise;
}

/// Whether the program of this seed is right; if not, a smaller one is printed.
template <Real T>
bool check(std::uint64_t seed, Counts& counts) {
  const Program<T> program = Builder<T>(seed, 0).build();
  const Complaint wrong = complaint(program, counts);
  if (wrong.text.empty()) return true;
  Counts ignored;
  // No other error counts: a smaller program may no longer treat rows separately.
  const auto fails = [&](const Program<T>& p) {
    const Complaint c = complaint(p, ignored);
    return !c.text.empty() && c.thrown == wrong.thrown;
  };
  Program<T> without_rows = program;
  without_rows.rowwise = false;
  const Program<T> small = shrunk(fails(without_rows) ? without_rows : program, fails);
  MESSAGE("TAPEGRAD_RANDOM_SEED=", seed, " TAPEGRAD_RANDOM_PROGRAMS=1: ", wrong.text,
          "\nmade smaller: ", complaint(small, ignored).text, "\n", print(small));
  return false;
}

TEST_SUITE("random programs") {
  TEST_CASE("every way of taking a derivative agrees on random programs") {
#ifdef __SANITIZE_ADDRESS__
    constexpr std::int64_t usual = 200;
#else
    constexpr std::int64_t usual = 10000;
#endif
    const std::int64_t programs = from_environment("TAPEGRAD_RANDOM_PROGRAMS", usual);
    const auto first = static_cast<std::uint64_t>(from_environment("TAPEGRAD_RANDOM_SEED", 1));
    const std::int64_t most_failures = from_environment("TAPEGRAD_RANDOM_FAILURES", 3);
    Counts counts;
    std::int64_t failures = 0, k = 0;
    for (; k < programs && failures < most_failures; ++k) {
      const std::uint64_t seed = first + static_cast<std::uint64_t>(k);
      // One in five in float.
      if (!(seed % 5 == 0 ? check<float>(seed, counts) : check<double>(seed, counts))) ++failures;
    }
    MESSAGE(k, " programs from seed ", first, ": ", counts.numbers, " numbers, ", counts.zeros, " zeros, ",
            counts.infinite, " infinite and ", counts.nan, " NaN agree, ", counts.differences,
            " with finite differences; nothing can be said of ", counts.canceling,
            " sums of infinite or NaN terms of both signs, ", counts.out_of_range, " that leave the range");
    CHECK(failures == 0);
  }
}

}  // namespace
