#pragma once
// Arrays by name in NumPy's .npz files.
//
//     nn::write_npz("m.npz", {{"W", W}, {"labels", y}});     // np.load("m.npz")["W"]
//     const nn::Npz file = nn::read_npz("m.npz");            // np.savez("m.npz", W=W, labels=y)
//     Tensor<> W = file.read<double>("W");
//     Tensor<std::int64_t> y = file.read<std::int64_t>("labels");

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "../../autodiff/named.hpp"
#include "../../autodiff/tensor.hpp"

namespace tapegrad::nn {

using tapegrad::Name;
using tapegrad::Named;

class Npz;

namespace detail {

/// The same for another function, such as load or save, whose name is used in messages.
TAPEGRAD_EXPORT Npz open_npz(const std::string& path, const char* caller, const Caller& where);

}  // namespace detail

/// A .npz file open for reading; an array is read when it is asked for. Copies share the file, and so may threads.
class TAPEGRAD_EXPORT Npz {
 public:
  /// Throws Error if the file cannot be read or is not a ZIP archive.
  explicit Npz(const std::string& path, Caller where = Caller::here());

  /// The arrays' names, in the file's order.
  const std::vector<std::string>& names() const&;
  /// For a temporary a copy is returned, so that `for (... : read_npz(path).names())` works.
  std::vector<std::string> names() && { return std::as_const(*this).names(); }
  bool contains(const std::string& name) const;
  /// Reads the array of this name. Throws ValueError, listing the names, if there is none; otherwise throws as read_npy
  /// does.
  template <class T>
  Tensor<T> read(const std::string& name, Caller where = Caller::here()) const;

 private:
  friend Npz detail::open_npz(const std::string&, const char*, const Caller&);
  Npz(const std::string& path, const char* caller, const Caller& where);

  struct Archive;
  std::shared_ptr<Archive> archive_;
};

/// Opens what np.savez or np.savez_compressed has written.
inline Npz read_npz(const std::string& path, Caller where = Caller::here()) { return Npz(path, where); }

using AnyTensor = std::variant<Tensor<double>, Tensor<float>, Tensor<std::int64_t>, Tensor<bool>>;

struct NpzOptions {
  bool compress = false;  // deflate, as np.savez_compressed
};

/// Writes named tensors, exact to the bit. The same arrays give the same bytes. The file appears whole or not at all:
/// it is written under another name first, then renamed. No arrays make an empty archive, as np.savez does. Throws
/// ValueError for a name that is empty, repeated, not UTF-8 or too long for a ZIP archive, Error when the file cannot
/// be written.
TAPEGRAD_EXPORT void write_npz(const std::string& path, const Named<AnyTensor>& arrays, const NpzOptions& options = {},
                               Caller where = Caller::here());

namespace detail {

TAPEGRAD_EXPORT void write_npz(const std::string& path, const Named<AnyTensor>& arrays, const NpzOptions& options,
                               const char* caller, const Caller& where);

}  // namespace detail
}  // namespace tapegrad::nn
