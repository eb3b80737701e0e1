#pragma once
// The door that all computing goes through: every loop over numbers is a command, told what it reads and what it
// writes.
//
//     command("arange", [=](T* to) { for (...) to[i] = ...; }, Out{elements, n});
//
// A command runs at once. While an observer looks in on the thread it is shown each command instead, and runs it. The
// body keeps sizes and plain numbers, and is given the addresses, so that a copy of it can be run again on others. What
// it keeps is best made in its capture: copied there it would be read as a whole before its parts are written.

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
  /// A copy of the body; null where one of its bytes is one.
  std::shared_ptr<const void> (*copy)(const void* body);
};

/// What a thread is about: an operation that it evaluates, or the rule of one.
struct Site {
  enum class Part : std::uint8_t { value, adjoint, tangent };
  const char* operation = "";
  Caller where = {};
  Part part = Part::value;
};

class Observer;

/// Of a thread.
struct Door {
  Observer* observer = nullptr;  // the innermost
  const Site* site = nullptr;    // set only while somebody looks
  // What kernels/ has chosen for the thread, in float and double; null where it must ask again.
  std::array<const void*, 2> kernels = {};
};
[[gnu::tls_model("initial-exec")]] TAPEGRAD_EXPORT extern thread_local constinit Door door;

inline bool observed() { return door.observer != nullptr; }

/// Looks in on the thread that makes it, until it is destroyed; observers nest.
class TAPEGRAD_EXPORT Observer {
 public:
  Observer();
  Observer(const Observer&) = delete;
  virtual ~Observer();

  /// In place of a command; pass(command) runs it, and shows it to the observers around this one.
  virtual void command(const Command& command) { pass(command); }
  /// An operation has made a value; the site is the operation's.
  virtual void value(const Site& site, const Array& array);

  Observer* outer() const { return outer_; }

 protected:
  void pass(const Command& command);

 private:
  Observer* outer_;
};

/// While it lives the thread is at an operation of that name and line. What the rule of an operation calls is done for
/// that operation.
class AtSite {
 public:
  AtSite(const char* operation, const Caller& where, Site::Part part = Site::Part::value) : inside_(observed()) {
    if (inside_) [[unlikely]] {
      inside_ = !door.site || door.site->part == Site::Part::value;
      if (!inside_) return;
      site_ = {operation, where, part};
      before_ = std::exchange(door.site, &site_);
    }
  }
  AtSite(const AtSite&) = delete;
  ~AtSite() {
    if (inside_) [[unlikely]]
      door.site = before_;
  }

 private:
  // Unset while nobody looks, which costs nothing.
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

/// body(addresses...), with one for each operand.
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

/// For a number of operands that only running shows, while somebody looks: body(data), an address for each.
template <class Body>
void command_of(const char* name, std::span<const Command::Operand> operands, const Body& body) {
  observe({name, operands, [](const void* kept, void* const* data) { (*static_cast<const Body*>(kept))(data); }, &body,
           sizeof(Body), copy_of<Body>()});
}

}  // namespace tapegrad::detail
