#include "command.hpp"

#include <cstdio>
#include <exception>
#include <vector>

namespace tapegrad::detail {

constinit thread_local Door door;

namespace {

// Hides the observers while a body runs: the commands that it starts are part of it.
class Unobserved {
 public:
  Unobserved() : before_(door) { door = {.site = before_.site, .line = before_.line}; }
  Unobserved(const Unobserved&) = delete;
  ~Unobserved() { door = before_; }

 private:
  Door before_;
};

void run(const Command& command) {
  const Unobserved unobserved;
  std::vector<void*> data;
  for (const Command::Operand& operand : command.operands) data.push_back(operand.data);
  command.call(command.body, data.data());
}

}  // namespace

Observer::Observer() : outer_(door.observer) { door = {.observer = this, .site = door.site, .line = door.line}; }

Observer::~Observer() {
  if (door.observer == this) {
    door = {.observer = outer_, .site = outer_ ? door.site : nullptr, .line = door.line};
    return;
  }
  // Not the innermost: those inside it look on.
  Observer* inside = door.observer;
  while (inside && inside->outer_ != this) inside = inside->outer_;
  if (!inside) {
    std::fputs("tapegrad: an observer, such as debug_nans(), must be destroyed on the thread that made it\n", stderr);
    std::terminate();
  }
  inside->outer_ = outer_;
}

void Observer::pass(const Command& command) { outer_ ? outer_->command(command) : run(command); }

void Observer::value(const Site& site, const Array& array) {
  if (outer_) outer_->value(site, array);
}

void observe(const Command& command) { door.observer ? door.observer->command(command) : run(command); }

}  // namespace tapegrad::detail
