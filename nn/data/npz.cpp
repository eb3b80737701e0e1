#include "npz.hpp"

#include <zip.h>

#include <map>
#include <mutex>

#include "npy_format.hpp"

namespace tapegrad::nn {
namespace {

constexpr std::string_view suffix = ".npy";
constexpr std::size_t most_name_bytes = 0xffff;

using ZipPointer = std::unique_ptr<zip_t, decltype([](zip_t* archive) { zip_discard(archive); })>;
using MemberPointer = std::unique_ptr<zip_file_t, decltype([](zip_file_t* member) { zip_fclose(member); })>;

using SourcePointer = std::unique_ptr<zip_source_t, decltype([](zip_source_t* source) { zip_source_free(source); })>;

class ZipError {
 public:
  ZipError() { zip_error_init(&error_); }
  ZipError(const ZipError&) = delete;
  ~ZipError() { zip_error_fini(&error_); }
  zip_error_t* get() { return &error_; }
  std::string text() { return zip_error_strerror(&error_); }

 private:
  zip_error_t error_;
};

void write_all(zip_source_t* source, detail::Replacement& to) {
  if (zip_source_open(source) != 0) to.fail(zip_error_strerror(zip_source_error(source)));
  std::vector<char> block(std::size_t{1} << 20);
  zip_int64_t got = 0;
  while ((got = zip_source_read(source, block.data(), block.size())) > 0) {
    to.write(block.data(), static_cast<std::size_t>(got));
  }
  if (got < 0) to.fail(zip_error_strerror(zip_source_error(source)));
  zip_source_close(source);
}

class MemberInput : public detail::Input {
 public:
  MemberInput(std::string place, std::uint64_t size, MemberPointer member)
      : Input(std::move(place), size), member_(std::move(member)) {}

 private:
  std::size_t get(void* to, std::size_t bytes) override {
    const zip_int64_t got = zip_fread(member_.get(), to, bytes);
    if (got < 0) fail("the archive is damaged or cut off (" + std::string(zip_file_strerror(member_.get())) + ")");
    return static_cast<std::size_t>(got);
  }

