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
//     template <class T> Tensor<T> logits(const nn::Params<T>& p, const Tensor<T>& x, nn::Mode mode) const;
//     nn::Activation activation;                                             // of the logits, as in nn::Dense
//     std::string description() const;                                       // in a model's file, beyond the name
//
// Members of these names that do not fit do not compile.

#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "activations.hpp"
#include "initializers.hpp"
#include "named.hpp"

namespace tapegrad::nn {

/// The mode in which a layer is computed.
struct Mode {
  bool training = false;
  /// The source of a layer's random numbers in training; null in prediction, which is not random.
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
template <class L, class T>
concept IsLayer = CalledPlainly<L, T> || CalledWithState<L, T> || FunctionOfTensor<L, T>;

/// Inherits from a layer and from its optional members: if both have a name, the name is ambiguous, whatever the
/// layer's member is. In this way a member that exists can be distinguished from one that fits.
struct OptionalMembers {
  int name, init, state, penalty, logits, description;
};
template <class L>
struct BesideMembers : L, OptionalMembers {};
template <class L>
using NameIn = decltype(&BesideMembers<L>::name);
template <class L>
using InitIn = decltype(&BesideMembers<L>::init);
template <class L>
using StateIn = decltype(&BesideMembers<L>::state);
template <class L>
using PenaltyIn = decltype(&BesideMembers<L>::penalty);
template <class L>
using LogitsIn = decltype(&BesideMembers<L>::logits);
template <class L>
using DescriptionIn = decltype(&BesideMembers<L>::description);
template <class L, template <class> class Member>
concept Has = std::is_class_v<L> && !std::is_final_v<L> && !requires {
  typename Member<L>;
};

template <class R, class T>
concept ParamsOf = std::is_convertible_v<R, Params<T>>;
template <class R, class T>
concept PenaltyOf = std::is_same_v<std::remove_cvref_t<R>, Tensor<T>> ||
    std::is_same_v<std::remove_cvref_t<R>, std::optional<Tensor<T>>>;

template <class L>
concept FitsName = requires(const L& l) {
  std::string(l.name());
}
|| requires(const L& l) { std::string(l.name); };
template <class L, class T>
concept FitsInit = requires(const L& l, const Shape& in, Rng& rng) {
  { l.template init<T>(in, rng) } -> ParamsOf<T>;
}
|| requires(const L& l, const Shape& in, Rng& rng) {
  { l.init(in, rng) } -> ParamsOf<T>;
};
template <class L, class T>
concept FitsState = CalledWithState<L, T> &&(
    requires(const L& l, const Shape& in) {
      { l.template state<T>(in) } -> ParamsOf<T>;
    } ||
    requires(const L& l, const Shape& in) {
      { l.state(in) } -> ParamsOf<T>;
    });
template <class L, class T>
concept FitsPenalty = requires(const L& l, const Params<T>& p) {
  { l.penalty(p) } -> PenaltyOf<T>;
};
template <class L, class T>
concept FitsLogits = requires(const L& l, const Params<T>& p, const Tensor<T>& x) {
  { l.logits(p, x, Mode{}) } -> std::same_as<Tensor<T>>;
  Activation(l.activation);
};
template <class L>
concept FitsDescription = requires(const L& l) {
  std::string(l.description());
};

/// Throws ValueError if two names are equal.
TAPEGRAD_EXPORT void require_different_names(const PoolVector<std::string_view>& names);

/// A function of a tensor as a layer: all of it is activation.
struct FunctionLayer {
  Activation activation;

