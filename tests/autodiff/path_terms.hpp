#pragma once
// What the first and second derivatives of a random program must be: sums, over all paths through it, of products of
// the slopes of single operations, in long double, whose range no product leaves.
//
// With p the sum of the positive terms and n of the negative ones without sign, the derivative is p - n and its error
// relative to p + n. In strong-zero products a term is 0 where any factor is. So every order of computing gives the
// same, but where terms of both signs are infinite, where terms of both signs are NaN (the numbers beside the NaN may
// add up to 0, before or after it, or not), and where a part of a product leaves the range of the number type, be it
// inside of one operation: the slope -a / b^2 of a / b is 0 at b = 1e200, but not when it is taken as (v / b) (a / b).

#include "random_program.hpp"

namespace random_programs {

/// A sum of terms. The bits of `nan` are the signs of those terms with a NaN, with the NaN taken as positive. `lost`:
/// some term left the range inside of one operation, so that its size is not known.
struct Terms {
  long double p = 0, n = 0;
  unsigned nan = 0;
  bool lost = false;

  Terms() = default;
  explicit Terms(double x) {
    if (std::isnan(x))
      nan = 1;
    else
      (x > 0 ? p : n) = std::abs(x);
  }
  unsigned signs() const { return (p > 0 ? 1U : 0U) | (n > 0 ? 2U : 0U); }
  bool zero() const { return (signs() | nan) == 0 && !lost; }
  long double size() const { return p + n; }