  MemberPointer member_;
};

}  // namespace

struct Npz::Archive {
  std::string path;
  const char* caller = "read_npz";
  std::uint64_t bytes = 0;
  ZipPointer zip;
  std::vector<std::string> names;
  std::map<std::string, zip_uint64_t, std::less<>> members;
  std::mutex in_use;
};

Npz::Npz(const std::string& path, Caller where) : Npz(path, "read_npz", where) {}

Npz detail::open_npz(const std::string& path, const char* caller, const Caller& where) { return {path, caller, where}; }

Npz::Npz(const std::string& path, const char* function, const Caller& where) : archive_(std::make_shared<Archive>()) {
  const std::string caller = function + to_string(where);
  detail::OpenedFile opened(path, caller);
  archive_->path = path;
  archive_->caller = function;
  archive_->bytes = opened.size;
  auto fail = [&](const std::string& problem) {
    throw Error(caller + ": " + path + ", of " + std::to_string(opened.size) + " bytes, " + problem);
  };
  ZipError error;
  zip_source_t* source = zip_source_filep_create(opened.file.get(), 0, -1, error.get());
  if (!source) fail("cannot be read: " + error.text());
  static_cast<void>(opened.file.release());
  archive_->zip.reset(zip_open_from_source(source, ZIP_RDONLY, error.get()));
  if (!archive_->zip) {
    zip_source_free(source);
    fail("is no whole ZIP archive (" + error.text() + ")");
  }
  const zip_int64_t count = zip_get_num_entries(archive_->zip.get(), 0);
  for (zip_uint64_t i = 0; i < static_cast<zip_uint64_t>(count); ++i) {
    const char* file = zip_get_name(archive_->zip.get(), i, ZIP_FL_ENC_RAW);
    const std::string_view name = file ? file : "";
    if (!name.ends_with(suffix)) continue;
    const std::string key(name.substr(0, name.size() - suffix.size()));
    if (!archive_->members.emplace(key, i).second) fail("has two members \"" + detail::printable(name) + "\"");
    archive_->names.push_back(key);
  }
}

const std::vector<std::string>& Npz::names() const& { return archive_->names; }

bool Npz::contains(const std::string& name) const { return archive_->members.contains(name); }

template <class T>
Tensor<T> Npz::read(const std::string& name, Caller where) const {
  const auto found = archive_->members.find(name);
  if (found == archive_->members.end()) {
    std::vector<std::string> names;
    for (const std::string& known : archive_->names) names.push_back(detail::printable(known));
    throw ValueError(archive_->caller + to_string(where) + ": unknown array in " + archive_->path + ": \"" +
                     detail::printable(name) + "\"" + tapegrad::detail::known_names({names.begin(), names.end()}));
  }
  const std::lock_guard lock(archive_->in_use);
  zip_t* zip = archive_->zip.get();
  const std::string place =
      archive_->caller + to_string(where) + ": " + archive_->path + ", array " + detail::printable(name);
  zip_stat_t status;
  if (zip_stat_index(zip, found->second, 0, &status) != 0) throw Error(place + ": " + zip_strerror(zip));
  const bool stored = status.comp_method == ZIP_CM_STORE;
  if (!stored && status.comp_method != ZIP_CM_DEFLATE) {
    throw Error(place + ": packed by method " + std::to_string(status.comp_method) +
                ", where 0 (stored) or 8 (deflated) was expected");
  }
  if (status.comp_size > archive_->bytes ||
      status.size > (stored ? status.comp_size : status.comp_size * detail::most_expansion)) {
    throw Error(place + ": " + std::to_string(status.size) + " bytes out of " + std::to_string(status.comp_size) +
                " are announced, more than a file of " + std::to_string(archive_->bytes) + " bytes can hold");
  }
  MemberPointer member(zip_fopen_index(zip, found->second, 0));
  if (!member) throw Error(place + ": " + zip_strerror(zip));
  MemberInput input(place, status.size, std::move(member));
  return detail::read_elements<T>(input, detail::read_npy_header(input));
}

void write_npz(const std::string& path, const Named<AnyTensor>& arrays, const NpzOptions& options, Caller where) {
  detail::write_npz(path, arrays, options, "write_npz", where);
}

void detail::write_npz(const std::string& path, const Named<AnyTensor>& arrays, const NpzOptions& options,
                       const char* function, const Caller& where) {
  const std::string caller = function + to_string(where);
  detail::Replacement replacement(path, caller);
  if (arrays.empty()) {
    // The record that ends an archive. libzip does not write it for an empty archive.
    char end[22] = {'P', 'K', 5, 6};
    replacement.write(end, sizeof end);
    replacement.commit();
    return;
  }
  ZipError error;
  // The archive is built in memory: on the disk libzip would create a temporary file beside it, which would stay if the
  // process were killed.
  const SourcePointer bytes(zip_source_buffer_create(nullptr, 0, 0, error.get()));
  if (!bytes) replacement.fail(error.text());
  ZipPointer zip(zip_open_from_source(bytes.get(), ZIP_CREATE | ZIP_TRUNCATE, error.get()));
  if (!zip) replacement.fail(error.text());
  zip_source_keep(bytes.get());      // keeps it alive after the archive, which owns it from now on
  std::vector<std::string> headers;  // the archive refers to them until it is closed
  headers.reserve(arrays.size());
  for (const auto& [name, array] : arrays) {
    const std::string file = std::string(name) + std::string(suffix);
    const auto refuse = [&, name = name](const std::string& problem) {
      throw ValueError(caller + ": the name \"" + detail::printable(name) + "\" " + problem);
    };
    if (name.empty() || name.find('\0') != Name::npos) refuse("is empty or holds a zero byte");
    if (const std::size_t good = detail::utf8_prefix(name); good != name.size()) {
      refuse("is not UTF-8 from byte " + std::to_string(good) + " on; names in a .npz file are, so convert it");
    }
    if (file.size() > most_name_bytes) {
      refuse("has " + std::to_string(name.size()) + " bytes; an archive takes " +
             std::to_string(most_name_bytes - suffix.size()));
    }
    if (zip_name_locate(zip.get(), file.c_str(), 0) >= 0) {
      throw ValueError(caller + ": two arrays are named \"" + detail::printable(name) + '"');
    }
    zip_buffer_fragment_t parts[2];
    std::visit(
        [&]<class T>(const Tensor<T>& x) {
          headers.push_back(detail::npy_header(detail::npy_type<T>, x.shape()));
          parts[0] = {reinterpret_cast<zip_uint8_t*>(headers.back().data()), headers.back().size()};
          // The archive only reads through these pointers.
          parts[1] = {reinterpret_cast<zip_uint8_t*>(const_cast<T*>(tapegrad::detail::elements_of(x))),
                      static_cast<zip_uint64_t>(x.size()) * sizeof(T)};
        },
        array);
    zip_source_t* source = zip_source_buffer_fragment_create(parts, parts[1].length > 0 ? 2 : 1, 0, error.get());
    if (!source) replacement.fail(error.text());
    const zip_int64_t index = zip_file_add(zip.get(), file.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      replacement.fail(zip_strerror(zip.get()));
    }
    const auto at = static_cast<zip_uint64_t>(index);
    // The first date that ZIP can represent, so that equal arrays give equal files.
    constexpr zip_uint16_t first_of_1980 = 1 << 5 | 1;
    if (zip_set_file_compression(zip.get(), at, options.compress ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(zip.get(), at, 0, first_of_1980, 0) != 0) {
      replacement.fail(zip_strerror(zip.get()));
    }
  }
  if (zip_close(zip.get()) != 0) replacement.fail(zip_strerror(zip.get()));
  static_cast<void>(zip.release());
  write_all(bytes.get(), replacement);
  replacement.commit();
}

template Tensor<float> Npz::read(const std::string&, Caller) const;
template Tensor<double> Npz::read(const std::string&, Caller) const;
template Tensor<std::int64_t> Npz::read(const std::string&, Caller) const;
template Tensor<bool> Npz::read(const std::string&, Caller) const;

}  // namespace tapegrad::nn
