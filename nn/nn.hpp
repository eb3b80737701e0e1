#pragma once
// Networks on top of the engine: layers, losses, training. Each header can also be included alone.

#include "activations.hpp"
#include "compare_output_delta.hpp"
#include "data/csv.hpp"
#include "data/npy.hpp"
#include "data/npz.hpp"
#include "history.hpp"
#include "initializers.hpp"
#include "layer.hpp"
#include "layers.hpp"
#include "losses.hpp"
#include "metrics.hpp"
#include "optimizers.hpp"
#include "output_delta.hpp"
#include "plot.hpp"
#include "regularizers.hpp"
#include "sequential.hpp"
