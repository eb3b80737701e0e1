#pragma once
// What errors say.

#include <string>
#include <tapegrad/autodiff/error.hpp>

/// What the error that `call` throws says; empty when it throws none.
inline std::string message_of(const auto& call) {
  try {
    call();
  } catch (const tapegrad::Error& error) {
    return error.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
