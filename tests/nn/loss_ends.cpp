// Losses and softmax at their ends: answers that are confident, right or wrong, and infinite logits.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <tapegrad/autodiff.hpp>
#include <tapegrad/nn.hpp>
#include <vector>

#include "../close.hpp"

namespace {

using namespace tapegrad;
using nn::OutputDelta;

template <class T>
constexpr T inf = std::numeric_limits<T>::infinity();
template <class T>
constexpr T not_a_number = std::numeric_limits<T>::quiet_NaN();
constexpr std::array ways{OutputDelta::closed_form, OutputDelta::vjp, OutputDelta::jacobian};
constexpr std::array exact_ways{OutputDelta::closed_form, OutputDelta::vjp};

/// Within a few units in the last place; results below the smallest normal number may be 0.
template <class T>
bool close(T a, double b, double ulps = 16) {
  const double tolerance = ulps * static_cast<double>(std::numeric_limits<T>::epsilon());
  const double tiny = 2 * static_cast<double>(std::numeric_limits<T>::min());
  return std::abs(static_cast<double>(a) - b) <= tolerance * std::abs(b) + tiny;
}
template <class T>
bool all_close(const Tensor<T>& a, const std::vector<double>& b, double ulps = 16) {
  bool all = a.size() == static_cast<std::int64_t>(b.size());
  for (std::size_t i = 0; all && i < b.size(); ++i) all = close(a.data()[i], b[i], ulps);
  return all;
}
template <class T>
Tensor<T> one(double value) {
  return full<T>({1, 1}, static_cast<T>(value));
}
template <class T>
bool all_nan(const Tensor<T>& x) {
  bool all = true;
  for (T value : x.elements_view()) all &= std::isnan(value);
  return all;
}
template <class T>
bool equal(const Tensor<T>& a, const Tensor<T>& b) {
  return allclose(where(a == inf<T>, 1e30, where(a == -inf<T>, -1e30, a)),
                  where(b == inf<T>, 1e30, where(b == -inf<T>, -1e30, b)), 0, 0);
}

template <class T>
Tensor<T> gradient(const nn::Loss& loss, const Tensor<T>& a, const Tensor<T>& y) {
  return grad([&](const Tensor<T>& at) { return sum(loss(at, y)); })(a);
}
template <class T>
Tensor<T> gradient(const nn::Loss& loss, const Tensor<T>& a, const Tensor<std::int64_t>& labels) {
  return grad([&](const Tensor<T>& at) { return sum(loss(at, labels)); })(a);
}

// log(1 + e^z) and 1 / (1 + e^-z), by mpmath with 60 digits; 0 below 1e-320.
struct Logistic {
  double z, softplus, sigmoid;
};
constexpr Logistic logistic[] = {
    {-10000, 0, 0},
    {-800, 0, 0},
    {-110, 1.6889118802245323e-48, 1.6889118802245323e-48},
    {-90, 8.1940126239905154e-40, 8.1940126239905154e-40},
    {-40, 4.248354255291589e-18, 4.248354255291589e-18},
    {-17, 4.1399376330897474e-8, 4.1399375473943306e-8},
    {-15, 3.0590227371372049e-7, 3.0590222692562473e-7},
    {-0.125, 0.63259903531716907, 0.46879062662624374},
    {0.125, 0.75759903531716907, 0.53120937337375626},
    {15, 15.000000305902274, 0.99999969409777307},
    {17, 17.000000041399376, 0.99999995860062453},
    {40, 40.0, 1.0},
    {90, 90.0, 1.0},
    {110, 110.0, 1.0},
    {800, 800.0, 1.0},
    {10000, 10000.0, 1.0},
};

// The same for the row (z, 0, -1): -log_softmax, p = softmax, and 1 - p.
struct Row {
  double z;
  std::array<double, 3> loss, p, rest;
};
constexpr Row softmax_rows[] = {
    {-10000,
     {10000.313261687518, 0.31326168751822283, 1.3132616875182228},
     {0, 0.73105857863000488, 0.26894142136999512},
     {1.0, 0.26894142136999512, 0.73105857863000488}},
    {-800,
     {800.31326168751822, 0.31326168751822283, 1.3132616875182228},
     {0, 0.73105857863000488, 0.26894142136999512},
     {1.0, 0.26894142136999512, 0.73105857863000488}},
    {-110,
     {110.31326168751822, 0.31326168751822283, 1.3132616875182228},
     {1.2346935185882757e-48, 0.73105857863000488, 0.26894142136999512},
     {1.0, 0.26894142136999512, 0.73105857863000488}},
    {-90,
     {90.313261687518223, 0.31326168751822283, 1.3132616875182228},
     {5.9903032221708228e-40, 0.73105857863000488, 0.26894142136999512},
     {1.0, 0.26894142136999512, 0.73105857863000488}},
    {-40,
     {40.313261687518223, 0.31326168751822284, 1.3132616875182228},
     {3.1057958233902019e-18, 0.73105857863000488, 0.26894142136999512},
     {1.0, 0.26894142136999512, 0.73105857863000488}},
    {-17,
     {17.313261717783592, 0.31326171778359222, 1.3132617177835922},
     {3.0265368927125704e-8, 0.73105855650424729, 0.26894141323038378},
     {0.99999996973463107, 0.26894144349575271, 0.73105858676961622}},
    {-15,
     {15.313261911150713, 0.31326191115071345, 1.3132619111507135},
     {2.236324656141941e-7, 0.73105841514157243, 0.26894136122596195},
     {0.99999977636753439, 0.26894158485842757, 0.73105863877403805}},
    {-0.125,
     {0.93609746612085604, 0.81109746612085604, 1.811097466120856},
     {0.39215525217957343, 0.4443701173693148, 0.16347463045111176},
     {0.60784474782042657, 0.5556298826306852, 0.83652536954888824}},
    {0.125,
     {0.791701805067299, 0.916701805067299, 1.916701805067299},
     {0.45307309673647055, 0.39983560451434602, 0.14709129874918343},
     {0.54692690326352945, 0.60016439548565398, 0.85290870125081657}},
    {15,
     {4.1843740767614062e-7, 15.000000418437408, 16.000000418437408},
     {0.99999958156267987, 3.0590219250087858e-7, 1.1253512763034218e-7},
     {4.1843732013122076e-7, 0.9999996940978075, 0.99999988746487237}},
    {17,
     {5.6629355329122322e-8, 17.000000056629355, 18.000000056629355},
     {0.99999994337064627, 4.1399374843431692e-8, 1.5229978882248718e-8},
     {5.662935372568041e-8, 0.99999995860062516, 0.99999998477002112}},
    {40,
     {5.8112364446265777e-18, 40.0, 41.0},
     {0.99999999999999999, 4.248354255291589e-18, 1.5628821893349888e-18},
     {5.8112364446265777e-18, 1.0, 1.0}},
    {90,
     {1.120842140905589e-39, 90.0, 91.0},
     {1.0, 8.1940126239905154e-40, 3.0144087850653746e-40},
     {1.120842140905589e-39, 1.0, 1.0}},
    {110,
     {2.3102278389093432e-48, 110.0, 111.0},
     {1.0, 1.6889118802245323e-48, 6.2131595868481088e-49},
     {2.3102278389093432e-48, 1.0, 1.0}},
    {800, {0, 800.0, 801.0}, {1.0, 0, 0}, {0, 1.0, 1.0}},
    {10000, {0, 10000.0, 10001.0}, {1.0, 0, 0}, {0, 1.0, 1.0}},
};

}  // namespace

