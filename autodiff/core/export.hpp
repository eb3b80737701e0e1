#pragma once

#if __cplusplus < 202002L
#error "tapegrad needs C++20: compile with -std=c++20"
#endif

#define TAPEGRAD_EXPORT __attribute__((visibility("default")))
