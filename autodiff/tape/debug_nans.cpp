#include "../debug_nans.hpp"

#include <cmath>

#include "../kernels/kernels.hpp"
#include "nan_watch.hpp"

namespace tapegrad {
namespace detail {
namespace {

std::string position(std::int64_t element, const Shape& shape) {
  Shape index = shape;
  for (std::int64_t i = shape.rank(); i-- > 0;) {
    index[i] = element % shape[i];
    element /= shape[i];
  }
  return to_string(index);
}

}  // namespace

NanWatch* find_nan_watch() {
  for (Observer* observer = door.observer; observer; observer = observer->outer()) {
    if (auto* watch = dynamic_cast<NanWatch*>(observer)) return watch;
  }
  return nullptr;
}

bool all_finite(const Array& array) {
  if (array.dtype != Dtype::f32 && array.dtype != Dtype::f64) return true;
  return with_real(array.dtype,
                   [&]<class T>(T) { return kernels::kernels<T>().all_finite(array.as<T>(), array.shape.count()); });
}

void require_finite(const Array& array, const char* operation, const std::string& what, const Caller& where) {
  if (all_finite(array)) return;
  with_real(array.dtype, [&]<class T>(T) {
    const T* x = array.as<T>();
    for (std::int64_t i = 0; i < array.shape.count(); ++i) {
      if (std::isfinite(x[i])) continue;
      const char* number = std::isnan(x[i]) ? "nan" : x[i] < 0 ? "-inf" : "inf";
      throw ValueError(std::string(operation) + to_string(where) + ": " + what + " is " + number + " at " +
                       position(i, array.shape) + " of shape " + to_string(array.shape) +
                       ", which debug_nans() does not allow here");
    }
  });
}

void NanWatch::value(const Site& site, const Array& array) {
  if (!in_rule) require_finite(array, site.operation, "the value", site.where);
}

Handle zeros_of(const Handle& v) {
  return with_real(v.array()->dtype, [&]<class T>(T) {
    Handle marks(allocate(dtype_of<T>, v.shape()));
    const T* in = v.array()->as<T>();
    T* out = marks.array()->as<T>();
    bool any = false;
    for (std::int64_t i = 0; i < v.shape().count(); ++i) any |= (out[i] = in[i] == 0) != 0;
    return any ? marks : Handle();
  });
}

}  // namespace detail

DebugNans::DebugNans(DebugNansOptions options) : watch_(new detail::NanWatch(std::move(options))) {}

DebugNans::~DebugNans() = default;

}  // namespace tapegrad
