#include "sampler.hpp"

#include <algorithm>
#include <string>

#include "dataset.hpp"

namespace tapegrad::nn::detail {

Sampler::Sampler(std::int64_t examples, const FitOptions& options, const Caller& where)
    : source_(options.batches.handle()  ? Source::list
              : options.steps_per_epoch ? Source::draw
                                        : Source::pass),
      examples_(examples),
      batch_size_(options.batch_size),
      steps_(options.steps_per_epoch.value_or(0)),
      shuffle_(options.shuffle),
      seed_(options.seed) {
  const auto refuse = [where](const std::string& what) { throw ValueError("fit" + to_string(where) + ": " + what); };
  const auto product = [&](std::int64_t a, std::int64_t b, const char* what) {
    std::int64_t n = 0;
    if (__builtin_mul_overflow(a, b, &n)) {
      refuse(std::to_string(a) + " times " + std::to_string(b) + " " + what + " are too many to count");
    }
    return n;
  };
  const std::int64_t first = options.initial_epoch.value_or(0);
  if (first < 0) refuse("initial_epoch is " + std::to_string(first));
  if (options.epochs < 0) refuse("epochs is " + std::to_string(options.epochs));
  if (batch_size_ < 1) refuse("batch_size is " + std::to_string(batch_size_));
  if (options.steps_per_epoch && steps_ < 1) refuse("steps_per_epoch is " + std::to_string(steps_));
  const std::int64_t epochs = std::max<std::int64_t>(options.epochs, 1);
  switch (source_) {
    case Source::list: {
      rows_ = options.batches;
      const Shape& shape = rows_.shape();
      if (shape.rank() != 2 || shape.count() == 0) {
        throw ShapeError("fit" + to_string(where) + ": batches is " + to_string(shape) +
                         "; it holds a row of indices for each step, (steps, batch)");
      }
      if (!options.steps_per_epoch) {
        if (shape[0] % epochs != 0) {
          refuse("the " + std::to_string(shape[0]) + " rows of batches do not divide into " + std::to_string(epochs) +
                 " epochs; give steps_per_epoch");
        }
        steps_ = shape[0] / epochs;
      }
      const std::int64_t needed = product(epochs, steps_, "steps");
      if (shape[0] < needed) {
        refuse("batches has " + std::to_string(shape[0]) + " rows, but " + std::to_string(epochs) + " epochs of " +
               std::to_string(steps_) + " steps need " + std::to_string(needed));
      }
      const auto check = [=](std::int64_t row, std::int64_t) {
        if (row >= 0 && row < examples) return;
        refuse("batches holds the index " + std::to_string(row) + ", with " + std::to_string(examples) + " examples");
      };
      tapegrad::detail::visit("batches", where, check, rows_);
      rows_of_epoch_ = product(steps_, shape[1], "examples");
      break;
    }
    case Source::draw:
      if (batch_size_ > examples_) {
        refuse("batch_size is " + std::to_string(batch_size_) + ", but there are only " + std::to_string(examples_) +
               " examples to draw from");
      }
      rows_of_epoch_ = product(steps_, batch_size_, "examples");
      rows_ = arange<std::int64_t>(static_cast<double>(examples_));
      swapped_.resize(static_cast<std::size_t>(batch_size_));
      break;
    case Source::pass:
      steps_ = (examples_ - 1) / batch_size_ + 1;
      rows_of_epoch_ = examples_;
  }
}

void Sampler::begin_epoch(std::int64_t epoch, std::int64_t trained) {
  step_ = source_ == Source::list ? epoch * steps_ : 0;
  rng_ = random::Generator(seed_, order_stream + static_cast<std::uint64_t>(trained));
  if (source_ == Source::pass && (shuffle_ || !rows_.handle())) {
    rows_ = shuffle_ ? rng_.permutation(examples_) : arange<std::int64_t>(0, static_cast<double>(examples_));
  }
}

// Draws the numbers of rng_.choice(examples_, batch_size_) in a time that does not depend on the number of examples:
// the swaps of the Fisher-Yates shuffle are undone in reverse order for the next draw.
Tensor<std::int64_t> Sampler::draw() {
  const auto swap = [this](std::int64_t* all, std::int64_t* out) {
    for (std::int64_t i = 0; i < batch_size_; ++i) {
      const std::int64_t other = i + rng_.below(examples_ - i);
      std::swap(all[i], all[other]);
      swapped_[static_cast<std::size_t>(i)] = other;
      out[i] = all[i];
    }
    for (std::int64_t i = batch_size_; i-- > 0;) std::swap(all[i], all[swapped_[static_cast<std::size_t>(i)]]);
  };
  return tapegrad::detail::tensor_of<std::int64_t>({batch_size_}, "draw", {}, swap,
                                                   tapegrad::detail::updated(rows_, {}));
}

Tensor<std::int64_t> Sampler::next() {
  const std::int64_t step = step_++;
  switch (source_) {
    case Source::list:
      return reshape(slice(rows_, 0, step, step + 1, 1, Caller{}), {rows_.shape()[1]}, Caller{});
    case Source::draw:
      return draw();
    case Source::pass:
      break;
  }
  return slice(rows_, 0, step * batch_size_, (step + 1) * batch_size_, 1, Caller{});
}

}  // namespace tapegrad::nn::detail
