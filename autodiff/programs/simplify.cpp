#include "simplify.hpp"

#include <cmath>

namespace tapegrad::detail {
namespace {

using namespace ops;
using Simpler = std::optional<Scalar>;

bool is_whole_power_of_two(double c) {
  int exponent;
  return std::isnormal(c) && std::abs(std::frexp(c, &exponent)) == 0.5 && std::abs(exponent) < 120;
}

// a * b or mul0(a, b), whichever Op is.
template <class Op>
Scalar times(const Scalar& a, const Scalar& b) {
  return std::is_same_v<Op, Mul0> ? mul0(a, b) : a * b;
}

template <class Op>
Simpler constant_second(const Asked& x) {
  return is_constant(x.a) ? Simpler(times<Op>(x.b, x.a)) : Simpler();
}
template <class Op>
Simpler times_one(const Asked& x) {
  return is_constant(x.b, 1) ? Simpler(x.a) : Simpler();
}
template <class Op>
Simpler times_minus_one(const Asked& x) {
  return is_constant(x.b, -1) ? Simpler(-x.a) : Simpler();
}
template <class Op>
Simpler sign_to_constant(const Asked& x) {
  if (!is_constant(x.b) || !x.made_by<Negate>(x.a)) return {};
  return times<Op>(x.inside(x.a, 0), -x.b);
}
template <class Op>
Simpler first_sign_out(const Asked& x) {
  return x.made_by<Negate>(x.a) ? Simpler(-times<Op>(x.inside(x.a, 0), x.b)) : Simpler();
}
template <class Op>
Simpler second_sign_out(const Asked& x) {
  return x.made_by<Negate>(x.b) ? Simpler(-times<Op>(x.a, x.inside(x.b, 0))) : Simpler();
}
// Constant factors are multiplied with each other where the product is a normal number of float too.
template <class Op>
Simpler constants_together(const Asked& x) {
  if (!is_constant(x.b) || !x.made_by<Multiply>(x.a) || !is_constant(x.inside(x.a, 1))) return {};
  const double product = constant_of(x.inside(x.a, 1)) * constant_of(x.b);
  return std::isnormal(static_cast<float>(product)) ? Simpler(x.inside(x.a, 0) * product) : Simpler();
}

template <int p>
Simpler power(const Asked& x) {
  if (x.p != p) return {};
  switch (p) {
    case 1:
      return x.a;
    case 2:
      return x.a * x.a;
    case 3:
      return x.a * (x.a * x.a);
    case 4:
      return square(x.a * x.a);
    default:
      return 1 / x.a;
  }
}

constexpr Rewrite table[] = {
    {"-(-a) = a", &operation<Negate>,
     [](const Asked& x) { return x.made_by<Negate>(x.a) ? Simpler(x.inside(x.a, 0)) : Simpler(); }},
    {"-(a * c) = a * -c", &operation<Negate>,
     [](const Asked& x) {
       const bool by_constant = x.made_by<Multiply>(x.a) && is_constant(x.inside(x.a, 1));
       return by_constant ? Simpler(x.inside(x.a, 0) * -x.inside(x.a, 1)) : Simpler();
     }},

    {"a + -b = a - b", &operation<Add>,
     [](const Asked& x) { return x.made_by<Negate>(x.b) ? Simpler(x.a - x.inside(x.b, 0)) : Simpler(); }},
    {"-a + b = b - a", &operation<Add>,
     [](const Asked& x) { return x.made_by<Negate>(x.a) ? Simpler(x.b - x.inside(x.a, 0)) : Simpler(); }},
    {"a - -b = a + b", &operation<Subtract>,
     [](const Asked& x) { return x.made_by<Negate>(x.b) ? Simpler(x.a + x.inside(x.b, 0)) : Simpler(); }},
    {"a - 0 = a", &operation<Subtract>, [](const Asked& x) { return is_constant(x.b, 0) ? Simpler(x.a) : Simpler(); }},

    {"c * a = a * c", &operation<Multiply>, constant_second<Multiply>},
    {"a * 1 = a", &operation<Multiply>, times_one<Multiply>},
    {"a * -1 = -a", &operation<Multiply>, times_minus_one<Multiply>},
    {"-a * c = a * -c", &operation<Multiply>, sign_to_constant<Multiply>},
    {"-a * b = -(a * b)", &operation<Multiply>, first_sign_out<Multiply>},
    {"a * -b = -(a * b)", &operation<Multiply>, second_sign_out<Multiply>},
    {"(a * c) * d = a * (c * d)", &operation<Multiply>, constants_together<Multiply>},

    {"mul0(c, a) = mul0(a, c)", &operation<Mul0>, constant_second<Mul0>},
    {"mul0(a, 0) = 0", &operation<Mul0>,
     [](const Asked& x) { return is_constant(x.b) && constant_of(x.b) == 0 ? Simpler(0) : Simpler(); }},
    {"mul0(a, c) = a * c", &operation<Mul0>,
     [](const Asked& x) {
       return is_constant(x.b) && std::isfinite(constant_of(x.b)) ? Simpler(x.a * x.b) : Simpler();
     }},
    {"mul0(-a, c) = mul0(a, -c)", &operation<Mul0>, sign_to_constant<Mul0>},
    {"mul0(-a, b) = -mul0(a, b)", &operation<Mul0>, first_sign_out<Mul0>},
    {"mul0(a, -b) = -mul0(a, b)", &operation<Mul0>, second_sign_out<Mul0>},

    {"a / 2^c = a * 2^-c", &operation<Divide>,
     [](const Asked& x) {
       const bool exact = is_constant(x.b) && is_whole_power_of_two(constant_of(x.b));
       return exact ? Simpler(x.a * (1 / constant_of(x.b))) : Simpler();
     }},
    {"a / (exp(b) + 1) = a * sigmoid(-b)", &operation<Divide>,
     [](const Asked& x) {
       if (!x.made_by<ops::Add>(x.b) || !is_constant(x.inside(x.b, 1), 1)) return Simpler();
       const Scalar power = x.inside(x.b, 0);
       return x.made_by<Exp>(power) ? Simpler(x.a * sigmoid(-x.inside(power, 0))) : Simpler();
     }},
    {"-a / b = -(a / b)", &operation<Divide>,
     [](const Asked& x) { return x.made_by<Negate>(x.a) ? Simpler(-(x.inside(x.a, 0) / x.b)) : Simpler(); }},
    {"a / -b = -(a / b)", &operation<Divide>,
     [](const Asked& x) { return x.made_by<Negate>(x.b) ? Simpler(-(x.a / x.inside(x.b, 0))) : Simpler(); }},

    {"log(a + 1) = log1p(a)", &operation<Log>,
     [](const Asked& x) {
       const bool one_more = x.made_by<Add>(x.a) && is_constant(x.inside(x.a, 1), 1);
       return one_more ? Simpler(log1p(x.inside(x.a, 0))) : Simpler();
     }},
    {"log1p(exp(a)) = softplus(a)", &operation<Log1p>,
     [](const Asked& x) { return x.made_by<Exp>(x.a) ? Simpler(softplus(x.inside(x.a, 0))) : Simpler(); }},
    {"tanh(softplus(a)) by one exp", &operation<Tanh>,
     [](const Asked& x) {
       return x.made_by<Softplus>(x.a) ? Simpler(unary<TanhSoftplus>(x.inside(x.a, 0), {})) : Simpler();
     }},

    {"square(a) = a * a", &operation<Square>, [](const Asked& x) { return Simpler(x.a * x.a); }},
    {"reciprocal(a) = 1 / a", &operation<Reciprocal>, [](const Asked& x) { return Simpler(1 / x.a); }},
    {"pow(a, 1) = a", &operation<Pow>, power<1>},
    {"pow(a, 2) = a * a", &operation<Pow>, power<2>},
    {"pow(a, 3) = a * (a * a)", &operation<Pow>, power<3>},
    {"pow(a, 4) = square(a * a)", &operation<Pow>, power<4>},
    {"pow(a, -1) = 1 / a", &operation<Pow>, power<-1>},
};

}  // namespace

std::span<const Rewrite> rewrites() { return table; }

}  // namespace tapegrad::detail
