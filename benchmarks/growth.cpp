// How the instructions of every primitive grow, with its elements, its operands, or the size of a source of which it
// touches little. Runs under callgrind, which counts them: scripts/growth does that and prints the exponents.

#include <algorithm>
#include <cstdio>
#include <functional>
#include <set>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/autodiff/ops/registry.hpp>
#include <vector>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_ZERO_STATS static_cast<void>(0)
#define CALLGRIND_DUMP_STATS_AT(name) static_cast<void>(name)
#endif

namespace {

using namespace tapegrad;
using X = Tensor<>;
using Function = std::function<X(const X&)>;

struct Case {
  std::string primitive, what;
  std::int64_t smallest;                           // size at the first of the three
  std::function<X(std::int64_t)> argument;         // of a size
  std::function<Function(std::int64_t)> function;  // for a size
};

X vector(std::int64_t n) { return linspace(0.1, 0.9, n); }
X matrix(std::int64_t rows, std::int64_t cols) { return reshape(vector(rows * cols), {rows, cols}); }
Tensor<bool> alternating(std::int64_t n) {
  Tensor<bool> mask = full<bool>({n}, false);
  for (std::int64_t i = 0; i < n; i += 2) mask.mutable_data()[i] = true;
  return mask;
}
Tensor<std::int64_t> scattered(std::int64_t n, std::int64_t below) {
  Tensor<std::int64_t> indices = full<std::int64_t>({n}, 0);
  for (std::int64_t i = 0; i < n; ++i) indices.mutable_data()[i] = i * 7919 % below;
  return indices;
}
// The rule of a rule is a primitive too: it runs when a gradient is differentiated again.
Function gradient_of(const Function& f) {
  return [f](const X& x) { return grad([f](const X& z) { return sum(square(f(z))); })(x); };
}

std::vector<Case> cases() {
  std::vector<Case> all;
  constexpr std::int64_t elements = 64, parts = 4, rows = 16;
  const auto add = [&](const char* primitive, const char* what, std::int64_t smallest, auto argument, auto function) {
    all.push_back({primitive, what, smallest, argument, function});
  };
  const auto by_elements = [&](const char* primitive, const Function& f) {
    add(primitive, "elements", elements, vector, [f](std::int64_t) { return f; });
  };
  const auto by_rows = [&](const char* primitive, const char* what, const Function& f) {
    add(
        primitive, what, rows, [](std::int64_t n) { return matrix(n, 8); }, [f](std::int64_t) { return f; });
  };
  [&]<class... Op>(const std::tuple<Op...>*) {
    (by_elements(Op::name, [](const X& x) { return detail::unary<Op>(x, Caller::here(), 0.7); }), ...);
  }(static_cast<const ops::Unary*>(nullptr));
  [&]<class... Op>(const std::tuple<Op...>*) {
    (by_elements(Op::name, [](const X& x) { return detail::binary<Op>(x, 1 - x, Caller::here()); }), ...);
  }(static_cast<const ops::Binary*>(nullptr));
  add("where", "elements", elements, vector,
      [](std::int64_t n) -> Function { return [mask = alternating(n)](const X& x) { return where(mask, x, 2 * x); }; });
  by_elements("sum", [](const X& x) { return sum(x); });
  by_rows("sum", "rows", [](const X& x) { return sum(x, 0); });
  by_elements("prod", [](const X& x) { return prod(x); });
  by_rows("prod", "rows", [](const X& x) { return prod(x, 0); });
  by_rows("prod", "again, rows", gradient_of([](const X& x) { return prod(x, -1); }));
  by_elements("max", [](const X& x) { return max(x); });
  by_rows("max", "rows", [](const X& x) { return max(x, 0); });
  by_rows("max", "rows, along the last axis", [](const X& x) { return max(x, -1); });
  by_rows("max", "again, rows", gradient_of([](const X& x) { return max(x, -1); }));
  by_elements("min", [](const X& x) { return min(x); });
  by_rows("min", "rows", [](const X& x) { return min(x, 0); });
  by_elements("cumsum", [](const X& x) { return cumsum(x, -1); });
  by_elements("softmax", [](const X& x) { return softmax(x); });
  by_elements("log_softmax", [](const X& x) { return log_softmax(x); });
  by_elements("logsumexp", [](const X& x) { return logsumexp(x, -1); });
  by_rows("softmax", "rows", [](const X& x) { return softmax(x); });
  by_rows("reshape", "rows", [](const X& x) { return reshape(x, {-1, 4}); });
  by_rows("transpose", "rows", [](const X& x) { return transpose(x); });
  by_elements("broadcast_to", [](const X& x) { return broadcast_to(x, {3, x.size()}); });
  by_elements("astype", [](const X& x) { return astype<double>(astype<float>(x)); });
  by_rows("matmul", "rows", [](const X& x) { return matmul(x, matrix(8, 3)); });
  by_rows("slice", "rows", [](const X& x) { return slice(x, 0, 1, -1); });
  by_rows("slice", "source, one row of it", [](const X& x) { return slice(x, 0, 3, 4); });
  const auto slices = [](std::int64_t n) -> Function {
    return [n](const X& x) {
      X total = slice(x, 0, 0, 1);
      for (std::int64_t i = 1; i < n; ++i) total = total + slice(x, 0, i, i + 1);
      return total;
    };
  };
  add(
      "slice", "slices of one source", rows, [](std::int64_t n) { return matrix(n, 8); }, slices);
  add(
      "put_parts", "slices of one source", rows, [](std::int64_t n) { return matrix(n, 8); },
      [slices](std::int64_t n) { return gradient_of(slices(n)); });
  by_rows("put", "of a slice, rows", gradient_of([](const X& x) { return slice(x, 0, 1, -1); }));
  by_rows("take", "source, five rows of it", [](const X& x) { return take(x, {0, 5, 2, 5, 1}, 0); });
  add(
      "take", "indices", elements, [](std::int64_t) { return matrix(rows, 8); },
      [](std::int64_t n) -> Function {
        return [indices = scattered(n, rows)](const X& x) { return take(x, indices, 0); };
      });
  const auto takes = [](std::int64_t n) -> Function {
    return [n](const X& x) {
      X total = take(x, {0}, 0);
      for (std::int64_t i = 1; i < n; ++i) total = total + take(x, Tensor<std::int64_t>{i}, 0);
      return total;
    };
  };
  const auto takes_along = [](std::int64_t n) -> Function {
    return [n](const X& x) {
      X total = take_along(x, Tensor<std::int64_t>{0});
      for (std::int64_t i = 1; i < n; ++i) total = total + take_along(x, Tensor<std::int64_t>{i});
      return total;
    };
  };
  const auto rows_of_eight = [](std::int64_t n) { return matrix(n, 8); };
  add("take", "takes of one source", rows, rows_of_eight, takes);
  add("put_parts", "takes of one source", rows, rows_of_eight,
      [takes](std::int64_t n) { return gradient_of(takes(n)); });
  add("take_along", "takes of one source", elements, vector, takes_along);
  add("put_parts", "takes along one source", elements, vector,
      [takes_along](std::int64_t n) { return gradient_of(takes_along(n)); });
  const auto elements_of = [](std::int64_t n) -> Function {
    return [n](const X& x) {
      X total = x[0] * x[1];
      for (std::int64_t i = 1; i + 1 < n; ++i) total = total + x[i] * x[i + 1];
      return total;
    };
  };
  add("x[i]", "elements, each chosen", elements, vector, elements_of);
  add("put_parts", "elements, each chosen", elements, vector,
      [elements_of](std::int64_t n) { return gradient_of(elements_of(n)); });
  by_rows("put", "of takes, rows", gradient_of([](const X& x) { return take(x, {0, 5, 2, 5, 1}, 0); }));
  add(
      "take_along", "rows", rows, [](std::int64_t n) { return matrix(n, 8); },
      [](std::int64_t n) -> Function {
        return [indices = reshape(scattered(n * 3, 8), {n, 3})](const X& x) { return take_along(x, indices); };
      });
  add(
      "put", "of takes along, rows", rows, [](std::int64_t n) { return matrix(n, 8); },
      [](std::int64_t n) {
        return gradient_of(
            [indices = reshape(scattered(n * 3, 8), {n, 3})](const X& x) { return take_along(x, indices); });
      });
  by_elements("sort", [](const X& x) { return sort(sin(1e4 * x)); });
  const auto pieces = [](std::int64_t n) -> Function {
    return [n](const X& x) {
      std::vector<X> of(static_cast<std::size_t>(n), x);
      return concatenate(of, 0);
    };
  };
  add(
      "concatenate", "parts", parts, [](std::int64_t) { return vector(8); }, pieces);
  add(
      "concatenate", "parts, again", parts, [](std::int64_t) { return vector(8); },
      [pieces](std::int64_t n) { return gradient_of(pieces(n)); });
  by_rows("concatenate", "elements of a part", [](const X& x) { return concatenate({x, ones({1, 8}), x}, 0); });
  const auto swish = elementwise([](auto x) { return x / (1 + exp(-x)); }, "swish");
  by_elements("elementwise", [swish](const X& x) { return swish(x); });
  return all;
}

void measure(const Case& c, std::int64_t size) {
  const X x = c.argument(size);
  const Function f = c.function(size);
  const auto [y, unused] = vjp(f, x);
  const X v = ones(y.shape());
  const std::pair<const char*, std::function<void()>> ways[] = {
      {"value", [&] { f(x); }},
      {"gradient", [&] { vjp(f, x).second(v); }},
      {"jvp", [&] { jvp(f, x, x); }},
  };
  for (const auto& [way, run] : ways) {
    run();  // so that pools are full
    CALLGRIND_ZERO_STATS;
    run();
    const std::string name = c.primitive + "|" + c.what + "|" + way + "|" + std::to_string(size);
    CALLGRIND_DUMP_STATS_AT(name.c_str());
  }
}

}  // namespace

int main() {
  std::set<std::string> missing;
  for (const detail::Primitive* primitive : detail::primitives()) missing.insert(primitive->name);
  for (const Case& c : cases()) {
    missing.erase(c.primitive);
    for (std::int64_t times : {1, 16, 256}) measure(c, times * c.smallest);
  }
  for (const std::string& name : missing) std::printf("the primitive %s has no case\n", name.c_str());
  return missing.empty() ? 0 : 1;
}
