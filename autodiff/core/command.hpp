#pragma once
// The door that all computing goes through: every loop over numbers is started as a command, which says what it reads
// and what it writes.
//
//     command("arange", [=](T* to) { for (...) to[i] = ...; }, Out{elements, n});
//
// A command normally runs at once. While an observer watches the thread, it is shown each command instead and runs it
// itself. The body keeps sizes and plain numbers and is given the addresses, so that a copy of it can be run again on
// other data. What it keeps is best computed in the capture: a struct that is copied there is read as a whole while its
// parts are still being stored.

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include "../error.hpp"
#include "export.hpp"

namespace tapegrad::detail {

struct Array;

template <class T>
struct In {
  const T* data;
  std::int64_t size;
};
template <class T>
struct Out {
  T* data;
  std::int64_t size;
};
template <class T>
struct InOut {
  T* data;
  std::int64_t size;
};

/// A command as observers see it.
struct Command {
  enum class Access : std::uint8_t { reads, writes, updates };
  struct Operand {
    void* data;
    std::int64_t bytes;
    Access access;
  };

  const char* name;
  std::span<const Operand> operands;
  /// Runs the body on `data`, an address for each operand.
  void (*call)(const void* body, void* const* data);
  const void* body;
  std::size_t body_bytes;
  /// Copies the body; null if copying its bytes is enough.
  std::shared_ptr<const void> (*copy)(const void* body);
};

/// What a thread is doing: it evaluates an operation, or one of its rules.
struct Site {
  enum class Part : std::uint8_t { value, adjoint, tangent };
  const char* operation = "";
  Caller where = {};
  Part part = Part::value;
};

class Observer;

/// The state of one thread.
struct Door {
  Observer* observer = nullptr;  // the innermost
  const Site* site = nullptr;    // set only while an observer watches
  const Caller* line = nullptr;  // the user's, while the library calls its own operations
  // The tables that kernels/ has chosen for the thread, for float and double; null where it has to choose again.
  std::array<const void*, 2> kernels = {};
};
[[gnu::tls_model("initial-exec")]] TAPEGRAD_EXPORT extern thread_local constinit Door door;

inline bool observed() { return door.observer != nullptr; }

/// Watches the thread that creates it until it is destroyed. Observers nest.
class TAPEGRAD_EXPORT Observer {
 public:
  Observer();
  Observer(const Observer&) = delete;
  virtual ~Observer();

  /// Called instead of running a command. pass(command) shows it to the observers around this one, and runs it.
  virtual void command(const Command& command) { pass(command); }
  /// Called when an operation has computed a value; the site is the operation's.
  virtual void value(const Site& site, const Array& array);

  Observer* outer() const { return outer_; }

 protected:
  void pass(const Command& command);

 private:
  Observer* outer_;
};

/// While it lives, what the library does by its own operations stands at the user's line.
class AtLine {
 public:
  explicit AtLine(const Caller& line) : line_(line), before_(std::exchange(door.line, &line_)) {}
  AtLine(const AtLine&) = delete;
  ~AtLine() { door.line = before_; }

 private:
  Caller line_;
  const Caller* before_;
};

/// While it lives, the thread is at an operation of that name and line. Work inside the rule of an operation is
/// attributed to that operation.
class AtSite {
 public:
  AtSite(const char* operation, const Caller& where, Site::Part part = Site::Part::value) : inside_(observed()) {
    if (inside_) [[unlikely]] {
      inside_ = !door.site || door.site->part == Site::Part::value;
      if (!inside_) return;
      site_ = {operation, door.line ? *door.line : where, part};
      before_ = std::exchange(door.site, &site_);
    }
  }
  AtSite(const AtSite&) = delete;
  ~AtSite() {
    if (inside_) [[unlikely]]
      door.site = before_;
  }

 private:
  // While nobody watches, the other two stay uninitialized and cost nothing.
  bool inside_;
  const Site* before_;
  union {
    Site site_;
  };
};

/// Shows a command to the observers of the thread.
TAPEGRAD_EXPORT void observe(const Command& command);

template <class T>
Command::Operand operand_of(const In<T>& in) {
  return {const_cast<T*>(in.data), in.size * static_cast<std::int64_t>(sizeof(T)), Command::Access::reads};
}
template <class T>
Command::Operand operand_of(const Out<T>& out) {
  return {out.data, out.size * static_cast<std::int64_t>(sizeof(T)), Command::Access::writes};
}
template <class T>
Command::Operand operand_of(const InOut<T>& both) {
  return {both.data, both.size * static_cast<std::int64_t>(sizeof(T)), Command::Access::updates};
}

template <class Body>
constexpr auto copy_of() -> std::shared_ptr<const void> (*)(const void*) {
  if constexpr (std::is_trivially_copyable_v<Body>)
    return nullptr;
  else
    return [](const void* body) -> std::shared_ptr<const void> {
      return std::make_shared<const Body>(*static_cast<const Body*>(body));
    };
}

/// Calls body(addresses...), with one address for each operand.
template <class Body, class... Operands>
[[gnu::noinline, gnu::cold]] void observed_command(const char* name, const Body& body, const Operands&... operands) {
  const Command::Operand all[] = {operand_of(operands)...};
  observe({name, all,
           [](const void* kept, void* const* data) {
             [&]<std::size_t... k>(std::index_sequence<k...>) {
               (*static_cast<const Body*>(kept))(static_cast<decltype(operands.data)>(data[k])...);
             }
             (std::index_sequence_for<Operands...>());
           },
           &body, sizeof(Body), copy_of<Body>()});
}
template <class Body, class... Operands>
inline void command(const char* name, const Body& body, const Operands&... operands) {
  if (observed()) [[unlikely]]
    return observed_command(name, body, operands...);
  body(operands.data...);
}

/// For operands whose number is known only at run time; called while an observer watches. The body is given an array of
/// their addresses.
template <class Body>
void command_of(const char* name, std::span<const Command::Operand> operands, const Body& body) {
  observe({name, operands, [](const void* kept, void* const* data) { (*static_cast<const Body*>(kept))(data); }, &body,
           sizeof(Body), copy_of<Body>()});
}

}  // namespace tapegrad::detail
