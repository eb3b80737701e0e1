#pragma once
// A function recorded at a point, and its Jacobian, which is found from the structure of the records or by sweeps.

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "../jacobian.hpp"
#include "../structure/terms.hpp"

namespace tapegrad::detail {

using Table = std::vector<Handle, PoolAllocator<Handle>>;

// Runs something once, on whichever thread comes first. Asking again costs one load.
class Once {
 public:
  bool done() const { return done_.load(std::memory_order_acquire); }
  template <class F>
  void operator()(F&& f) {
    if (done()) return;
    const std::lock_guard lock(mutex_);
    if (done()) return;
    f();
    done_.store(true, std::memory_order_release);
  }

 private:
  std::atomic<bool> done_{false};
  std::mutex mutex_;
};

// A recorded function; the Jacobians by each of its inputs share it.
template <Real T>
struct Recorded {
  explicit Recorded(Recording recording) : own(std::move(recording)) {}
  explicit Recorded(std::shared_ptr<const Recorded> first_output) : before(std::move(first_output)) {}

  Recording own;                           // unless the function has outputs before this one
  std::shared_ptr<const Recorded> before;  // the first of them, whose recording it is then
  Tensor<T> output;                        // in its scope
  Tensor<T> value;                         // as the scope around it sees it
  // The adjoints of all inputs, with one seed for each element of the output in front.
  Once swept;
  Table adjoints;

  const Recording& recording() const { return before ? before->own : own; }
};

template <Real T>
struct Linearization {
  // Written out, since an aggregate would be zeroed as a whole before its members are made.
  Linearization(const Shape& output, const Shape& input_shape, bool by_rows)
      : out(output), in(input_shape), batched(by_rows) {}

  std::shared_ptr<Recorded<T>> function;  // null if the Jacobian was made from terms or a matrix
  std::size_t input = 0;
  Shape out, in;
  bool batched;
  BatchAxes axes = {};
  Sweep wanted = Sweep::automatic;

  // Results are kept, unless they are recorded in a scope that may close before this object is used again.
  Once searched, formed;
  std::optional<Structured> structured;
  Tensor<T> matrix;

  Blocks blocks() const {
    if (batched) return {out[0], out[1], in[1]};
    return {1, out.count(), in.count()};
  }
  Shape full_shape() const { return batched ? Shape{out[0], out[1], in[1]} : out.concat(in); }

  std::optional<Structured> search(bool columns_allowed, Lost* lost = nullptr) const;
  // Returns null if there is no structure. `own` receives a result that is not kept.
  const Structured* structure(std::optional<Structured>& own);
  Tensor<T> dense();
  Sweep sweep() const;
  // J v or J^T v.
  Tensor<T> product(const Tensor<T>& v, bool transposed, const Caller& where);

 private:
  const Tensor<T>& kept_sweep();
  // Whether so few seeds are needed, for a matrix that can hardly be a diagonal plus a few terms, that looking for
  // structure would cost more.
  bool few_seeds() const;
  Tensor<T> swept() const;
  Tensor<T> swept_forward() const;
  Tensor<T> swept_reverse() const;
  Table all_adjoints() const;
  // Seed j is row j of the identity, the same for every row of the batch.
  Tensor<T> shared_seeds(std::int64_t size) const;
  Tensor<T> swept_product(const Tensor<T>& v, bool transposed, const Caller& where) const;
  Tensor<T> matrix_product(const Tensor<T>& v, bool transposed, const Caller& where) const;
};

}  // namespace tapegrad::detail
