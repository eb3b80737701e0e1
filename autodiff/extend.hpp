#pragma once
// For libraries built on this one, such as nn: what they use in addition to the functions that everybody uses.

#include "core/loops.hpp"
#include "kernels/update.hpp"
#include "ops/softmax.hpp"
#include "tape/nan_watch.hpp"
