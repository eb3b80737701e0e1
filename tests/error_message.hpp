#pragma once
// The messages of errors.

#include <string>
#include <tapegrad/autodiff/error.hpp>

/// The message of the error that `call` throws; empty if it throws none.
inline std::string message_of(const auto& call) {
  try {
    call();
  } catch (const tapegrad::Error& error) {
    return error.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