  const std::string& name() const { return activation.name(); }
  std::string description() const { return activation.kind(); }
  template <class T>
  Tensor<T> operator()(const Params<T>&, const Tensor<T>& x, Mode) const {
    return activation(x);
  }
  template <class T>
  Tensor<T> logits(const Params<T>&, const Tensor<T>& x, Mode) const {
    return x;
  }
};

/// Does not compile if a member has the name of an optional one but does not fit.
template <class L, class T>
constexpr void require_members_that_fit() {
  static_assert(!Has<L, NameIn> || FitsName<L>,
                "the member name of a layer is text: static constexpr const char* name = \"Scale\";");
  static_assert(!Has<L, InitIn> || FitsInit<L, T>,
                "the member init of a layer is nn::Params<T> init(const Shape& in, nn::Rng& rng) const, for the T of "
                "the model");
  static_assert(!Has<L, StateIn> || FitsState<L, T>,
                "the member state of a layer is nn::Params<T> state(const Shape& in) const, for the T of the model, "
                "and its operator() takes (const nn::Params<T>& p, nn::Params<T>& state, const Tensor<T>& x, "
                "nn::Mode)");
  static_assert(!Has<L, PenaltyIn> || FitsPenalty<L, T>,
                "the member penalty of a layer is Tensor<T> penalty(const nn::Params<T>& p) const, for the T of the "
                "model; a number would have no derivative");
  static_assert(!Has<L, LogitsIn> || FitsLogits<L, T>,
                "the member logits of a layer is Tensor<T> logits(const nn::Params<T>& p, const Tensor<T>& x, "
                "nn::Mode) const, for the T of the model, beside a member nn::Activation activation");
  static_assert(!Has<L, DescriptionIn> || FitsDescription<L>,
                "the member description of a layer is std::string description() const");
}

}  // namespace detail

/// Any layer, for one number type.
template <Real T>
class Layer {
 public:
  template <class L>
  requires(detail::CalledPlainly<L, T> || detail::CalledWithState<L, T>) Layer(L layer) {
    detail::require_members_that_fit<L, T>();
    const auto own = std::make_shared<const L>(std::move(layer));
    if constexpr (requires { std::string(own->name()); }) {
      name_ = own->name();
    } else if constexpr (detail::FitsName<L>) {
      name_ = own->name;
    }
    description_ = name_;
    call_ = [own](const Params<T>& p, [[maybe_unused]] Params<T>& state, const Tensor<T>& x, Mode mode) {
      if constexpr (detail::CalledWithState<L, T>)
        return (*own)(p, state, x, mode);
      else
        return (*own)(p, x, mode);
    };
    logits_ = call_;
    if constexpr (detail::FitsLogits<L, T>) {
      activation_ = own->activation;
      description_ += std::string(" ") + activation_.kind();
      logits_ = [own](const Params<T>& p, Params<T>&, const Tensor<T>& x, Mode mode) {
        return own->logits(p, x, mode);
      };
    }
    if constexpr (detail::FitsDescription<L>) description_ = own->description();
    if constexpr (requires(const Shape& in, Rng& rng) { own->template init<T>(in, rng); }) {
      init_ = [own](const Shape& in, Rng& rng) -> Params<T> { return own->template init<T>(in, rng); };
    } else if constexpr (detail::FitsInit<L, T>) {
      init_ = [own](const Shape& in, Rng& rng) -> Params<T> { return own->init(in, rng); };
    }
    if constexpr (detail::FitsState<L, T> && requires(const Shape& in) { own->template state<T>(in); }) {
      state_ = [own](const Shape& in) -> Params<T> { return own->template state<T>(in); };
    } else if constexpr (detail::FitsState<L, T>) {
      state_ = [own](const Shape& in) -> Params<T> { return own->state(in); };
    }
    if constexpr (detail::FitsPenalty<L, T>) {
      penalty_ = [own](const Params<T>& p) -> std::optional<Tensor<T>> { return own->penalty(p); };
    }
  }
  /// A function of a tensor, including nn::Activation("relu") and elementwise(). As the last layer, after a linear
  /// Dense, it counts as that layer's activation, with the closed form of delta.
  template <class F>
  requires(detail::FunctionOfTensor<F, T>) Layer(const F& f) : Layer(detail::FunctionLayer{activation_of(f)}) {}
  template <class L>
  requires(!detail::IsLayer<L, T> && detail::HasCallOperator<L>) Layer(const L&) {
    static_assert(
        detail::never<L>,
        "a layer for Tensor<T>, the model's number type, is called as "
        "Tensor<T> operator()(const nn::Params<T>& p, const Tensor<T>& x, nn::Mode) const, or it is a function "
        "of a tensor that gives a tensor");
  }
  // Moving copies, so that a layer is never empty.
  Layer(const Layer&) = default;
  Layer& operator=(const Layer&) = default;

  /// The name that the layer's type gives itself, or that of the activation if it is one; otherwise "custom".
  std::string name() const { return name_; }
  /// The name, with whatever else determines what the parameters are for: "Dense relu".
  std::string description() const { return description_; }
  Params<T> init(const Shape& in, Rng& rng) const { return init_ ? init_(in, rng) : Params<T>(); }
  /// What the layer keeps from step to step; usually nothing.
  Params<T> state(const Shape& in) const { return state_ ? state_(in) : Params<T>(); }
  Tensor<T> operator()(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const {
    return call_(p, state, x, mode);
  }
  /// The layer without its activation. A layer that does not name one has the linear activation.
  Tensor<T> logits(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode) const {
    return logits_(p, state, x, mode);
  }
  const Activation& activation() const { return activation_; }
  /// The scalar that the layer adds to the loss; empty for most layers.
  std::optional<Tensor<T>> penalty(const Params<T>& p) const { return penalty_ ? penalty_(p) : std::nullopt; }

 private:
  using Call = std::function<Tensor<T>(const Params<T>& p, Params<T>& state, const Tensor<T>& x, Mode mode)>;

  /// A generic function is tried only with T: it need not compile for the other number type.
  template <class F>
  static Activation activation_of(const F& f) {
    if constexpr (std::is_same_v<F, Activation>)
      return f;
    else
      return [f](const Tensor<T>& x) { return f(x); };
  }

  std::string name_ = "custom", description_;
  Activation activation_;
  Call call_, logits_;
  std::function<Params<T>(const Shape& in, Rng& rng)> init_;
  std::function<Params<T>(const Shape& in)> state_;
  std::function<std::optional<Tensor<T>>(const Params<T>& p)> penalty_;
};

}  // namespace tapegrad::nn
