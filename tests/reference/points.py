#!/usr/bin/python3
"""points.py [FILE [FUNCTION...]] writes points.npz, the table of tests/points.cpp: every elementwise function and its first two derivatives at the
points where formulas lose digits. Needs mpmath and numpy (Debian: python3-mpmath python3-numpy).

For each function and number type an array (6, n): x, f, f', |x f''|, f'', |x f'''|. x is a number of the type. f, f' and
f'' are rounded to double, those of float to 40 bits, the two bounds to 16; what overflows is infinite.

Third-order Taylor series in 2,500 bits, so that no cancellation matters."""

import random
import sys
import zlib

import mpmath as mp
import numpy as np

mp.mp.prec = 2500


class Series:
    """Taylor coefficients c[k] = f^(k)(x) / k! for k <= 3."""

    def __init__(self, *c):
        self.c = [mp.mpf(v) for v in c] + [mp.mpf(0)] * (4 - len(c))

    def __neg__(self):
        return Series(*[-v for v in self.c])

    def __add__(self, other):
        other = other if isinstance(other, Series) else Series(other)
        return Series(*[a + b for a, b in zip(self.c, other.c)])

    def __mul__(self, other):
        other = other if isinstance(other, Series) else Series(other)
        return Series(*[sum(self.c[i] * other.c[k - i] for i in range(k + 1)) for k in range(4)])

    def of(self, *derivatives):
        """g(self), given g and its first three derivatives there."""
        step, power, result = Series(0, *self.c[1:]), Series(1), Series(0)
        for k, d in enumerate(derivatives):
            result, power = result + power * (d / mp.factorial(k)), power * step
        return result

    def __truediv__(self, other):
        other = other if isinstance(other, Series) else Series(other)
        r = 1 / other.c[0]
        return self * other.of(r, -r**2, 2 * r**3, -6 * r**4)

    __radd__, __rmul__ = __add__, __mul__

    def __sub__(self, other):
        return self + -other

    def __rsub__(self, other):
        return -self + other

    def __rtruediv__(self, other):
        return Series(other) / self


def exp(s):
    e = mp.exp(s.c[0])
    return s.of(e, e, e, e)


def log(s):
    r = 1 / s.c[0]
    return s.of(mp.log(s.c[0]), r, -r**2, 2 * r**3)


def power(s, p):
    x, p = s.c[0], mp.mpf(p)
    return s.of(*[mp.ff(p, k) * (x ** (p - k) if mp.ff(p, k) else 0) for k in range(4)])


def trigonometric(s, k):
    values = [mp.sin(s.c[0]), mp.cos(s.c[0])]
    values += [-v for v in values]
    return s.of(*[values[(k + i) % 4] for i in range(4)])


def sin(s):
    return trigonometric(s, 0)


def cos(s):
    return trigonometric(s, 1)


def absolute(s):
    return s if s.c[0] > 0 else -s


def inverse(value, slope):
    """f with f(x) known and f' as a series."""

    def f(s):
        d = slope(s)
        return Series(value(s.c[0]), d.c[0], d.c[1] / 2, d.c[2] / 3)

    return f


def tail(x):
    """erfc(x) of x > 0."""
    return mp.erfc(x) if x < 200 else mp.exp(-x * x)


def erf_value(x):
    return mp.erf(x) if abs(x) < 200 else mp.sign(x)


def erfc_value(x):
    return tail(x) if x > 0 else 2 - tail(-x) if x < 0 else mp.mpf(1)


def gaussian(s, p):
    return exp(-p * (s * s))


def sigmoid(s):
    return 1 / (1 + exp(-s))


def tanh(s):
    return 1 - 2 / (exp(2 * s) + 1)


def softplus(s):
    return log(1 + exp(s))


def normal_cdf(s):
    phi = lambda t: gaussian(t, mp.mpf(0.5)) * (1 / mp.sqrt(2 * mp.pi))
    return inverse(lambda x: erfc_value(-x / mp.sqrt(2)) / 2, phi)(s)


def arc_slope(s):
    return power((1 - s) * (1 + s), -0.5)


def step(value):
    return lambda s: Series(value(s.c[0]))


def pick(condition, yes, no):
    """A function of two branches; `condition` of x."""
    return lambda s: (yes if condition(s.c[0]) else no)(s)


