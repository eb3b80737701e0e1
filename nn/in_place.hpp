#pragma once
// The place of an error, for those who know it to whom the error comes.

#include <string>

#include "../autodiff/error.hpp"

namespace tapegrad::nn::detail {

/// f(); what it throws begins with place(), a string, and keeps its type.
template <class Place, class F>
decltype(auto) in_place(const Place& place, F&& f) {
  try {
    return f();
  } catch (const ShapeError& error) {
    throw ShapeError(place() + error.what());
  } catch (const ValueError& error) {
    throw ValueError(place() + error.what());
  } catch (const TapeError& error) {
    throw TapeError(place() + error.what());
  } catch (const RowMixingError& error) {
    throw RowMixingError(place() + error.what());
  }
}

}  // namespace tapegrad::nn::detail