  Terms& operator+=(const Terms& t) {
    p += t.p;
    n += t.n;
    nan |= t.nan;
    lost = lost || t.lost;
    return *this;
  }
  friend Terms operator*(const Terms& a, const Terms& b) {
    const auto strong = [](long double x, long double y) { return x == 0 || y == 0 ? 0 : x * y; };
    const auto meet = [](unsigned x, unsigned y) {
      return ((x & y) != 0 ? 1U : 0U) | (((x & 1U) && (y & 2U)) || ((x & 2U) && (y & 1U)) ? 2U : 0U);
    };
    Terms t;
    if (a.zero() || b.zero()) return t;
    t.p = strong(a.p, b.p) + strong(a.n, b.n);
    t.n = strong(a.p, b.n) + strong(a.n, b.p);
    t.lost = a.lost || b.lost;
    if ((a.nan | b.nan) != 0) t.nan = meet(a.nan, b.nan) | meet(a.nan, b.signs()) | meet(a.signs(), b.nan);
    return t;
  }
};

/// Whether the numbers of a sum and their factors stay far from the ends of the range. 0 and infinity do, because they
/// stay what they are.
inline bool in_range(const Terms& t, long double largest) {
  const auto inside = [largest](long double x) {
    return x == 0 || std::isinf(x) || (x <= largest && x * largest >= 1);
  };
  return !t.lost && inside(t.p) && inside(t.n);
}

/// The derivatives of one operation: of the elements of its value by those of its operands.
struct Slope {
  std::size_t element, operand, from;
  Terms slope;
};
struct Curvature {
  std::size_t element, operand_a, from_a, operand_b, from_b;
  Terms value;
  long double slack;  // the terms inside of a slope's own formula, which cancel
};
struct Local {
  std::vector<Slope> slopes;
  std::vector<Curvature> curvatures;
};

inline double finite_size(double a, double b) {
  const double size = std::max(std::abs(a), std::abs(b));
  return std::isfinite(size) ? size : 0;
}

template <Real T>
std::size_t count(const Tensor<T>& x) {
  return static_cast<std::size_t>(x.size());
}

inline Terms lost_term() {
  Terms t;
  t.lost = true;
  return t;
}

/// Factors that bring numbers back into the range.
template <Real T>
std::vector<T> scales() {
  std::vector<T> all;
  const int step = std::numeric_limits<T>::max_exponent / 4;
  for (int k : {1, 2, 3}) {
    all.push_back(std::ldexp(T{1}, k * step));
    all.push_back(std::ldexp(T{1}, -k * step));
  }
  return all;
}

/// The numbers at(1), and those that left the range: 0 where at(s), which is s^power times as large, is not, and
/// infinite where that is finite.
template <Real T, class At>
std::vector<bool> lost(const Tensor<T>& x, int power, At at) {
  std::vector<bool> marks(count(x));
  const auto end = [](T v) { return v == 0 || std::isinf(v) || std::abs(v) < std::numeric_limits<T>::min(); };
  if (std::none_of(x.elements_view().begin(), x.elements_view().end(), end)) return marks;
  for (const T s : scales<T>()) {
    const Tensor<T> scaled = at(s);
    for (std::size_t e = 0; e < marks.size(); ++e) {
      const T v = x.data()[e], by = scaled.data()[e];
      if (s > 1 ? std::abs(v) < std::numeric_limits<T>::min() && by != 0 && by != (power == 2 ? s * (s * v) : s * v)
                : std::isinf(v) && std::isfinite(by))
        marks[e] = true;
    }
  }
  return marks;
}

/// They are computed by the library's own reverse sweeps of this operation alone.
template <Real T>
Local local_derivatives(const Node<T>& node, const std::vector<Tensor<T>>& at, const Tensor<T>& y) {
  using List = std::vector<Tensor<T>>;
  Local local;
  const std::size_t operands = at.size(), m = count(y);
  const auto f = [&node](const List& z) { return node.apply(z); };
  if (node.kind == Kind::elementwise) {
    List whole;
    std::vector<Tensor<T>> place;
    for (const Tensor<T>& x : at) {
      whole.push_back(broadcast_to(x, y.shape()));
      place.push_back(broadcast_to(reshape(arange<T>(static_cast<double>(x.size())), x.shape()), y.shape()));
    }
    const Tensor<T> every = ones<T>(y.shape());
    const auto slopes_at = [&](const List& z, T scale) { return vjp(f, z).second(every * static_cast<double>(scale)); };
    const List slopes = slopes_at(whole, 1);
    const auto from = [&](std::size_t k, std::size_t e) { return static_cast<std::size_t>(place[k].data()[e]); };
    for (std::size_t k = 0; k < operands; ++k) {
      const auto by_operand = [&](const Tensor<T>& z) {
        List all = whole;
        all[k] = z;
        return f(all);
      };
      const std::vector<bool> lost_back = lost(slopes[k], 1, [&](T scale) { return slopes_at(whole, scale)[k]; });
      const std::vector<bool> lost_ahead = lost(
          slopes[k], 1, [&](T scale) { return jvp(by_operand, whole[k], every * static_cast<double>(scale)).second; });
      for (std::size_t e = 0; e < m; ++e) {
        const Terms slope = lost_back[e] || lost_ahead[e] ? lost_term() : Terms(slopes[k].data()[e]);
        if (!slope.zero()) local.slopes.push_back({e, k, from(k, e), slope});
      }
      const auto curvatures_at = [&](T inner, T outer) {
        return vjp([&](const List& z) { return slopes_at(z, inner)[k]; }, whole)
            .second(every * static_cast<double>(outer));
      };
      const List curvatures = curvatures_at(1, 1);
      for (std::size_t l = 0; l < operands; ++l) {
        const Tensor<T>& plain = curvatures[l];
        const std::vector<bool> inside = lost(plain, 1, [&](T scale) { return curvatures_at(scale, 1)[l]; });
        const std::vector<bool> outside = lost(plain, 1, [&](T scale) { return curvatures_at(1, scale)[l]; });
        const std::vector<bool> both = lost(plain, 2, [&](T scale) { return curvatures_at(scale, scale)[l]; });
        for (std::size_t e = 0; e < m; ++e) {
          const Terms curvature = inside[e] || outside[e] || both[e] ? lost_term() : Terms(plain.data()[e]);
          const double slack = finite_size(slopes[k].data()[e], slopes[l].data()[e]);
          if (curvature.zero() && slack == 0) continue;
          local.curvatures.push_back({e, k, from(k, e), l, from(l, e), curvature, slack});
        }
      }
    }
    return local;
  }
  std::vector<std::int64_t> sizes;
  for (const Tensor<T>& x : at) sizes.push_back(x.size());
  const auto rows = static_cast<std::int64_t>(m);
  const Tensor<T> unit = reshape(eye<T>(rows), Shape{rows}.concat(y.shape()));
  const auto matrix = [&](const List& z) {
    List blocks = vjp(f, z).second(unit);
    for (std::size_t k = 0; k < operands; ++k) blocks[k] = reshape(blocks[k], {rows, sizes[k]});
    return concatenate(blocks, 1);
  };
  const Tensor<T> J = matrix(at);
  std::size_t columns = 0;
  std::vector<std::pair<std::size_t, std::size_t>> place;  // operand and element of each column
  for (std::size_t k = 0; k < operands; ++k) {
    for (std::size_t i = 0; i < count(at[k]); ++i) place.emplace_back(k, i);
  }
  columns = place.size();
  const auto slope = [&](std::size_t e, std::size_t c) { return J.data()[e * columns + c]; };
  for (std::size_t e = 0; e < m; ++e) {
    for (std::size_t c = 0; c < columns; ++c) {
      Terms terms(slope(e, c));
      if (c == e && node.kind == Kind::softmax) {
        // Written as y - y y^T, which the library's products do not form.
        const T p = y.data()[e];
        terms = Terms(p);
        terms += Terms(-p * p);
      } else if (c == e && node.kind == Kind::log_softmax) {
        terms = Terms(1);
        terms += Terms(-std::exp(y.data()[e]));
      }
      if (!terms.zero()) local.slopes.push_back({e, place[c].first, place[c].second, terms});
    }
  }
  if (node.kind == Kind::straight) return local;
  const std::int64_t elements = J.size();
  const List second =
      vjp(matrix, at).second(reshape(eye<T>(elements), {elements, rows, static_cast<std::int64_t>(columns)}));
  const bool sums = node.kind == Kind::softmax || node.kind == Kind::log_softmax || node.kind == Kind::logsumexp;
  // A slope, or the larger of the two numbers whose difference it is.
  const auto formed = [&](std::size_t e, std::size_t c) -> double {
    if (e != c) return slope(e, c);
    if (node.kind == Kind::softmax) return y.data()[e];
    return node.kind == Kind::log_softmax ? 1 : slope(e, c);
  };
  for (std::size_t e = 0; e < m; ++e) {
    for (std::size_t a = 0; a < columns; ++a) {
      for (std::size_t b = 0; b < columns; ++b) {
        const auto& [l, j] = place[b];
        Terms terms(second[l].data()[(e * columns + a) * count(at[l]) + j]);
        const double slack = finite_size(formed(e, a), formed(e, b));
        if (sums && slack > 0) {
          // Its terms, of both signs and at most as large as these, are not told apart.
          terms += Terms(slack);
          terms += Terms(-slack);
        }
        if (!terms.zero() || slack > 0)
          local.curvatures.push_back({e, place[a].first, place[a].second, l, j, terms, slack});
      }
    }
  }
  return local;
}

/// The derivatives of a whole program at its point. `c` weights the elements of the output where a single value is
/// needed.
template <Real T>
class PathTerms {
 public:
  static constexpr long double whole_range = std::is_same_v<T, float> ? 1e34L : 1e290L;

