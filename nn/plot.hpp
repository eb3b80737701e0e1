#pragma once
// Pictures, drawn by gnuplot, which must be installed: SVG or PNG, depending on the name of the file.
//
//     nn::plot_curves({{"train", losses}, {"test", test_losses}}, "loss.svg", "Loss", "epoch");
//     nn::heat_map(jacobian(f)(z), "jacobian.svg", "df/dz");
//
// Throws ValueError for another ending of the name, Error when gnuplot is missing or cannot write the file.

#include <cstdint>
#include <string>
#include <vector>

#include "../autodiff/jacobian.hpp"

namespace tapegrad::nn {

struct Curve {
  std::string name;
  std::vector<double> values;
};

/// The values of each curve over first, first + 1, ...
TAPEGRAD_EXPORT void plot_curves(const std::vector<Curve>& curves, const std::string& path,
                                 const std::string& title = "", const std::string& x_label = "",
                                 std::int64_t first = 1);

/// One of several diagrams.
struct Panel {
  std::string title;
  std::vector<Curve> curves;
};
/// Panels side by side in one picture.
TAPEGRAD_EXPORT void plot_panels(const std::vector<Panel>& panels, const std::string& path,
                                 const std::string& x_label = "", std::int64_t first = 1);

/// A matrix (m, n) in colors, row 0 on top. Throws ShapeError for another rank or an empty matrix.
template <Real T>
TAPEGRAD_EXPORT void heat_map(const Tensor<T>& matrix, const std::string& path, const std::string& title = "");
/// A Jacobian as a matrix, by default with its structure as the title; if it has several blocks, the one of row `block`
/// of the batch. Throws ShapeError for an empty Jacobian, ValueError for a block that does not exist.
template <Real T>
TAPEGRAD_EXPORT void heat_map(const Jacobian<T>& J, const std::string& path, const std::string& title = "",
                              std::int64_t block = 0);

}  // namespace tapegrad::nn
