#pragma once
// The tape: records in the order they were made, nested scopes over them, the reverse and the forward sweep.
//
// A thread records on one tape. A scope is a range of its records: a transform opens one, gives each of its arguments a
// fresh identity record, runs the user's function, closes the scope and sweeps its records down (or up) from those
// identities only, so that nested levels cannot mix. The rules run on plain values unless a record also leads to a
// scope that is still open; then they are themselves recorded, in that scope, and can be differentiated again.

#include <array>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <vector>

#include "../tensor.hpp"

namespace tapegrad::detail {

struct Primitive;

/// Where the batch axis of a tensor is, counted from its end; 0 when it has none, because it depends on no row.
using BatchAxis = std::int8_t;
using BatchAxes = std::vector<BatchAxis, PoolAllocator<BatchAxis>>;

/// Nesting depth of scopes; a record keeps one bit for each.
inline constexpr int max_depth = 32;

/// What a rule needs besides operands and output.
struct Attributes {
  double scalar = 0;                  // an exponent, a slope
  std::array<std::int8_t, 8> axes{};  // counted from the end: 1 is the last
  Array* constant = nullptr;          // indices, a mask, a user's rule; the record keeps it alive
};

inline constexpr Attributes no_attributes;

/// One operation. Operands and output are kept alive by the tape.
struct Record {
  const Primitive* primitive;
  Array* output;
  Attributes attributes;
  const char* file;  // of the call, and its line
  std::uint32_t line;
  std::uint32_t levels;  // as in Place; bit d: depends on an argument of the scope at depth d
  std::uint32_t first_operand, operand_count;
};

struct RecordOperand {
  Array* array;
  std::uint32_t record;  // no_record for a constant
  std::uint32_t levels;  // as in Place
};

/// A sequence in chunks: growing never moves what is there, so that rules may record while a sweep reads.
template <class E>
class Chunks {
 public:
  E& operator[](std::size_t i) const { return *std::launder(reinterpret_cast<E*>(&chunks_[i / chunk][i % chunk])); }
  std::size_t size() const { return size_; }
  /// An element that is not set yet.
  E& push() {
    if (next_ == chunk_end_) grow();
    ++size_;
    return *new (next_++) E;
  }
  void truncate(std::size_t size) {
    if (size == size_) return;
    size_ = size;
    next_ = &chunks_[size / chunk][size % chunk];
    chunk_end_ = &chunks_[size / chunk][0] + chunk;
  }
  /// Gives back the memory of all but the first `keep` chunks; empty only.
  void shrink(std::size_t keep) {
    if (chunks_.size() > keep) chunks_.resize(keep);
  }

 private:
  static_assert(std::is_trivially_destructible_v<E>);
  static constexpr std::size_t chunk = 1024;
  struct Raw {
    alignas(E) std::byte bytes[sizeof(E)];
  };
  [[gnu::noinline]] void grow() {
    if (size_ == chunks_.size() * chunk) chunks_.push_back(std::make_unique_for_overwrite<Raw[]>(chunk));
    next_ = &chunks_[size_ / chunk][0];
    chunk_end_ = next_ + chunk;
  }

  std::vector<std::unique_ptr<Raw[]>> chunks_;
  std::size_t size_ = 0;
  Raw *next_ = nullptr, *chunk_end_ = nullptr;  // where the next element goes, in the chunk that it goes to
};

class Tape;

/// The records of one scope, and what of them leads to the scopes around it.
struct Segment {
  Tape* tape = nullptr;
  std::uint64_t scope = 0;
  std::uint32_t begin = 0, end = 0;
  std::uint32_t begin_operands = 0;
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
  const Attributes& attributes() const { return record_.attributes; }
  Where where() const { return {record_.file, static_cast<int>(record_.line)}; }
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

class Tape {
 public:
  Tape() = default;
  Tape(const Tape&) = delete;
  ~Tape() { truncate(0, 0); }

  const Record& record(std::uint32_t i) const { return records_[i]; }
  const RecordOperand& operand(std::uint32_t i) const { return operands_[i]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(records_.size()); }
  bool is_open(std::uint64_t scope) const { return depth_of(scope) >= 0; }

 private:
  friend class Scope;
  friend class Recording;
  friend Place append(const Primitive&, Array*, std::span<const Handle* const>, const Attributes&, const Where&);

  struct Level {
    std::uint64_t scope;
    std::uint32_t begin, begin_operands;
    std::uint32_t reached;  // levels of all its records together
  };

  /// Depth of an open scope; -1 when it is not open.
  int depth_of(std::uint64_t scope) const;
  void truncate(std::uint32_t records, std::uint32_t operands);
  /// Lets go of what the records of a closed scope hold, in the middle of the tape.
  void empty(std::uint32_t begin, std::uint32_t end);

  std::array<Level, max_depth> levels_{};
  int depth_ = 0;
  Chunks<Record> records_;
  Chunks<RecordOperand> operands_;
};

inline Call::Call(const Segment& segment, std::uint32_t index)
    : segment_(segment), index_(index), record_(segment.tape->record(index)) {}

inline const RecordOperand& Call::operands(std::size_t k) const {
  return segment_.tape->operand(record_.first_operand + static_cast<std::uint32_t>(k));
}

/// Appends a record to the tape that the operands stand on, with a fresh output; at least one of them is traced. Throws
/// TapeError when an operand's scope has closed or belongs to another thread.
Place append(const Primitive& primitive, Array* output, std::span<const Handle* const> operands,
             const Attributes& attributes, const Where& where);

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
  void require_open(const Where& where) const;
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
  explicit Scope(const Where& where = {});
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
  Where where_;
  std::uint32_t inputs_ = 0;
};

}  // namespace tapegrad::detail
