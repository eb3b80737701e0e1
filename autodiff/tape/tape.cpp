#include "recording.hpp"

#include <algorithm>
#include <string>

#include "primitive.hpp"

namespace tapegrad::detail {
namespace {

// Scope ids are never used twice in a process: the number of the thread above a count of its scopes.
constexpr int thread_shift = 40;
std::atomic<std::uint64_t> thread_numbers{1};

thread_local std::uint64_t next_scope = 0;
[[gnu::tls_model("initial-exec")]] thread_local constinit Tape* current_tape = nullptr;

// Tapes without records, kept for their memory.
struct Spares {
  std::vector<std::unique_ptr<Tape>> tapes;
  ~Spares();
};
thread_local bool spares_gone = false;
thread_local Spares spares;
Spares::~Spares() { spares_gone = true; }

std::uint64_t fresh_scope() {
  if (next_scope == 0) next_scope = (thread_numbers.fetch_add(1) << thread_shift) + 1;
  return next_scope++;
}

Tape* acquire_tape() {
  if (spares_gone || spares.tapes.empty()) return new Tape;
  Tape* tape = spares.tapes.back().release();
  spares.tapes.pop_back();
  return tape;
}

void give_back_tape(Tape* tape) {
  constexpr std::size_t most_spares = 4;
  std::unique_ptr<Tape> owned(tape);
  if (!spares_gone && spares.tapes.size() < most_spares) spares.tapes.push_back(std::move(owned));
}

constexpr std::uint32_t levels_below(int depth) { return static_cast<std::uint32_t>((std::uint64_t{1} << depth) - 1); }

[[noreturn, gnu::cold]] void throw_not_open(const Place& place, const char* operation, const Caller& where) {
  const bool own = place.scope >> thread_shift == next_scope >> thread_shift;
  throw TapeError(std::string(operation) + to_string(where) +
                  (own ? ": an operand was recorded in a differentiated function that has returned, so its tape is "
                         "closed. It can still be read; to compute with its value, use stop_gradient(x)."
                       : ": an operand was recorded on another thread. Differentiate on the thread that computes, or "
                         "pass stop_gradient(x)."));
}

Handle identity_rule(const Call&, std::size_t, const Handle& v) { return v; }
std::optional<BatchAxis> identity_rows(const Call&, std::span<const BatchAxis> axes) { return axes[0]; }
const Primitive identity{.name = "identity",
                         .evaluate = nullptr,
                         .pullback = identity_rule,
                         .pushforward = identity_rule,
                         .rows = identity_rows,
                         .carry = carry_diagonal};

}  // namespace

void require_readable(const Handle& x, const char* operation, Caller where) {
  if (!current_tape || !current_tape->is_open(x.place().scope)) return;
  throw TapeError(operation + to_string(where) + ": a tensor of shape " + to_string(x.shape()) +
                  " is on a tape, and a number read from it would be a constant, its derivative lost. x[i] is an "
                  "element that stays on the tape; to read on purpose, use stop_gradient(x).");
}

int Tape::depth_of(std::uint64_t scope) const {
  int d = depth_ - 1;
  while (d >= 0 && levels_[static_cast<std::size_t>(d)].scope != scope) --d;
  return d;
}

void Tape::truncate(const TapeSize& to) {
  for (std::size_t i = to.operands; i < operands_.size(); ++i) {
    if (operands_[i].record == no_record) release(operands_[i].array);
  }
  for (std::size_t i = to.records; i < records_.size(); ++i) release(records_[i].output);
  attributes_.truncate(to.attributes);
  operands_.truncate(to.operands);
  records_.truncate(to.records);
  // A tape of a hundred thousand records keeps its memory for the next; a longer one gives the rest back.
  constexpr std::size_t most_chunks = 100;
  if (to.records == 0) {
    attributes_.shrink(most_chunks);
    records_.shrink(most_chunks);
    operands_.shrink(2 * most_chunks);
  }
}

void Tape::empty(std::uint32_t begin, std::uint32_t end) {
  for (std::uint32_t i = begin; i < end; ++i) {
    Record& record = records_[i];
    for (std::uint32_t k = 0; k < record.operand_count; ++k) {
      RecordOperand& entry = operands_[record.first_operand + k];
      if (entry.record == no_record) release(std::exchange(entry.array, nullptr));
    }
    release(std::exchange(record.output, nullptr));
  }
}

Place append(const Primitive& primitive, Array* output, std::span<const Handle* const> operands, const Caller& where,
             std::size_t words, std::uint64_t*& attributes) {
  Tape* tape = current_tape;
  if (!tape) throw_not_open((*std::ranges::find_if(operands, &Handle::traced))->place(), primitive.name, where);
  Tape::Level& level = tape->levels_[static_cast<std::size_t>(tape->depth_ - 1)];
  const auto first_operand = static_cast<std::uint32_t>(tape->operands_.size());
  std::uint32_t levels = 0;
  for (const Handle* operand : operands) {
    const Place& place = operand->place();
    // A recorded operand is kept alive by its own record.
    if (place.scope == 0) {
      retain(operand->array());
    } else if (place.scope != level.scope && tape->depth_of(place.scope) < 0) {
      tape->truncate({tape->size(), first_operand, static_cast<std::uint32_t>(tape->attributes_.size())});
      throw_not_open(place, primitive.name, where);
    }
    RecordOperand& entry = tape->operands_.push();
    entry.array = operand->array();
    entry.record = place.record();
    entry.levels = place.levels();
    levels |= place.levels();
  }
  level.reached |= levels;
  // Nobody else knows the output yet: no atomic increment.
  output->references.store(output->references.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  const std::uint32_t index = tape->size();
  // Field by field: a record built on the stack and copied would wait for its own stores.
  Record& record = tape->records_.push();
  record.primitive = &primitive;
  record.output = output;
  const Caller& line = door.line ? *door.line : where;
  record.file = line.file;
  record.line = static_cast<std::uint32_t>(line.line);
  record.first_operand = first_operand;
  record.operand_count = static_cast<std::uint32_t>(operands.size());
  record.levels = levels;
  if (words != 0) attributes = tape->attributes_.push_together(words);
  record.attributes = static_cast<std::uint32_t>(tape->attributes_.size() - words);
  return Place::make(level.scope, index, levels);
}

Scope::Scope(const Caller& where) : tape_(current_tape), where_(where) {
  if (!tape_) {
    order_free_blocks();
    tape_ = current_tape = acquire_tape();
  }
  if (tape_->depth_ == max_depth)
    throw TapeError("a derivative" + to_string(where) + ": derivatives are nested more than 32 deep");
  tape_->levels_[static_cast<std::size_t>(tape_->depth_++)] = {fresh_scope(), tape_->sizes(), 0};
  line_around_ = std::exchange(door.line, nullptr);
}

Scope::~Scope() {
  if (!tape_) return;
  door.line = line_around_;
  const Tape::Level& level = tape_->levels_[static_cast<std::size_t>(--tape_->depth_)];
  tape_->truncate(level.begin);
  if (tape_->depth_ == 0) {
    current_tape = nullptr;
    give_back_tape(tape_);
  }
}

Handle Scope::trace(const Handle& argument) {
  if (!argument) {
    throw ValueError("a derivative" + to_string(where_) +
                     ": an argument has no value; it was default-constructed or moved from");
  }
  const int depth = tape_->depth_;
  Tape::Level& level = tape_->levels_[static_cast<std::size_t>(depth - 1)];
  std::uint32_t outer = 0;
  if (argument.traced()) {
    if (tape_->depth_of(argument.place().scope) < 0) throw_not_open(argument.place(), "a derivative", where_);
    outer = argument.place().levels();
  }
  const auto first_operand = static_cast<std::uint32_t>(tape_->operands_.size());
  if (argument.traced()) tape_->operands_.push() = {argument.array(), argument.place().record(), outer};
  retain(argument.array());
  const std::uint32_t own = std::uint32_t{1} << (depth - 1);
  level.reached |= outer | own;
  const std::uint32_t index = tape_->size();
  tape_->records_.push() = {.primitive = &identity,
                            .output = argument.array(),
                            .file = "",
                            .line = 0,
                            .levels = outer | own,
                            .first_operand = first_operand,
                            .operand_count = argument.traced() ? 1U : 0U,
                            .attributes = 0};
  ++inputs_;
  return share(argument.array(), Place::make(level.scope, index, outer | own));
}

Recording Scope::close() {
  Tape::Level& level = tape_->levels_[static_cast<std::size_t>(tape_->depth_ - 1)];
  Recording recording;
  Segment& s = recording.segment_;
  const int depth = --tape_->depth_;
  // One by one: put together elsewhere and copied they would wait for their own stores.
  s.tape = tape_;
  s.scope = level.scope;
  s.begin = level.begin.records;
  s.end = tape_->size();
  s.sizes_before = level.begin;
  s.inputs = inputs_;
  s.level = std::uint32_t{1} << depth;
  s.outer_levels = levels_below(depth);
  if (depth == 0) {
    current_tape = nullptr;
  } else {
    Tape::Level& outer = tape_->levels_[static_cast<std::size_t>(depth - 1)];
    s.outer_scope = outer.scope;
    s.needed = (level.reached & s.outer_levels) != 0;
    outer.reached |= level.reached & s.outer_levels;
  }
  tape_ = nullptr;
  door.line = line_around_;
  return recording;
}

Recording::Recording(Recording&& other) noexcept : segment_(other.segment_) { other.segment_.tape = nullptr; }

Recording& Recording::operator=(Recording&& other) noexcept {
  std::swap(segment_, other.segment_);
  return *this;
}

Recording::~Recording() {
  Tape* tape = segment_.tape;
  if (!tape) return;
  if (segment_.outer_scope == 0) {
    tape->truncate({});
    give_back_tape(tape);
  } else if (!segment_.needed && tape == current_tape && tape->depth_of(segment_.outer_scope) >= 0) {
    const bool last = tape->size() == segment_.end && tape->depth_of(segment_.outer_scope) == tape->depth_ - 1;
    if (last)
      tape->truncate(segment_.sizes_before);
    else
      tape->empty(segment_.begin, segment_.end);
  }
}

void Recording::require_open(const Caller& where) const {
  if (segment_.outer_scope == 0) return;
  if (current_tape != segment_.tape || current_tape->depth_of(segment_.outer_scope) < 0) {
    throw_not_open({segment_.outer_scope}, "a pullback or a Jacobian", where);
  }
}

bool Recording::records_outside() const {
  if (!segment_.needed) return true;
  return current_tape == segment_.tape && current_tape->depth_of(segment_.outer_scope) == current_tape->depth_ - 1;
}

bool Recording::depends_on_inputs(const Handle& output) const {
  return output.traced() && output.place().scope == segment_.scope && (output.place().levels() & segment_.level) != 0;
}

Place Segment::outside(std::uint32_t record, std::uint32_t levels) const {
  // What is lifted out no longer depends on this scope's own arguments.
  const std::uint32_t outer = levels & outer_levels;
  return outer != 0 ? Place::make(outer_scope, record, outer) : Place{};
}

Handle Recording::lift(const Handle& output) const {
  if (!output.traced() || output.place().scope != segment_.scope) return output;
  return share(output.array(), segment_.outside(output.place().record(), output.place().levels()));
}

Handle Call::handle(Array* array, std::uint32_t record, std::uint32_t levels) const {
  return share(array, segment_.outside(record, levels));
}

}  // namespace tapegrad::detail
