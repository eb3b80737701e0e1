#pragma once
// The whole engine: tensors, operations, derivatives. Each header can also be included alone. The bridge to xtensor,
// xtensor.hpp, is not included: it would double the compile time.

#include "check.hpp"
#include "custom.hpp"
#include "debug_nans.hpp"
#include "dump.hpp"
#include "elementwise.hpp"
#include "error.hpp"
#include "jacobian.hpp"
#include "numpy_random.hpp"
#include "ops.hpp"
#include "profile.hpp"
#include "random.hpp"
#include "tensor.hpp"
#include "transforms.hpp"