  PathTerms(const Program<T>& program, const std::vector<Tensor<T>>& values, const Tensor<T>& c)
      : n_(count(program.x)), m_(count(values.back())) {
    const std::size_t nodes = program.nodes.size();
    std::vector<Local> local(nodes);
    forward_.resize(nodes);
    reverse_.resize(nodes);
    std::vector<bool> depends(nodes);
    for (std::size_t v = 0; v < nodes; ++v) forward_[v].resize(count(values[v]) * n_);
    for (std::size_t i = 0; i < n_; ++i) forward_[0][i * n_ + i] = Terms(1);
    depends[0] = true;
    for (std::size_t v = 1; v < nodes; ++v) {
      const Node<T>& node = program.nodes[v];
      std::vector<Tensor<T>> at;
      for (std::size_t k : node.operands) {
        at.push_back(values[k]);
        depends[v] = depends[v] || depends[k];
      }
      if (!depends[v]) continue;
      local[v] = local_derivatives(node, at, values[v]);
      for (const Slope& s : local[v].slopes) {
        for (std::size_t i = 0; i < n_; ++i)
          forward_[v][s.element * n_ + i] += s.slope * forward_[node.operands[s.operand]][s.from * n_ + i];
      }
    }
    for (std::size_t v = 0; v < nodes; ++v) reverse_[v].resize(m_ * count(values[v]));
    for (std::size_t o = 0; o < m_; ++o) reverse_[nodes - 1][o * m_ + o] = Terms(1);
    for (std::size_t v = nodes; v-- > 1;) {
      const std::size_t size = count(values[v]);
      for (const Slope& s : local[v].slopes) {
        const std::size_t from = program.nodes[v].operands[s.operand];
        const std::size_t size_from = count(values[from]);
        for (std::size_t o = 0; o < m_; ++o)
          reverse_[from][o * size_from + s.from] += reverse_[v][o * size + s.element] * s.slope;
      }
    }
    mark_range(values);
    second(program, values, local, c);
  }