identity = lambda s: s
relu = pick(lambda x: x > 0, identity, lambda s: Series(0))
relu6 = pick(lambda x: x >= 6, lambda s: Series(6), relu)
hard_sigmoid = lambda s: relu6(s + 3) / 6
selu_alpha, selu_scale = mp.mpf(1.6732632423543772), mp.mpf(1.0507009873554805)


def elu(alpha, scale=1):
    return pick(lambda x: x > 0, lambda s: scale * s, lambda s: scale * alpha * (exp(s) - 1))


def mish_factor(s):
    return tanh(softplus(s))


def mish_slope(s):
    t = mish_factor(s)
    return (1 - t * t) * sigmoid(s)


def tanh_slope(s):
    t = tanh(s)
    return 1 - t * t


def sigmoid_slope(s):
    return sigmoid(s) * sigmoid(-s)


class Function:
    """domain: where there is a value; at: points of interest; plain: needs few points; kinks: no derivative there."""

    def __init__(self, f, at=(), low=-mp.inf, high=mp.inf, plain=False, kinks=()):
        self.f, self.at, self.low, self.high, self.plain, self.kinks = f, at, low, high, plain, kinks


def functions(T):
    """By name; constants are numbers of the type T, as they are in the library."""
    c = lambda v: mp.mpf(float(T(v)))
    half_pi = [k * float(mp.pi / 2) for k in (1, -1, 2, -2, 3, 4, 7, 1000)]
    exp_ends = [-745.13, -708.39, -708.396, -354.2, 354.2, 709.43, 709.78] if T is np.float64 else [
        -103.3, -87.3, -87.336, -43.7, -44.4, 43.7, 88.37, 88.72]
    exp2_ends = [-1022, -1022.5, 1023.5, 1023.99] if T is np.float64 else [-126, -126.5, 126.9, 127.1, 127.5, 127.99]
    saturation = [1, -1, 2, 5, 9, 15, 17, 19, 20, -20, 25, 37, -37, 44] + exp_ends
    gauss_ends = [26.5, 26.54, 26.61, -26.6] if T is np.float64 else [9.19, 9.3, 9.35, -9.3]
    gelu_ends = [-37.5, -37.6, -38.4] if T is np.float64 else [-13, -13.1, -13.2]
    erf_ends = [0.46875, 1, 2, 4, 6, -0.46875, -1, -4, -6] + gauss_ends
    table = {
        "negate": Function(lambda s: -s, plain=True),
        "exp": Function(exp, exp_ends),
        "expm1": Function(lambda s: exp(s) - 1, exp_ends + [0.3466, -0.3466, 1, -1, -37]),
        "exp2": Function(lambda s: exp(s * mp.log(2)), exp2_ends + [0.5, -0.5]),
        "log": Function(log, [1, 0.5, 0.70710678, 1.41421356, 2], low=0),
        "log2": Function(lambda s: log(s) * (1 / mp.log(2)), [1, 0.5, 0.70710678, 1.41421356, 2], low=0),
        "log10": Function(lambda s: log(s) * (1 / mp.log(10)), [1, 0.5, 0.70710678, 1.41421356, 10, 1000], low=0),
        "log1p": Function(lambda s: log(1 + s), [-1, -0.5, -0.2929, 0.41421356, 1], low=-1),
        "tanh": Function(tanh, saturation),
        "tanh_slope": Function(tanh_slope, saturation),
        "sigmoid": Function(sigmoid, saturation),
        "sigmoid_slope": Function(sigmoid_slope, saturation),
        "softplus": Function(softplus, saturation),
        "tanh_softplus": Function(mish_factor, saturation),
        "tanh_softplus_slope": Function(mish_slope, saturation),
        "softsign": Function(lambda s: s / (1 + absolute(s)), [1, -1], kinks=(0,)),
        "relu": Function(relu, plain=True, kinks=(0,)),
        "abs": Function(absolute, plain=True, kinks=(0,)),
        "sign": Function(step(mp.sign), plain=True),
        "floor": Function(step(mp.floor), [1, 2, -1, -3], plain=True),
        "ceil": Function(step(mp.ceil), [1, 2, -1, -3], plain=True),
        "round": Function(step(mp.nint), [0.5, 1.5, -2.5], plain=True),
        "sqrt": Function(lambda s: power(s, 0.5), [1, 2], low=0),
        "cbrt": Function(lambda s: power(s, mp.mpf(1) / 3) if s.c[0] > 0 else -power(-s, mp.mpf(1) / 3), [1, -1, 8],
                         kinks=(0,)),
        "square": Function(lambda s: s * s, plain=True),
        "reciprocal": Function(lambda s: 1 / s, [1, -1], kinks=(0,)),
        "sin": Function(sin, half_pi),
        "cos": Function(cos, half_pi),
        "tan": Function(lambda s: sin(s) / cos(s), half_pi),
        "asin": Function(inverse(mp.asin, arc_slope), [0.5, -0.5, 1, -1], low=-1, high=1),
        "acos": Function(inverse(mp.acos, lambda s: -arc_slope(s)), [0.5, -0.5, 1, -1], low=-1, high=1),
        "asin_slope": Function(arc_slope, [0.5, -0.5, 1, -1], low=-1, high=1),
        "atan": Function(inverse(mp.atan, lambda s: 1 / (1 + s * s)), [0.41421356, 1, -1, 2.41421356]),
        "atan_slope": Function(lambda s: 1 / (1 + s * s), [1, -1]),
        "sinh": Function(lambda s: 0.5 * (exp(s) - exp(-s)), exp_ends + [1, -1, 710.4, -710.4, 89.4, -89.4]),
        "cosh": Function(lambda s: 0.5 * (exp(s) + exp(-s)), exp_ends + [1, -1, 710.4, -710.4, 89.4, -89.4]),
        "erf": Function(inverse(erf_value, lambda s: gaussian(s, 1) * (2 / mp.sqrt(mp.pi))), erf_ends),
        "erfc": Function(inverse(erfc_value, lambda s: gaussian(s, 1) * (-2 / mp.sqrt(mp.pi))), erf_ends),
        "normal_cdf": Function(normal_cdf, erf_ends + gelu_ends),
        "gaussian(1)": Function(lambda s: gaussian(s, 1), erf_ends),
        "gaussian(0.5)": Function(lambda s: gaussian(s, mp.mpf(0.5)), erf_ends + gelu_ends),
        "log_sigmoid": Function(lambda s: -softplus(-s), saturation),
        "silu": Function(lambda s: s * sigmoid(s), saturation + [-1.2785, -2.3994, 2.3994]),
        "gelu": Function(lambda s: s * normal_cdf(s), gelu_ends + [-0.7518, 1.4142, -1.4142, -5, -8]),
        "gelu_tanh": Function(lambda s: s * sigmoid(2 * mp.sqrt(2 / mp.pi) * (s + 0.044715 * (s * (s * s)))),
                              [-0.7523, -5, -8, 5, -1.4, 1.4]),
        "elu(1)": Function(elu(1), exp_ends, kinks=(0,)),
        "elu(0.3)": Function(elu(c(0.3)), plain=True, kinks=(0,)),
        "selu": Function(elu(selu_alpha, selu_scale), exp_ends, kinks=(0,)),
        "mish": Function(lambda s: s * mish_factor(s), saturation + [-1.1925]),
        "relu6": Function(relu6, plain=True, kinks=(0, 6)),
        "hard_sigmoid": Function(hard_sigmoid, [-3, 3], plain=True, kinks=(-3, 3)),
        "hard_swish": Function(lambda s: s * hard_sigmoid(s), [-3, 3, -1.5], plain=True, kinks=(-3, 3)),
        "hard_tanh": Function(pick(lambda x: abs(x) >= 1, step(mp.sign), identity), plain=True, kinks=(1, -1)),
    }
    for slope in (0.01, 0.2, -3):
        table[f"leaky_relu({slope})"] = Function(
            pick(lambda x: x > 0, identity, lambda s, a=c(slope): a * s), plain=True, kinks=(0,))
    for p in (0, 1, 2, 3, 4, -1, -2, -3, -4, 5, -7, 0.5, -0.5, 1.5):
        signs = dict(low=0) if p % 1 else dict(kinks=(0,))
        table[f"pow({p})"] = Function(lambda s, p=p: power(s, p), [1], plain=True, **signs)
    for p in (0.01, 0.3, 2.3, -0.3, -2.3):
        table[f"pow({p})"] = Function(lambda s, p=c(p): power(s, p), [1], low=0)
    for p in (0.5, 0.3, -2.3):
        table[f"pow_slope({p})"] = Function(lambda s, p=c(p): p * power(s, p - 1), [1], plain=True, low=0)
    for b in (3, -0.7, 1e-20, 1e20):
        b_ = c(b)
        table[f"add(x, {b})"] = Function(lambda s, b=b_: s + b, plain=True)
        table[f"subtract(x, {b})"] = Function(lambda s, b=b_: s - b, plain=True)
        table[f"subtract({b}, x)"] = Function(lambda s, b=b_: b - s, plain=True)
        table[f"multiply(x, {b})"] = Function(lambda s, b=b_: s * b, plain=True)
        table[f"mul0(x, {b})"] = Function(lambda s, b=b_: s * b, plain=True)
        table[f"divide(x, {b})"] = Function(lambda s, b=b_: s / b, plain=True)
        table[f"divide({b}, x)"] = Function(lambda s, b=b_: b / s, plain=True, kinks=(0,))
        table[f"maximum(x, {b})"] = Function(pick(lambda x, b=b_: x > b, identity, step(lambda x, b=b_: b)), plain=True,
                                             kinks=(float(b_),))
        table[f"minimum(x, {b})"] = Function(pick(lambda x, b=b_: x < b, identity, step(lambda x, b=b_: b)), plain=True,
                                             kinks=(float(b_),))
    for b in (3, 1e-20, 1e20):
        b_ = c(b)
        table[f"xlogy(x, {b})"] = Function(lambda s, b=b_: s * mp.log(b), plain=True)
        table[f"xlogy({b}, x)"] = Function(lambda s, b=b_: b * log(s), [1], plain=True, low=0)
    return table


