// The structure of a Jacobian: its name, and the text of explain().

#include <optional>
#include <ostream>
#include "linearization.hpp"

namespace tapegrad {

std::ostream& operator<<(std::ostream& out, Structure structure) { return out << to_string(structure); }

std::string to_string(Structure structure) {
  switch (structure) {
    case Structure::zero:
      return "zero";
    case Structure::diagonal:
      return "diagonal";
    case Structure::low_rank:
      return "low rank";
    case Structure::diagonal_plus_low_rank:
      return "diagonal plus low rank";
    case Structure::constant:
      return "constant";
    case Structure::dense:
      break;
  }
  return "dense";
}

namespace detail {
namespace {

Structure form_of(const Structured* form) {
  if (!form) return Structure::dense;
  const Terms& terms = form->terms;
  if (terms.zero()) return Structure::zero;
  if (const Matrix* matrix = terms.matrix()) {
    const bool alone = terms.diagonals().empty() && terms.rank_ones().empty();
    return alone && matrix->constant && !matrix->left && !matrix->right ? Structure::constant : Structure::dense;
  }
  if (terms.rank_ones().empty()) return Structure::diagonal;
  return terms.diagonals().empty() ? Structure::low_rank : Structure::diagonal_plus_low_rank;
}

}  // namespace
}  // namespace detail

template <Real T>
Structure Jacobian<T>::structure() const {
  std::optional<detail::Structured> own;
  return detail::form_of(at_->structure(own));
}

template <Real T>
std::string Jacobian<T>::explain() const {
  std::optional<detail::Structured> own;
  const detail::Structured* form = at_->structure(own);
  const auto [batch, m, n] = at_->blocks();
  const Structure found = detail::form_of(form);
  const std::string block = to_string(Shape{m, n});
  std::string text = "Jacobian of " + to_string(input_shape()) + " -> " + to_string(output_shape()) + ": " +
                     (batched() ? std::to_string(batch) + " blocks " + block : "a matrix " + block) + ", " +
                     to_string(found);
  if (!form && !at_->function) return text + "; given as a matrix, which products use.";
  if (!form) {
    detail::Lost lost;
    at_->search(false, &lost);
    const std::string ended = lost.operation
                                  ? std::string(" Structure ended at ") + lost.operation + to_string(lost.where) + '.'
                                  : std::string();
    return text + ": no structure was found. Products are sweeps; dense() sweeps " +
           (at_->sweep() == Sweep::forward ? "forward, one tangent per input" : "in reverse, one adjoint per output") +
           (batched() ? ", shared over the batch." : ".") +
           (!batched() && input_shape().rank() == 2
                ? " If the rows do not mix, batch_jacobian finds the structure of each."
                : "") +
           ended;
  }
  const detail::Terms& terms = form->terms;
  if (!terms.rank_ones().empty()) text += " (rank " + std::to_string(rank()) + ")";
  if (const detail::Matrix* matrix = terms.matrix(); matrix && found == Structure::dense) {
    text += terms.diagonals().empty() ? ": " : ": a diagonal and ";
    text += matrix->kind != detail::Matrix::Kind::columns ? "a triangle of ones"
            : matrix->constant                            ? "a constant matrix"
                                                          : "a matrix";
    if (matrix->left || matrix->right) text += ", its rows or columns scaled";
  }
  return text + "; found in " + (at_->function ? "the recorded operations" : "the structure of two Jacobians") +
         ". Products use that form, dense() writes the elements.";
}

template Structure Jacobian<float>::structure() const;
template Structure Jacobian<double>::structure() const;
template std::string Jacobian<float>::explain() const;
template std::string Jacobian<double>::explain() const;

}  // namespace tapegrad
