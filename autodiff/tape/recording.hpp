#pragma once
// Scopes, and what stays of them: a recording, whose records the sweeps go through by their calls.

#include <cstdint>
#include <new>

#include "tape.hpp"

namespace tapegrad::detail {

/// Where the batch axis of a tensor is, counted from its end; 0 when it has none, because it depends on no row.
using BatchAxis = std::int8_t;
using BatchAxes = std::vector<BatchAxis, PoolAllocator<BatchAxis>>;

/// The records of one scope, and what of them leads to the scopes around it.
struct Segment {
  Tape* tape = nullptr;
  std::uint64_t scope = 0;
  std::uint32_t begin = 0, end = 0;
  TapeSize sizes_before = {};
  std::uint32_t inputs = 0;        // identity records, first in the range
  std::uint32_t level = 0;         // this scope's bit
  std::uint32_t outer_levels = 0;  // bits of the scopes around it
  std::uint64_t outer_scope = 0;   // id of the scope around it; 0 when there is none
  bool needed = false;             // some record leads to a scope around it

  /// Where the scope around this one sees a record.
  Place outside(std::uint32_t record, std::uint32_t levels) const;
};

/// What a rule sees of the record that it differentiates.
class Call {
 public:
  inline Call(const Segment& segment, std::uint32_t index);

  const Primitive& primitive() const { return *record_.primitive; }
  std::size_t operand_count() const { return record_.operand_count; }
  const Array& operand_array(std::size_t k) const { return *operands(k).array; }
  const Array& output_array() const { return *record_.output; }
  const Shape& operand_shape(std::size_t k) const { return operand_array(k).shape; }
  const Shape& output_shape() const { return output_array().shape; }
  /// As the primitive has them: trivially copyable.
  template <class A>
  const A& attributes() const {
    return *std::launder(reinterpret_cast<const A*>(attributes()));
  }
  const std::uint64_t* attributes() const { return segment_.tape->attributes(record_.attributes); }
  Caller where() const { return {record_.file, static_cast<int>(record_.line)}; }
  /// True when the rule itself must be recorded, whatever it is applied to.
  bool traced() const { return (record_.levels & segment_.outer_levels) != 0; }
  /// True when operand k depends on an argument of the scope.
  bool leads_to_input(std::size_t k) const { return (operands(k).levels & segment_.level) != 0; }

  /// Operand and output as tensors, with a place where they lead to a scope that is still open.
  template <class T>
  Tensor<T> operand(std::size_t k) const {
    const RecordOperand& operand = operands(k);
    return Tensor<T>(handle(operand.array, operand.record, operand.levels));
  }
  template <class T>
  Tensor<T> output() const {
    return Tensor<T>(handle(record_.output, index_, record_.levels));
  }
  inline const RecordOperand& operands(std::size_t k) const;

 private:
  Handle handle(Array* array, std::uint32_t record, std::uint32_t levels) const;

  const Segment& segment_;
  std::uint32_t index_;
  const Record& record_;
};

inline Call::Call(const Segment& segment, std::uint32_t index)
    : segment_(segment), index_(index), record_(segment.tape->record(index)) {}

inline const RecordOperand& Call::operands(std::size_t k) const {
  return segment_.tape->operand(record_.first_operand + static_cast<std::uint32_t>(k));
}

/// A closed scope: its records, which sweep/ can go through any number of times as long as the scope around it is open
/// (for ever, when there is none). Its destructor gives back what no open scope needs.
class TAPEGRAD_EXPORT Recording {
 public:
  Recording() = default;
  Recording(Recording&& other) noexcept;
  Recording& operator=(Recording&& other) noexcept;
  ~Recording();

  /// Number of traced arguments.
  std::size_t inputs() const { return segment_.inputs; }
  inline const Array& input(std::size_t i) const;
  /// An output of the function, as the scope around it sees it.
  Handle lift(const Handle& output) const;
  bool depends_on_inputs(const Handle& output) const;
  const Segment& segment() const { return segment_; }

  /// Throws TapeError once the scope around this one has closed.
  void require_open(const Caller& where) const;
  /// What the rules record stands in the scope around this one, if anywhere: it is good as long as this is.
  bool records_outside() const;

 private:
  friend class Scope;
  Segment segment_;
};

inline const Array& Recording::input(std::size_t i) const {
  return *segment_.tape->record(segment_.begin + static_cast<std::uint32_t>(i)).output;
}

/// An open scope on this thread. Left by an exception, it takes its records with it.
class TAPEGRAD_EXPORT Scope {
 public:
  /// `where`: the user's line, for errors.
  explicit Scope(const Caller& where = {});
  Scope(const Scope&) = delete;
  ~Scope();

  /// A fresh identity of an argument, or (empty handles included) of what it holds. Before any operation.
  Handle trace(const Handle& argument);
  /// Number of arguments traced so far.
  std::size_t inputs() const { return inputs_; }
  /// Records made from here on belong to the scope around this one.
  Recording close();

 private:
  Tape* tape_;
  Caller where_;
  const Caller* line_around_ = nullptr;  // of the rule that opens this scope: what it records has lines of its own
  std::uint32_t inputs_ = 0;
};

}  // namespace tapegrad::detail
