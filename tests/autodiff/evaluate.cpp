// A record can be computed again from its operands and attributes, and an observer at the door sees what happens.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/autodiff/ops/registry.hpp>

#include "random_program.hpp"

namespace {

using namespace tapegrad;
using namespace random_programs;
using X = Tensor<>;

// Whether record i of the recording gets the same bits when it is computed again.
bool same_again(const detail::Segment& s, std::uint32_t i) {
  using namespace detail;
  const Call call(s, i);
  const Array& value = call.output_array();
  const auto evaluate = call.primitive().evaluate;
  const std::size_t bytes = static_cast<std::size_t>(value.shape.count()) * size_of(value.dtype);
  if (!evaluate) return std::memcmp(call.operand_array(0).data, value.data, bytes) == 0;
  std::vector<const Array*> operands;
  for (std::size_t k = 0; k < call.operand_count(); ++k) operands.push_back(&call.operand_array(k));
  const Handle again(allocate(value.dtype, value.shape));
  std::memset(again.array()->data, 0x55, bytes);
  tapegrad::detail::Array* const results[] = {again.array()};
  evaluate(call.attributes(), operands, {results, 1});
  return std::memcmp(again.array()->data, value.data, bytes) == 0;
}

template <Real T>
void evaluate_again(std::uint64_t seed, std::map<std::string, int>& seen) {
  const Program<T> program = Builder<T>(seed, 0).build();
  detail::Scope scope;
  const Tensor<T> x(scope.trace(program.x.handle()));
  const std::vector<Tensor<T>> values = run(program, x);
  const detail::Recording recording = scope.close();
  const detail::Segment& s = recording.segment();
  for (std::uint32_t i = s.begin + s.inputs; i < s.end; ++i) {
    const std::string name = detail::Call(s, i).primitive().name;
    ++seen[name];
    CHECK_MESSAGE(same_again(s, i), name << " of the program of seed " << seed << " is another when evaluated again");
  }
}

// What the products of each primitive were seen to need, and what they say that they read.
struct ReadsSeen {
  std::map<std::string, unsigned> needed, said;
};
constexpr unsigned output_bit = 1U << 31;

// The products of record i again, each array that they do not read overwritten with NaN, and then each that they do.
template <Real T>
void overwrite_operands(const detail::Segment& s, std::uint32_t i, random::Generator& rng, ReadsSeen& seen) {
  using namespace detail;
  const Call call(s, i);
  const Primitive& p = call.primitive();
  if (!p.reads || call.output_array().dtype != dtype_of<T>) return;
  // They look for the output among the operand's elements, where it must be.
  const bool looks_for_output = p.name == std::string("max") || p.name == std::string("min");
  const Handle v = rng.normal<T>(call.output_shape(), 0, 1).handle();
  for (std::size_t k = 0; k < call.operand_count(); ++k) {
    if (!call.leads_to_input(k)) continue;
    const Reads reads = p.reads(call.attributes(), k);
    const auto is_read = [&](std::size_t j) {
      return j == call.operand_count() ? reads.output : reads.operands >> j & 1;
    };
    const auto array = [&](std::size_t j) -> const Array& {
      return j == call.operand_count() ? call.output_array() : call.operand_array(j);
    };
    const Tensor<T> before(p.pullback(call, k, v));
    const std::string name = std::string(p.name) + " by operand " + std::to_string(k);
    for (std::size_t j = 0; j <= call.operand_count(); ++j) {
      const Array& a = array(j);
      if (a.dtype != dtype_of<T> || a.shape.count() == 0) continue;
      bool shared = false;  // with an array that the product reads
      for (std::size_t l = 0; l <= call.operand_count(); ++l) shared |= l != j && array(l).data == a.data;
      if (shared) continue;
      const unsigned bit = j == call.operand_count() ? output_bit : 1U << j;
      if (is_read(j)) seen.said[name] |= bit;
      if (is_read(j) && looks_for_output) {
        seen.needed[name] |= bit;
        continue;
      }
      const std::vector<T> kept(a.as<T>(), a.as<T>() + a.shape.count());
      std::fill_n(a.as<T>(), kept.size(), std::numeric_limits<T>::quiet_NaN());
      const Tensor<T> after(p.pullback(call, k, v));
      std::copy(kept.begin(), kept.end(), a.as<T>());
      const bool same =
          after.shape() == before.shape() &&
          std::memcmp(after.data(), before.data(), static_cast<std::size_t>(after.size()) * sizeof(T)) == 0;
      if (!same) seen.needed[name] |= bit;
    }
  }
}

TEST_SUITE("evaluate") {
  TEST_CASE("products read what their primitives say, and no more") {
    ReadsSeen seen;
    random::Generator rng(7);
    for (std::uint64_t seed = 1; seed <= 600; ++seed) {
      const Program<double> program = Builder<double>(seed, 0).build();
      detail::Scope scope;
      const X x(scope.trace(program.x.handle()));
      const std::vector<X> values = run(program, x);
      const detail::Recording recording = scope.close();
      const detail::Segment& s = recording.segment();
      for (std::uint32_t i = s.begin + s.inputs; i < s.end; ++i) overwrite_operands<double>(s, i, rng, seen);
    }
    CHECK(seen.said.size() > 40);
    for (const auto& needed : seen.needed)
      CHECK_MESSAGE((needed.second & ~seen.said[needed.first]) == 0U, needed.first);
    for (const auto& said : seen.said) CHECK_MESSAGE((said.second & ~seen.needed[said.first]) == 0U, said.first);
  }

  TEST_CASE("every record of random programs has the same bits again") {
    std::map<std::string, int> seen;
    for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
      seed % 5 == 0 ? evaluate_again<float>(seed, seen) : evaluate_again<double>(seed, seen);
    }
    CHECK(seen.size() > 60);
    for (const char* name :
         {"matmul", "sum", "prod", "max", "cumsum", "where", "slice", "take", "take_along", "concatenate", "transpose",
          "softmax", "log_softmax", "logsumexp", "tanh", "elementwise"}) {
      CHECK_MESSAGE(seen[name] > 0, std::string(name) << " was never recorded");
    }
  }

