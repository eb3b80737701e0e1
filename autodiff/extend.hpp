#pragma once
// For libraries that stand on this one, as nn does: what they use beside the functions that everybody does.

#include "core/loops.hpp"
#include "kernels/update.hpp"
#include "ops/softmax.hpp"
#include "tape/nan_watch.hpp"