def points(name, function, T):
    """Over all magnitudes, evenly where most functions bend, and closing in on each point of interest."""
    rng = random.Random(zlib.crc32(name.encode()))
    info = np.finfo(T)
    digits, smallest = info.nmant, int(info.minexp)
    x = []
    few = function.plain
    for e in range(smallest - digits, info.maxexp, (12 if few else 4) if T is np.float32 else (96 if few else 32)):
        x += [sign * rng.uniform(1, 2) * mp.mpf(2) ** (e + rng.randrange(4)) for sign in (1, -1)]
    for e in range(-digits - 6, 12, 6 if few else 2):
        x += [sign * rng.uniform(1, 2) * mp.mpf(2) ** e for sign in (1, -1)]
    for bound in (1, 10, 100):
        x += [rng.uniform(-bound, bound) for _ in range(6 if few else 20)]
    for at in function.at:
        at = float(T(at))
        x += [at, float(np.nextafter(T(at), T(np.inf))), float(np.nextafter(T(at), T(-np.inf)))]
        x += [at * (1 + sign * rng.uniform(1, 2) * 2.0**-j)
              for j in range(2, digits, 7 if T is np.float32 else 12) for sign in (1, -1)]
    x += [0, float(info.max), float(-info.max), float(info.tiny), float(-info.tiny)]
    with np.errstate(over="ignore", under="ignore"):
        x = {float(T(float(v))) for v in x}
    return [v for v in sorted(x) if np.isfinite(v) and function.low <= v <= function.high and v not in function.kinks]


def rounded(v, bits):
    if not mp.isfinite(v):
        return float(v)
    with mp.workprec(bits):
        v = +v
    return float(v)


def main(path, names):
    """All of the table, or the functions of these names in the table that is there."""
    table = dict(np.load(path)) if names else {}
    for T, suffix, bits in ((np.float32, "f32", 40), (np.float64, "f64", 53)):
        for name, function in functions(T).items():
            if names and name not in names:
                continue
            rows = []
            for x in points(name, function, T):
                if x in (function.low, function.high):
                    continue
                c = function.f(Series(x, 1)).c
                f, d1, d2, d3 = c[0], c[1], 2 * c[2], 6 * c[3]
                rows.append([x, rounded(f, bits), rounded(d1, bits), rounded(abs(x * d2), 16), rounded(d2, bits),
                             rounded(abs(x * d3), 16)])
            table[f"{name}.{suffix}"] = np.array(rows).T.copy()
    np.savez_compressed(path, **table)


main(sys.argv[1] if len(sys.argv) > 1 else "points.npz", sys.argv[2:])
