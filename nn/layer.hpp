#pragma once
// What a layer is: parameters and a function. Any struct with these two members, templates or not:
//
//     struct Scale {
//       template <class T>
//       nn::Params<T> init(const Shape& in, nn::Rng&) const {
//         return {{"gamma", ones<T>({in.back()})}};
//       }
//       template <class T>
//       Tensor<T> operator()(const nn::Params<T>& p, const Tensor<T>& x, nn::Mode) const {
//         return x * p.at("gamma");
//       }
//     };
//
// `in` is the shape of one example, x is (batch, in...). A layer without parameters may leave out init; one that is
// only a function of a tensor is that function: [](const auto& x) { return concatenate({x, square(x)}, -1); }.
// Outside training a layer treats each row of a batch by itself. It may have more members:
//
//     static constexpr const char* name = "Scale";                           // for summaries and errors
//     template <class T> nn::Params<T> state(const Shape& in) const;         // tensors that are kept, not trained;
//     template <class T> Tensor<T> operator()(const nn::Params<T>& p, nn::Params<T>& state, const Tensor<T>& x,
//                                             nn::Mode mode) const;          // then it is called with them,
//                                                                            // to write them in training only
//     template <class T> Tensor<T> penalty(const nn::Params<T>& p) const;    // a scalar, added to the loss

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "activations.hpp"
#include "initializers.hpp"
#include "named.hpp"

namespace tapegrad::nn {

/// What a layer is computed for.
struct Mode {
  bool training = false;
  /// Where a layer draws random numbers from in training; null in prediction, which is not random.
  Rng* rng = nullptr;
};

namespace detail {

template <class L, class T>
concept CalledWithState = requires(const L& layer, const Params<T>& p, Params<T>& state, const Tensor<T>& x) {
  layer(p, state, x, Mode{});
};
template <class L, class T>
concept CalledPlainly = requires(const L& layer, const Params<T>& p, const Tensor<T>& x) {
  layer(p, x, Mode{});
};
template <class F, class T>
concept FunctionOfTensor = gives < const F,
        Tensor<T>(const Tensor<T>&)
> ;

/// A function of a tensor as a layer: all of it is activation.
struct FunctionLayer {
  Activation activation;

  const std::string& name() const { return activation.name(); }
  template <class T>
  Tensor<T> operator()(const Params<T>&, const Tensor<T>& x, Mode) const {
    return activation(x);
  }
  template <class T>
  Tensor<T> logits(const Params<T>&, const Tensor<T>& x, Mode) const {
    return x;
  }
};

}  // namespace detail

/// Any layer, for one number type.
template <Real T>
class Layer {
 public:
  template <class L>
  requires(detail::CalledPlainly<L, T> || detail::CalledWithState<L, T>) Layer(L layer)
      : layer_(std::make_shared<const Holder<L>>(std::move(layer))) {}
  /// A function of a tensor, nn::Activation("relu") and elementwise() included. As the last layer, after a Dense that
  /// is linear, it is that layer's activation, closed form of delta and all.
  template <class F>
  requires(detail::FunctionOfTensor<F, T>) Layer(const F& f) : Layer(detail::FunctionLayer{activation_of(f)}) {}
  // Copied where it would be moved, so that none is ever empty.
  Layer(const Layer&) = default;
  Layer& operator=(const Layer&) = default;

  /// The name that its type gives itself, or that of the activation that it is; else "custom".
  std::string name() const { return layer_->name(); }
  Params<T> init(const Shape& in, Rng& rng) const { return layer_->init(in, rng); }
  /// What it keeps from step to step; mostly nothing.
  Params<T> state(const Shape& in) const { return layer_->state(in); }
  Tensor<T> operator()(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const {
    return layer_->call(p, state, x, mode);
  }
  /// The layer up to its activation, which is linear for a layer that does not name one.
  Tensor<T> logits(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const {
    return layer_->logits(p, state, x, mode);
  }
  const Activation& activation() const { return layer_->activation(); }
  /// What it adds to the loss, a scalar; nothing for most layers.
  std::optional<Tensor<T>> penalty(const Params<T>& p) const { return layer_->penalty(p); }

 private:
  struct Interface {
    virtual ~Interface() = default;
    virtual std::string name() const = 0;
    virtual Params<T> init(const Shape& in, Rng& rng) const = 0;
    virtual Params<T> state(const Shape& in) const = 0;
    virtual Tensor<T> call(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const = 0;
    virtual Tensor<T> logits(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const = 0;
    virtual const Activation& activation() const = 0;
    virtual std::optional<Tensor<T>> penalty(const Params<T>& p) const = 0;
  };

  template <class L>
  struct Holder final : Interface {
    explicit Holder(L l) : layer(std::move(l)) {}

    static constexpr bool splits = requires(const L& l, const Params<T>& p, const Tensor<T>& x) {
      l.logits(p, x, Mode{});
      Activation(l.activation);
    };

    std::string name() const override {
      if constexpr (requires { std::string(layer.name()); })
        return layer.name();
      else if constexpr (requires { std::string(layer.name); })
        return layer.name;
      else
        return "custom";
    }
    Params<T> init(const Shape& in, Rng& rng) const override {
      if constexpr (requires { layer.template init<T>(in, rng); })
        return layer.template init<T>(in, rng);
      else if constexpr (requires { layer.init(in, rng); })
        return layer.init(in, rng);
      else
        return {};
    }
    Params<T> state(const Shape& in) const override {
      if constexpr (requires { layer.template state<T>(in); })
        return layer.template state<T>(in);
      else if constexpr (requires { layer.state(in); })
        return layer.state(in);
      else
        return {};
    }
    Tensor<T> call(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const override {
      if constexpr (detail::CalledWithState<L, T>)
        return layer(p, state, x, mode);
      else
        return layer(p, x, mode);
    }
    Tensor<T> logits(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const override {
      if constexpr (splits)
        return layer.logits(p, x, mode);
      else
        return call(p, state, x, mode);
    }
    const Activation& activation() const override {
      if constexpr (splits) {
        return layer.activation;
      } else {
        static const Activation linear;
        return linear;
      }
    }
    std::optional<Tensor<T>> penalty(const Params<T>& p) const override {
      if constexpr (requires { std::optional<Tensor<T>>(layer.penalty(p)); })
        return layer.penalty(p);
      else
        return std::nullopt;
    }

    L layer;
  };

  /// A generic function is tried with T alone: it need not compile for the other number type.
  template <class F>
  static Activation activation_of(const F& f) {
    if constexpr (std::is_same_v<F, Activation>)
      return f;
    else
      return [f](const Tensor<T>& x) { return f(x); };
  }

  std::shared_ptr<const Interface> layer_;
};

}  // namespace tapegrad::nn