  TEST_CASE("a tape in words") {
    const auto f = [](const X& w, const X& x) {
      const X y = tanh(x * w);
      return sum(where(y > 0, y, slice(y, 0, 1, 2)));
    };
    const Dump made = dump(f)(X{1, 2, 3}, ones({2, 3}));
    std::ostringstream text;
    text << made;
    CHECK(made.records.size() == 6);
    CHECK(made.records[0].operation == "argument");
    CHECK(made.records[1].operation == "multiply");
    CHECK(made.records[1].operands == std::vector<std::string>{"constant (2, 3)", "%0"});
    CHECK(made.records[3].attributes == "axis -2, from 1");
    CHECK(made.records[4].operands == std::vector<std::string>{"bool (2, 3)", "%2", "%3"});
    CHECK(made.records[5].attributes == "axes -2 to -1");
    CHECK(made.records[5].where.starts_with("evaluate.cpp:"));
    CHECK(made.result == "%5");
    CHECK(text.str().find("sum %4 [axes -2 to -1]") != std::string::npos);
    CHECK(made.graphviz().find("r0 -> r1;") != std::string::npos);
    CHECK(dump<0, 1>(f)(X{1, 2, 3}, ones({2, 3})).records[1].operation == "argument");
    CHECK(dump([](const X& x) { return stop_gradient(x); })(X{1, 2}).result == "constant (2)");
  }

  TEST_CASE("what the rules of a gradient record stands at the user's lines") {
    const auto f = [](const X& x) { return sum(square(softmax(x))); };
    const Dump made = dump(grad(f))(X{1, 2, 3});
    CHECK(made.records.size() > 8);
    for (const DumpedRecord& record : made.records) {
      const bool own_line = record.operation != "argument" && record.operation != "identity";
      if (own_line) CHECK_MESSAGE(record.where.starts_with("evaluate.cpp:"), record.operation);
    }
  }

  TEST_CASE("a scope that a rule opens has lines of its own") {
    std::string where;
    int line = 0;
    const auto f = custom<double>({.name = "own",
                                   .value = [](auto x) { return x[0] * 2; },
                                   .pullback =
                                       [&](std::size_t, auto& g, auto&, auto x) {
                                         line = __LINE__ + 1;
                                         where = dump([](const X& z) { return exp(z); })(x[0]).records[1].where;
                                         return g * 2;
                                       }});
    grad([&](const X& x) { return sum(grad([&](const X& z) { return sum(f(z) * z); })(x)); })(X{1, 2});
    CHECK(where == "evaluate.cpp:" + std::to_string(line));
    CHECK_THROWS_AS(dump([](const X&) { return X(); })(X{1, 2}), ValueError);
  }

  TEST_CASE("a profile has every operation by its line, its adjoint apart") {
    const X w = ones({30, 20}), x = ones({10, 30});
    const auto f = [&](const X& v) { return sum(softmax(matmul(x, v))); };
    const int line = __LINE__ - 1;
    const Profile p = profile([&] {
      for (int i = 0; i < 3; ++i) grad(f)(w);
    });
    std::map<std::string, ProfileRow> rows;
    double seconds = 0;
    for (const ProfileRow& row : p.rows) {
      rows[row.operation] = row;
      seconds += row.seconds;
    }
    const std::string at = " at evaluate.cpp:" + std::to_string(line);
    for (const std::string& name : {"matmul" + at, "matmul" + at + ", adjoint", "softmax" + at,
                                    "softmax" + at + ", adjoint", "sum" + at, "sum" + at + ", adjoint"}) {
      CAPTURE(name);
      CHECK(rows[name].calls == 3);
    }
    CHECK(rows["matmul" + at].bytes == 3 * 8 * (10 * 30 + 30 * 20 + 10 * 20));
    CHECK(seconds <= p.seconds);
    std::ostringstream text;
    text << p;
    CHECK(text.str().find("softmax" + at + ", adjoint") != std::string::npos);
    const Profile forward = profile([&] { jvp(f, w, w); });
    CHECK(std::ranges::count(forward.rows, "softmax" + at + ", tangent", &ProfileRow::operation) == 1);
  }

