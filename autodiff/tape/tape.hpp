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
#include <span>
#include <utility>
#include <vector>

#include "../tensor.hpp"

namespace tapegrad::detail {

struct Primitive;

/// Nesting depth of scopes; a record keeps one bit for each.
inline constexpr int max_depth = 32;

/// One operation. Operands and output are kept alive by the tape. Behind the operands of the primitive there may be
/// what it has kept for its rules.
struct Record {
  const Primitive* primitive;
  Array* output;
  const char* file;  // of the call, and its line
  std::uint32_t line;
  std::uint32_t levels;  // as in Place; bit d: depends on an argument of the scope at depth d
  std::uint32_t first_operand, operand_count;
  std::uint32_t attributes;  // their first word
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
  /// n elements that are not set yet, one behind the other; n is at most `chunk`. What is left of a chunk where they do
  /// not fit is skipped.
  E* push_together(std::size_t n) {
    if (static_cast<std::size_t>(chunk_end_ - next_) < n) {
      size_ = (size_ + chunk - 1) / chunk * chunk;
      grow();
    }
    E* first = new (next_) E[n];
    next_ += n;
    size_ += n;
    return first;
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

/// Numbers of records, operands and words of attributes.
struct TapeSize {
  std::uint32_t records = 0, operands = 0, attributes = 0;
};

class Tape {
 public:
  Tape() = default;
  Tape(const Tape&) = delete;
  ~Tape() { truncate({}); }

  const Record& record(std::uint32_t i) const { return records_[i]; }
  const RecordOperand& operand(std::uint32_t i) const { return operands_[i]; }
  /// Of a record that has none, some address that can be read.
  const std::uint64_t* attributes(std::uint32_t i) const {
    static constexpr std::uint64_t nothing = 0;
    return i < attributes_.size() ? &attributes_[i] : &nothing;
  }
  std::uint32_t size() const { return static_cast<std::uint32_t>(records_.size()); }
  bool is_open(std::uint64_t scope) const { return depth_of(scope) >= 0; }

 private:
  friend class Scope;
  friend class Recording;
  friend Place append(const Primitive&, Array*, std::span<const Handle* const>, const Caller&, std::size_t,
                      std::uint64_t*&);

  struct Level {
    std::uint64_t scope;
    TapeSize begin;
    std::uint32_t reached;  // levels of all its records together
  };

  /// Depth of an open scope; -1 when it is not open.
  int depth_of(std::uint64_t scope) const;
  TapeSize sizes() const {
    return {size(), static_cast<std::uint32_t>(operands_.size()), static_cast<std::uint32_t>(attributes_.size())};
  }
  void truncate(const TapeSize& to);
  /// Lets go of what the records of a closed scope hold, in the middle of the tape.
  void empty(std::uint32_t begin, std::uint32_t end);

  std::array<Level, max_depth> levels_{};
  int depth_ = 0;
  Chunks<Record> records_;
  Chunks<RecordOperand> operands_;
  Chunks<std::uint64_t> attributes_;
};

/// Appends a record to the tape that the operands stand on, with a fresh output; at least one of them is traced. Room
/// for so many words of `attributes` comes with it. Throws TapeError when an operand's scope has closed or belongs to
/// another thread.
Place append(const Primitive& primitive, Array* output, std::span<const Handle* const> operands, const Caller& where,
             std::size_t words, std::uint64_t*& attributes);

}  // namespace tapegrad::detail
