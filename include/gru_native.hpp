// gru_native.h for C++20: handles that are owned and can be moved, arrays that know their sizes, errors that are
// thrown.
//
// Arrays are contiguous ranges, such as std::vector, std::array and std::span. Classes have the functions of their
// handles; what these do and promise stands in gru_native.h. All others are called as call(gn_forward, &structure),
// with structures that sized<gn_call>() makes.
#ifndef GRU_NATIVE_HPP
#define GRU_NATIVE_HPP

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "gru_native.h"

namespace gru_native {

struct Error : std::runtime_error {
  Error(gn_status own_status, const std::string& own_argument, const std::string& message)
      : std::runtime_error(message), status(own_status), argument(own_argument) {}

  gn_status status;
  std::string argument;  // its name, or empty
};

// Calls function(arguments..., &error) of gru_native.h.
template <class Function, class... Arguments>
void call(Function function, Arguments... arguments) {
  gn_error error;
  error.size = sizeof error;
  const gn_status status = function(arguments..., &error);
  if (status != GN_OK) throw Error(status, error.argument, error.message);
}

template <class Structure>
Structure sized() {
  Structure made{};
  made.size = sizeof made;
  return made;
}

// The data of a range of so many elements; whether they are of the right type is asked beside it.
template <std::ranges::contiguous_range Range>
auto* data_of(Range&& range, const char* name, size_t size, bool is_right_type = true) {
  if (!is_right_type) throw Error(GN_INVALID, name, std::string(name) + ": expected another type of element");
  if (std::ranges::size(range) != size)
    throw Error(GN_INVALID, name,
                std::string(name) + ": expected " + std::to_string(size) + " elements, got " +
                    std::to_string(std::ranges::size(range)));
  return std::ranges::data(range);
}

template <class Range, class Element>
constexpr bool holds = std::same_as<std::ranges::range_value_t<Range>, Element>;

template <class Range>
bool holds_type(gn_type type) {
  return type == GN_FLOAT32 ? holds<Range, float> : holds<Range, double>;
}

using Bytes = std::vector<unsigned char>;

// What `create` makes. It is empty after it was moved from.
template <class T, auto destroy>
class Handle {
 public:
  T* get() const noexcept { return handle_.get(); }

 protected:
  template <class Create, class... Arguments>
  explicit Handle(Create create, Arguments... arguments) {
    T* made = nullptr;
    call(create, arguments..., &made);
    handle_.reset(made);
  }

 private:
  struct Destroy {
    void operator()(T* handle) const noexcept { destroy(handle); }
  };
  std::unique_ptr<T, Destroy> handle_;
};

struct File : Handle<gn_file, gn_file_destroy> {
  explicit File(const std::string& path) : Handle(gn_file_load, path.c_str()) {}
  explicit File(std::span<const unsigned char> content) : Handle(gn_file_read, content.data(), content.size()) {}

  gn_array array(const std::string& name) const {
    auto array = sized<gn_array>();
    call(gn_file_array, get(), name.c_str(), &array);
    return array;
  }
};

struct Model : Handle<gn_model, gn_model_destroy> {
  explicit Model(const File& file) : Handle(gn_model_create, file.get()) {}

  gn_model_info info() const {
    auto info = sized<gn_model_info>();
    call(gn_model_describe, get(), &info);
    return info;
  }
  gn_state state(size_t place) const {
    auto state = sized<gn_state>();
    call(gn_model_state, get(), place, &state);
    return state;
  }
  size_t snapshot_size(size_t rows) const {
    size_t bytes = 0;
    call(gn_snapshot_size, get(), rows, &bytes);
    return bytes;
  }
};

// What sessions and pools know of their model.
class Sizes {
 protected:
  Sizes(const Model& model, size_t snapshot_rows)
      : info_(model.info()), snapshot_size_(model.snapshot_size(snapshot_rows)) {}

  template <class X>
  const void* x_of(const X& x, size_t rows) const {
    const bool of_indices = info_.indices > 0;
    return data_of(x, "x", rows * (of_indices ? 1 : info_.input_size),
                   of_indices ? holds<X, int64_t> : holds_type<X>(info_.type));
  }
  template <class Y>
  void* y_of(Y& y, size_t rows) const {
    return data_of(y, "y", rows * info_.output_size, holds_type<Y>(info_.type));
  }

  gn_model_info info_;
  size_t snapshot_size_;
};

class Session : public Handle<gn_session, gn_session_destroy>, Sizes {
 public:
  explicit Session(const Model& model, size_t batch = 1)
      : Handle(gn_session_create, model.get(), batch), Sizes(model, batch), batch_(batch) {}

  template <class X, class Y>
  void step(const X& x, Y&& y) {
    call(gn_session_step, get(), x_of(x, batch_), y_of(y, batch_));
  }
  template <class X, class Y>
  void run(size_t steps, const X& x, Y&& y, int threads = 0) {
    call(gn_session_run, get(), steps, x_of(x, steps * batch_), y_of(y, steps * batch_), threads);
  }
  void reset() { call(gn_session_reset, get(), nullptr); }
  template <class Rows>
  void reset(const Rows& rows) {
    call(gn_session_reset, get(), data_of(rows, "rows", batch_, holds<Rows, bool>));
  }
  Bytes snapshot() {
    Bytes bytes(snapshot_size_);
    call(gn_session_snapshot, get(), bytes.data(), bytes.size());
    return bytes;
  }
  void restore(std::span<const unsigned char> from) { call(gn_session_restore, get(), from.data(), from.size()); }
  void update(const Model& model) { call(gn_session_update, get(), model.get()); }

 private:
  size_t batch_;
};

class Pool : public Handle<gn_pool, gn_pool_destroy>, Sizes {
 public:
  Pool(const Model& model, size_t capacity, size_t shards = 1)
      : Handle(gn_pool_create, model.get(), capacity, shards), Sizes(model, 1) {}

  uint64_t open(int shard = -1) {
    uint64_t id = 0;
    call(gn_pool_open, get(), shard, &id);
    return id;
  }
  void close(uint64_t id) { call(gn_pool_close, get(), id); }
  template <class X, class Y>
  void step(std::span<const uint64_t> ids, const X& x, Y&& y) {
    call(gn_pool_step, get(), ids.size(), ids.data(), x_of(x, ids.size()), y_of(y, ids.size()));
  }
  void reset(std::span<const uint64_t> ids) { call(gn_pool_reset, get(), ids.size(), ids.data()); }
  Bytes snapshot(uint64_t id) {
    Bytes bytes(snapshot_size_);
    call(gn_pool_snapshot, get(), id, bytes.data(), bytes.size());
    return bytes;
  }
  uint64_t restore(std::span<const unsigned char> from, int shard = -1) {
    uint64_t id = 0;
    call(gn_pool_restore, get(), from.data(), from.size(), shard, &id);
    return id;
  }
  void grow(size_t capacity) { call(gn_pool_grow, get(), capacity); }
  void update(const Model& model) { call(gn_pool_update, get(), model.get()); }
};

struct Weights : Handle<gn_weights, gn_weights_destroy> {
  explicit Weights(const gn_weights_options& options) : Handle(gn_weights_create, &options) {}
};

struct Linear : Handle<gn_linear, gn_linear_destroy> {
  Linear(gn_type type, size_t input_size, size_t output_size, const void* weight, const void* bias)
      : Handle(gn_linear_create, type, input_size, output_size, weight, bias) {}
};

}  // namespace gru_native

#endif