  TEST_CASE("what a Jacobian does stands at the line that asks for it") {
    const X z{0.5, -1, 2};
    const auto f = [](const X& v) { return exp(v) / sum(exp(v)); };
    const int inner = __LINE__ - 1;
    std::set<std::string> lines;
    const auto collect = [&](const Profile& p) {
      for (const ProfileRow& row : p.rows) lines.insert(row.operation.substr(row.operation.find(" at ")));
    };
    for (const Sweep sweep : {Sweep::automatic, Sweep::forward, Sweep::reverse}) {
      const auto J = jacobian(f, {.sweep = sweep})(z);
      // On one line, which is that of each of them.
      collect(profile([&] { J.dense(), J.apply(z), J.apply_transposed(z), J.diagonal(), (J * J).dense(); }));
      CHECK(lines.erase(" at evaluate.cpp:" + std::to_string(__LINE__ - 1)) == 1);
      lines.erase(" at evaluate.cpp:" + std::to_string(inner) + ", tangent");
      lines.erase(" at evaluate.cpp:" + std::to_string(inner) + ", adjoint");
      for (const std::string& line : lines) FAIL_CHECK(line);
      lines.clear();
      const auto outer = [&](const X& x) { return sum(square(jacobian(f, {.sweep = sweep})(x).dense())); };
      const int asked = __LINE__ - 1;
      for (const DumpedRecord& record : dump(outer)(z).records) {
        CAPTURE(record.operation);
        CAPTURE(record.where);
        const auto at = [](int line) { return "evaluate.cpp:" + std::to_string(line); };
        const bool argument = record.operation == "argument" || record.operation == "identity";
        CHECK((argument || record.where == at(inner) || record.where == at(asked)));
      }
    }
  }

  TEST_CASE("a profile changes no number, and an exception ends it") {
    const X x{0.5, -1, 2};
    const auto f = [](const X& z) { return sum(sigmoid(z) * z); };
    X g;
    profile([&] { g = grad(f)(x); });
    CHECK(allclose(g, grad(f)(x), 0, 0));
    CHECK_THROWS_AS(profile([&] { matmul(x, X{1, 2}); }), ShapeError);
    const X after = x + 1.0;  // nobody watches any more
    CHECK(after(0) == 1.5);
  }

  TEST_CASE("the memory that a gradient holds at most") {
    const X x = ones({1000, 100});
    const std::int64_t one = 1000 * 100 * 8;
    const auto bytes = [&](auto f) { return peak_memory([&] { grad(f)(x); }); };
    // exp(x) and its adjoint; the argument is the user's.
    const std::int64_t of_exp = bytes([](const X& z) { return sum(exp(z)); });
    CHECK(of_exp >= 2 * one);
    CHECK(of_exp < 3 * one);
    const std::int64_t of_chain = bytes([](const X& z) { return sum(exp(exp(exp(exp(z))))); });
    CHECK(of_chain >= of_exp + 3 * one);
    CHECK(of_chain < of_exp + 4 * one);
    CHECK(peak_memory([] {}) == 0);
  }

  TEST_CASE("observers may end in any order") {
    auto outer = std::make_unique<DebugNans>(), inner = std::make_unique<DebugNans>();
    outer.reset();
    CHECK_THROWS_AS(log(X{-1}), ValueError);
    inner.reset();
    CHECK(std::isnan(log(X{-1})(0)));
    std::unique_ptr<DebugNans> begun;
    profile([&] { begun = std::make_unique<DebugNans>(); });
    CHECK_THROWS_AS(log(X{-1}), ValueError);
    begun.reset();
    CHECK(std::isnan(log(X{-1})(0)));
  }

  TEST_CASE("observers nest: a profile of what debug_nans() watches") {
    const X x{-1, 2};
    const auto watch = debug_nans();
    CHECK_THROWS_AS(profile([&] { log(x); }), ValueError);
    Profile p;
    CHECK_THROWS_AS(profile([&] {
                      p = profile([&] { exp(x); });
                      log(x);
                    }),
                    ValueError);
    CHECK(p.rows.size() == 1);
  }
}

}  // namespace