  /// dy_o / dx_i.
  const Terms& first(std::size_t o, std::size_t i) const { return forward_.back()[o * n_ + i]; }
  bool first_in_range(std::size_t o, std::size_t i) const { return first_in_range_[o * n_ + i]; }
  /// d2 <c, y> / dx_i dx_j, and what may be lost in the slopes' own formulas.
  const Terms& second(std::size_t i, std::size_t j) const { return second_[i * n_ + j]; }
  long double slack(std::size_t i, std::size_t j) const { return slack_[i * n_ + j]; }
  bool second_in_range(std::size_t i, std::size_t j) const { return second_in_range_[i * n_ + j]; }
  std::size_t inputs() const { return n_; }
  std::size_t outputs() const { return m_; }
  /// No slope to or from anything that is computed is large: near a pole, or infinite where a 0 absorbs it, a finite
  /// difference says nothing.
  bool slopes_are_moderate() const {
    const auto moderate = [](const Terms& t) { return t.nan == 0 && t.size() < 1e6L; };
    const auto all_are = [&](const std::vector<Terms>& node) { return std::ranges::all_of(node, moderate); };
    return std::ranges::all_of(forward_, all_are) && std::ranges::all_of(reverse_, all_are);
  }
  /// How far element e of node v moves, at most, with the inputs.
  long double reach(std::size_t v, std::size_t e) const {
    long double sum = 0;
    for (std::size_t i = 0; i < n_; ++i) sum += forward_[v][e * n_ + i].size();
    return sum;
  }

 private:
  // What the ways multiply up: from the input to some node, and from it to the output.
  void mark_range(const std::vector<Tensor<T>>& values) {
    first_in_range_.assign(m_ * n_, true);
    for (std::size_t v = 0; v < values.size(); ++v) {
      const std::size_t size = count(values[v]);
      for (std::size_t e = 0; e < size; ++e) {
        for (std::size_t i = 0; i < n_; ++i) {
          const Terms& f = forward_[v][e * n_ + i];
          if (f.zero()) continue;
          const bool forward_fits = in_range(f, whole_range);
          for (std::size_t o = 0; o < m_; ++o) {
            const Terms& r = reverse_[v][o * size + e];
            if (!r.zero() && !(forward_fits && in_range(r, whole_range))) first_in_range_[o * n_ + i] = false;
          }
        }
      }
    }
  }

  void second(const Program<T>& program, const std::vector<Tensor<T>>& values, const std::vector<Local>& local,
              const Tensor<T>& c) {
    second_.resize(n_ * n_);
    slack_.resize(n_ * n_);
    second_in_range_.assign(n_ * n_, true);
    const long double range = std::pow(whole_range, 0.25L);
    for (std::size_t v = 1; v < values.size(); ++v) {
      const std::size_t size = count(values[v]);
      std::vector<Terms> adjoint(size);
      for (std::size_t e = 0; e < size; ++e) {
        for (std::size_t o = 0; o < m_; ++o) adjoint[e] += Terms(c.data()[o]) * reverse_[v][o * size + e];
      }
      for (const Curvature& s : local[v].curvatures) {
        const Terms& r = adjoint[s.element];
        if (r.zero()) continue;
        const Terms* a = &forward_[program.nodes[v].operands[s.operand_a]][s.from_a * n_];
        const Terms* b = &forward_[program.nodes[v].operands[s.operand_b]][s.from_b * n_];
        const Terms scaled = r * s.value;
        const bool fits = in_range(r, range) && in_range(s.value, range);
        for (std::size_t i = 0; i < n_; ++i) {
          if (a[i].zero()) continue;
          for (std::size_t j = 0; j < n_; ++j) {
            if (b[j].zero()) continue;
            const long double slack = r.size() * s.slack * a[i].size() * b[j].size();
            if (std::isfinite(slack)) slack_[i * n_ + j] += slack;
            if (s.value.zero()) continue;
            second_[i * n_ + j] += scaled * a[i] * b[j];
            if (!fits || !in_range(a[i], range) || !in_range(b[j], range)) second_in_range_[i * n_ + j] = false;
          }
        }
      }
    }
  }

  std::size_t n_, m_;
  std::vector<std::vector<Terms>> forward_;  // (elements, inputs) of each node
  std::vector<std::vector<Terms>> reverse_;  // (outputs, elements)
  std::vector<bool> first_in_range_, second_in_range_;
  std::vector<Terms> second_;
  std::vector<long double> slack_;
};

}  // namespace random_programs
