#pragma once
// A formula ready to run: its operations as kernels over blocks that stay in the first-level cache.

#include <cstddef>
#include <span>
#include <vector>

#include "graph.hpp"

namespace tapegrad::detail {

class Program {
 public:
  Program(std::size_t operands, const Formula& formula);

  /// Whether a result depends on operand k.
  bool reads(std::size_t k) const { return reads_[k] != 0; }
  /// Whether there are few operations, none of which costs more than reading its operands.
  bool light() const { return light_; }

  /// The results at every element of their shape, to which the operands broadcast.
  template <Real T>
  void run(std::span<const Array* const> operands, std::span<Array* const> results) const;

 private:
  struct Lowering;
  // A step reads slots and writes a register. Slots are numbered: first the registers, which begin with the blocks of
  // the results, then the operands, then the constants.
  struct Step {
    kernels::ElementwiseKernel<float> kernel_f32;
    kernels::ElementwiseKernel<double> kernel_f64;
    double p;
    std::array<int, max_arity> in;
    std::size_t arity;
    int out;
    // If a second register receives the slope, these run instead.
    int slope = no_node;
    PairKernel<float> pair_f32 = nullptr;
    PairKernel<double> pair_f64 = nullptr;
  };
  // A result that no step writes: an operand, a constant, or another result.
  struct Copy {
    int from, result;
  };

  struct Code {
    std::vector<Step> steps;
    std::vector<Copy> copies;
  };
  template <Real T>
  void run_at(std::span<const Shape* const> shapes, std::span<const T* const> operands, const Shape& shape,
              std::span<T* const> results) const;
  template <Real T>
  void run_observed(std::span<const Shape* const> shapes, std::span<const T* const> operands, const Shape& shape,
                    std::span<T* const> results) const;
  template <Real T>
  void execute(const Code& code, std::span<const T* const> slots, std::int64_t n) const;

  std::size_t operands_, results_;
  // `code_` computes strong-zero products as ordinary ones. If one of the `checked_` results has a NaN in a block, that
  // block is computed again by `strong_`, which gives the same bits everywhere else.
  Code code_, strong_;
  std::vector<std::size_t> checked_;
  std::size_t registers_ = 0;
  std::vector<float> constants_f32_;
  std::vector<double> constants_f64_;
  std::vector<char> reads_;
  bool light_ = true;
};

}  // namespace tapegrad::detail
