#include "command.hpp"

#include <vector>

namespace tapegrad::detail {

constinit thread_local Door door;

namespace {

// Hides the observers while a body runs: the commands that it starts are part of it.
class Unobserved {
 public:
  Unobserved() : before_(door) { door = {.site = before_.site}; }
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

Observer::Observer() : outer_(door.observer) { door = {.observer = this, .site = door.site}; }

Observer::~Observer() { door = {.observer = outer_, .site = outer_ ? door.site : nullptr}; }

void Observer::pass(const Command& command) { outer_ ? outer_->command(command) : run(command); }

void Observer::value(const Site& site, const Array& array) {
  if (outer_) outer_->value(site, array);
}

void observe(const Command& command) { door.observer ? door.observer->command(command) : run(command); }

}  // namespace tapegrad::detail