TEST_SUITE("losses at their ends") {
  TEST_CASE_TEMPLATE("binary cross-entropy from logits keeps its digits on both sides", T, float, double) {
    for (const Logistic& at : logistic) {
      CAPTURE(at.z);
      const Tensor<T> z = one<T>(at.z);
      const Logistic& mirror = logistic[std::size(logistic) - 1 - static_cast<std::size_t>(&at - logistic)];
      for (double y : {0.0, 1.0, 0.0625, 0.9375}) {
        CAPTURE(y);
        const Tensor<T> target = one<T>(y);
        const double loss = (1 - y) * at.softplus + y * mirror.softplus;
        const double slope = y == 0 || y == 1 ? (1 - y) * at.sigmoid - y * mirror.sigmoid : at.sigmoid - y;
        CHECK(all_close(nn::binary_crossentropy_from_logits(z, target), {loss}));
        CHECK(all_close(gradient(nn::binary_crossentropy_from_logits, z, target), {slope}));
        for (const auto& [f, c] :
             {std::pair("linear", "binary_crossentropy_from_logits"), std::pair("sigmoid", "binary_crossentropy")}) {
          for (OutputDelta way : exact_ways) CHECK(all_close(nn::output_delta(f, c, z, target, way), {slope}));
          for (OutputDelta way : ways) {
            CAPTURE(to_string(way));
            CHECK(all_close(nn::detail::output_head<T>({f}, {c}, z, target, way, 1).loss, {loss}));
          }
          const Tensor<T> closed = nn::output_delta(f, c, z, target, OutputDelta::closed_form);
          CHECK(allclose(closed, nn::output_delta(f, c, z, target, OutputDelta::vjp),
                         2 * static_cast<double>(std::numeric_limits<T>::epsilon()), 0));
        }
      }
    }
    // sigmoid(z) (1 - sigmoid(z)), which is even.
    auto curvature = [](double z) {
      return hessian([](const Tensor<T>& at) { return sum(nn::binary_crossentropy_from_logits(at, Tensor<T>{1})); })(
                 Tensor<T>{T(z)})
          .item();
    };
    for (double z : {0.125, 15.0, 17.0, 40.0}) CHECK(curvature(z) == curvature(-z));
    CHECK(close(curvature(17), 4.1399375473943306e-8 * 0.99999995860062453));
    CHECK(close(curvature(0), 0.25));
  }

  TEST_CASE_TEMPLATE("binary cross-entropy of infinite logits", T, float, double) {
    const Tensor<T> z{inf<T>, -inf<T>, inf<T>, -inf<T>}, y{1, 0, 0, 1};
    auto column = [](const Tensor<T>& x) { return reshape(x, {-1, 1}); };
    CHECK(equal(nn::binary_crossentropy_from_logits(column(z), column(y)), Tensor<T>{0, 0, inf<T>, inf<T>}));
    CHECK(equal(gradient(nn::binary_crossentropy_from_logits, column(z), column(y)), column(Tensor<T>{0, 0, 1, -1})));
    for (OutputDelta way : exact_ways) {
      CHECK(equal(nn::output_delta("sigmoid", "binary_crossentropy", column(z), column(y), way),
                  column(Tensor<T>{0, 0, 1, -1})));
    }
    CHECK(all_nan(nn::binary_crossentropy_from_logits(one<T>(not_a_number<T>), one<T>(1))));
  }

  TEST_CASE("binary cross-entropy of a probability near 0, both ways round") {
    for (double p : {1e-300, 1e-20, 1e-9, 0.25}) {
      CHECK(all_close(nn::binary_crossentropy(one<double>(p), one<double>(0.0)), {-std::log1p(-p)}));
      CHECK(all_close(gradient(nn::binary_crossentropy, one<double>(p), one<double>(0.0)), {1 / (1 - p)}));
      CHECK(all_close(nn::binary_crossentropy(one<double>(p), one<double>(1.0)), {-std::log(p)}));
    }
    CHECK(all_close(nn::binary_crossentropy(one<float>(1e-12F), one<float>(0)), {static_cast<double>(1e-12F)}));
  }

  TEST_CASE_TEMPLATE("softmax, its logarithm and categorical cross-entropy keep their digits", T, float, double) {
    for (const Row& at : softmax_rows) {
      CAPTURE(at.z);
      const Tensor<T> z{{T(at.z), 0, -1}};
      CHECK(all_close(softmax(z), {at.p[0], at.p[1], at.p[2]}));
      CHECK(all_close(log_softmax(z), {-at.loss[0], -at.loss[1], -at.loss[2]}));
      CHECK(all_close(logsumexp(z - z(0, 0), -1), {at.loss[0]}, 2e3));  // z - z_0 is rounded
      const auto J =
          jacobian([](const Tensor<T>& x) { return log_softmax(x); }, {.sweep = Sweep::reverse})(reshape(z, {3}));
      const auto forward =
          jacobian([](const Tensor<T>& x) { return log_softmax(x); }, {.sweep = Sweep::forward})(reshape(z, {3}));
      for (std::int64_t k = 0; k < 3; ++k) {
        CAPTURE(k);
        const auto own = static_cast<std::size_t>(k);
        const Tensor<std::int64_t> label{k};
        const Tensor<T> y = one_hot<T>(label, 3);
        std::vector<double> slope{at.p[0], at.p[1], at.p[2]};
        slope[own] = -at.rest[own];
        const std::vector<double> loss{at.loss[own]};
        CHECK(all_close(nn::categorical_crossentropy_from_logits(z, y), loss));
        CHECK(all_close(nn::sparse_categorical_crossentropy_from_logits(z, label), loss));
        CHECK(all_close(gradient(nn::categorical_crossentropy_from_logits, z, y), slope));
        CHECK(all_close(gradient(nn::sparse_categorical_crossentropy_from_logits, z, label), slope));
        CHECK(all_close(reshape(slice(-J.dense(), 0, k, k + 1), {3}), slope));
        CHECK(all_close(reshape(slice(-forward.dense(), 0, k, k + 1), {3}), slope));
        auto check = [&](const char* f, const char* c, const auto& target) {
          CAPTURE(f);
          CAPTURE(c);
          for (OutputDelta way : exact_ways) CHECK(all_close(nn::output_delta(f, c, z, target, way), slope));
          CHECK(allclose(nn::output_delta(f, c, z, target, OutputDelta::vjp),
                         nn::output_delta(f, c, z, target, OutputDelta::closed_form),
                         4 * static_cast<double>(std::numeric_limits<T>::epsilon()), 0));
          for (OutputDelta way : ways) {
            CAPTURE(to_string(way));
            CHECK(all_close(nn::detail::output_head<T>({f}, {c}, z, target, way, 1).loss, loss));
          }
          CHECK(all_close(nn::detail::output_loss<T>({f}, {c}, z, target).loss, loss));
        };
        check("softmax", "categorical_crossentropy", y);
        check("softmax", "kl_divergence", y);
        check("linear", "categorical_crossentropy_from_logits", y);
        check("softmax", "sparse_categorical_crossentropy", label);
        check("linear", "sparse_categorical_crossentropy_from_logits", label);
        // Through the softmax itself, where its probability does not underflow.
        if (at.p[own] > 1e-30) {
          const auto by_hand = [&](const Tensor<T>& x) { return -sum(log(slice(softmax(x), 1, k, k + 1))); };
          CHECK(all_close(grad(by_hand)(z), slope));
        }
      }
      // p_i (1 - p_i) on the diagonal of the Hessian, by both nestings.
      const auto H = hessian([](const Tensor<T>& x) {
        return -sum(log_softmax(x) * Tensor<T>{1, 0, 0});
      })(reshape(z, {3}));
      for (std::int64_t k = 0; k < 3; ++k) {
        const auto i = static_cast<std::size_t>(k);
        CHECK(close(H(k, k), at.p[i] * at.rest[i]));
      }
    }
  }

  TEST_CASE_TEMPLATE("a class of logit -inf and target 0 counts nothing", T, float, double) {
    const Tensor<T> z{{1, -inf<T>, 2, -inf<T>}}, y{{T(0.25), 0, T(0.75), 0}};
    const Tensor<T> z2{{1, 2}}, y2{{T(0.25), T(0.75)}};
    const Tensor<std::int64_t> label{2}, label2{1};
    auto spread = [](const Tensor<T>& g) { return std::vector<double>{g(0, 0), 0, g(0, 1), 0}; };
    auto check = [&](const char* f, const char* c, const auto& target, const auto& target2) {
      CAPTURE(f);
      CAPTURE(c);
      const nn::detail::OutputHead<T> few = nn::detail::output_head<T>({f}, {c}, z2, target2, OutputDelta::vjp, 1);
      for (OutputDelta way : ways) {
        CAPTURE(to_string(way));
        const auto head = nn::detail::output_head<T>({f}, {c}, z, target, way, 1);
        CHECK(all_close(head.loss, {static_cast<double>(few.loss(0))}));
        if (way != OutputDelta::jacobian) CHECK(all_close(head.delta, spread(few.delta)));
      }
    };
    check("softmax", "categorical_crossentropy", y, y2);
    check("linear", "categorical_crossentropy_from_logits", y, y2);
    check("softmax", "kl_divergence", y, y2);
    check("softmax", "sparse_categorical_crossentropy", label, label2);
    check("linear", "sparse_categorical_crossentropy_from_logits", label, label2);
    CHECK(equal(gradient("categorical_crossentropy_from_logits", z, one_hot<T>(label, 4)),
                gradient("sparse_categorical_crossentropy_from_logits", z, label)));
    // A target there makes the loss infinite, and only then.
    CHECK(nn::categorical_crossentropy_from_logits(z, Tensor<T>{{1, T(0.5), 0, 0}})(0) == inf<T>);
    CHECK(nn::sparse_categorical_crossentropy_from_logits(z, Tensor<std::int64_t>{1})(0) == inf<T>);
    // A rate of 0 where nothing is counted, and a score that is out of the question.
    const Tensor<T> rate{{-inf<T>, 0}}, counts{{0, 1}};
    for (OutputDelta way : exact_ways) {
      const auto head = nn::detail::output_head<T>({"exponential"}, {"poisson"}, rate, counts, way, 1);
      CHECK(equal(head.loss, Tensor<T>{T(0.5)}));
      CHECK(equal(head.delta, Tensor<T>{{0, 0}}));
    }
    CHECK(nn::categorical_hinge(z, Tensor<T>{{0, 0, 1, 0}})(0) == 0);
    CHECK(equal(gradient(nn::categorical_hinge, z, Tensor<T>{{1, 0, 0, 0}}), Tensor<T>{{-1, 0, 1, 0}}));
  }

  TEST_CASE_TEMPLATE("softmax and its relatives of rows with -inf, with nothing else, with +inf and NaN", T, float,
                     double) {
    for (std::int64_t n : {1, 2, 3, 8, 10, 33, 70}) {
      CAPTURE(n);
      const Tensor<T> nothing = full<T>({n}, -inf<T>), zero = zeros<T>({n}),
                      v = arange<T>(static_cast<double>(n)) + 1.0;
      CHECK(equal(softmax(nothing), zero));
      CHECK(equal(log_softmax(nothing), nothing));
      CHECK(logsumexp(nothing, -1).item() == -inf<T>);
      CHECK(equal(vjp([](const Tensor<T>& x) { return softmax(x); }, nothing).second(v), zero));
      CHECK(equal(vjp([](const Tensor<T>& x) { return log_softmax(x); }, nothing).second(v), v));
      CHECK(equal(grad([](const Tensor<T>& x) { return logsumexp(x, -1); })(nothing), zero));
      CHECK(jvp([](const Tensor<T>& x) { return logsumexp(x, -1); }, nothing, v).second.item() == 0);
      CHECK(equal(hessian([](const Tensor<T>& x) { return logsumexp(x, -1); })(nothing), zeros<T>({n, n})));

      // Between 1s, -inf changes nothing; it has slope 0.
      Tensor<T> some = ones<T>({n}), expected = zero;
      std::int64_t count = 0;
      for (std::int64_t i = 0; i < n; ++i) {
        if (i % 3 == 1) some.mutable_data()[i] = -inf<T>;
        count += i % 3 != 1;
      }
      for (std::int64_t i = 0; i < n; ++i) {
        if (i % 3 != 1) expected.mutable_data()[i] = T(1) / static_cast<T>(count);
      }
      CHECK(allclose(softmax(some), expected, 16 * eps<T>, 0));
      CHECK(all_close(logsumexp(some, -1), {1 + std::log(static_cast<double>(count))}));
      CHECK(allclose(grad([](const Tensor<T>& x) { return logsumexp(x, -1); })(some), expected, 16 * eps<T>, 0));
      CHECK(allclose(grad([](const Tensor<T>& x) { return log_softmax(x)[0] * 0 + sum(logsumexp(x, -1)); })(some),
                     expected, 16 * eps<T>, 0));

      for (T bad : {not_a_number<T>, inf<T>}) {
        Tensor<T> x = zero;
        x.mutable_data()[n / 2] = bad;
        CHECK(all_nan(softmax(x)));
        CHECK(all_nan(log_softmax(x)));
        // Such a row is not used.
        CHECK(equal(vjp([](const Tensor<T>& z) { return softmax(z); }, x).second(zero), zero));
        CHECK(equal(vjp([](const Tensor<T>& z) { return log_softmax(z); }, x).second(zero), zero));
        CHECK(equal(vjp([](const Tensor<T>& z) { return logsumexp(z, -1); }, x).second(Tensor<T>(T{0})), zero));
        CHECK(equal(jvp([](const Tensor<T>& z) { return softmax(z); }, x, zero).second, zero));
        CHECK(equal(jvp([](const Tensor<T>& z) { return log_softmax(z); }, x, zero).second, zero));
      }
      Tensor<T> x = zero;
      x.mutable_data()[n / 2] = inf<T>;
      CHECK(logsumexp(x, -1).item() == inf<T>);
      // An infinite cotangent of a probability of exactly 0.
      if (n > 1) {
        Tensor<T> far = zero, g = ones<T>({n});
        far.mutable_data()[n - 1] = T(-1e4);
        g.mutable_data()[n - 1] = -inf<T>;
        const Tensor<T> product = vjp([](const Tensor<T>& z) { return softmax(z); }, far).second(g);
        CHECK(allclose(product, zero, 0, 4 * eps<T>));
      }
    }
  }

  TEST_CASE_TEMPLATE("a model reports one loss whatever the way of delta", T, float, double) {
    for (const Row& at : softmax_rows) {
      CAPTURE(at.z);
      for (std::int64_t k : {0, 1}) {
        std::vector<double> losses;
        for (OutputDelta way : ways) {
          nn::Sequential<T> model({nn::Dense{3, "softmax"}});
          model.build({3});
          model.set_parameters({eye<T>(3), zeros<T>({3})});
          model.compile({.optimizer = nn::SGD{.learning_rate = 0},
                         .loss = "sparse_categorical_crossentropy",
                         .output_delta = way});
          const Tensor<T> x{{T(at.z), 0, -1}};
          losses.push_back(model.evaluate(x, Tensor<std::int64_t>{k})["loss"]);
          losses.push_back(model.train_on_batch(x, Tensor<std::int64_t>{k})["loss"]);
        }
        for (double loss : losses) {
          CHECK(close(static_cast<T>(loss), at.loss[static_cast<std::size_t>(k)]));
          CHECK(loss == losses[0]);
        }
      }
    }
  }
}
