// Models in files, as the Python package saves them, and handles that are destroyed with their owners.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gru_native.h"
#include "problem.h"

namespace gru::tests {

template <auto destroy>
struct Destroyed {
  template <class Handle>
  void operator()(Handle* handle) const {
    destroy(handle);
  }
};
using FileHandle = std::unique_ptr<gn_file, Destroyed<gn_file_destroy>>;
using ModelHandle = std::unique_ptr<gn_model, Destroyed<gn_model_destroy>>;
using SessionHandle = std::unique_ptr<gn_session, Destroyed<gn_session_destroy>>;
using PoolHandle = std::unique_ptr<gn_pool, Destroyed<gn_pool_destroy>>;

// A file: what stands in its header, and behind it the arrays' bytes.
inline std::string file_of(const std::string& header, const std::string& data = "") {
  std::string content;
  for (size_t i = 0; i < 8; ++i) content.push_back(static_cast<char>(header.size() >> 8 * i & 0xff));
  return content + header + data;
}

inline FileHandle read(const std::string& content) {
  gn_file* file = nullptr;
  must(gn_file_read(content.data(), content.size(), &file, error()));
  return FileHandle(file);
}

inline ModelHandle model_of(const std::string& content) {
  gn_model* model = nullptr;
  must(gn_model_create(read(content).get(), &model, error()));
  return ModelHandle(model);
}

inline SessionHandle session_of(const ModelHandle& model, size_t batch) {
  gn_session* session = nullptr;
  must(gn_session_create(model.get(), batch, &session, error()));
  return SessionHandle(session);
}

inline PoolHandle pool_of(const ModelHandle& model, size_t capacity, size_t shards) {
  gn_pool* pool = nullptr;
  must(gn_pool_create(model.get(), capacity, shards, &pool, error()));
  return PoolHandle(pool);
}

// Texts and numbers, one behind the other.
template <class... Parts>
std::string joined(const Parts&... parts) {
  std::string made;
  const auto append = [&](const auto& part) {
    if constexpr (std::is_same_v<decltype(part), const size_t&>)
      made.append(std::to_string(part));
    else
      made.append(part);
  };
  (append(parts), ...);
  return made;
}

// Layers one behind the other, with drawn numbers.
template <class T>
class ModelFile {
 public:
  // `entries` of an embedding in front; 0 for none.
  explicit ModelFile(size_t inputs, size_t entries = 0, unsigned seed = 1) : size_(inputs), seed_(seed) {
    if (entries == 0) return;
    add(joined(R"({"type":"Embedding","num_embeddings":)", entries, R"(,"embedding_dim":)", inputs, ",", dtype(), "}"));
    array("weight", {entries, inputs});
    ++layers_;
  }

  ModelFile& gru(size_t hidden) {
    return recurrent("GRU", hidden, 3, R"("zoneout":0,"reset_after":true,"layer_norm":false,)" + activations());
  }
  ModelFile& lstm(size_t hidden) {
    return recurrent("LSTM", hidden, 4, R"("peepholes":false,"input_forget":false,"proj_size":0,)" + activations());
  }
  ModelFile& linear(size_t outputs) {
    add(joined(R"({"type":"Linear","in_features":)", size_, R"(,"out_features":)", outputs, R"(,"bias":true,)", dtype(),
               "}"));
    array("bias", {outputs});
    array("weight", {outputs, size_});
    return next(outputs);
  }
  ModelFile& norm() {
    add(joined(R"({"type":"LayerNorm","normalized_shape":[)", size_,
               R"(],"eps":1e-5,"elementwise_affine":true,"bias":true,)", dtype(), "}"));
    array("bias", {size_});
    array("weight", {size_});
    return next(size_);
  }
  ModelFile& mean() {
    add(R"({"type":"MeanPooling","batch_first":false})");
    return next(size_);
  }

  std::string content() const {
    const std::string entry =
        joined(R"({\"format\":1,\"config\":{\"type\":\"Sequential\",\"layers\":{)", escaped(configs_), "}}}");
    return file_of(joined(R"({"__metadata__":{"gru_native":")", entry, "\"}", described_, "}"), data_);
  }

 private:
  static std::string dtype() { return sizeof(T) == 4 ? R"("dtype":"float32")" : R"("dtype":"float64")"; }
  static std::string activations() { return R"("activation":"tanh","recurrent_activation":"sigmoid","clip":null)"; }
  static std::string escaped(const std::string& text) {
    std::string made;
    for (const char c : text) made += c == '"' ? std::string("\\\"") : std::string(1, c);
    return made;
  }

  ModelFile& recurrent(const std::string& type, size_t hidden, size_t gates, const std::string& own) {
    add(joined(R"({"type":")", type, R"(","input_size":)", size_, R"(,"hidden_size":)", hidden,
               R"(,"num_layers":1,"bias":true,"bidirectional":false,"direction":"forward",)", own, ",", dtype(), "}"));
    array("bias_hh_l0", {gates * hidden});
    array("bias_ih_l0", {gates * hidden});
    array("weight_hh_l0", {gates * hidden, hidden});
    array("weight_ih_l0", {gates * hidden, size_});
    return next(hidden);
  }

  void add(const std::string& config) { configs_ += joined(layers_ > 0 ? ",\"" : "\"", layers_, "\":", config); }
  ModelFile& next(size_t size) {
    size_ = size;
    ++layers_;
    return *this;
  }
  void array(const std::string& name, const std::vector<size_t>& shape) {
    size_t count = 1;
    std::string sizes;
    for (const size_t size : shape) {
      count *= size;
      sizes += joined(sizes.empty() ? "" : ",", size);
    }
    const size_t begin = data_.size(), end = begin + count * sizeof(T);
    described_ += joined(",\"", layers_, ".", name, R"(":{"dtype":")", sizeof(T) == 4 ? "F32" : "F64", R"(","shape":[)",
                         sizes, R"(],"data_offsets":[)", begin, ",", end, "]}");
    const std::vector<T> numbers = draw<T>(count, seed_++, 0.3);
    data_.append(reinterpret_cast<const char*>(numbers.data()), count * sizeof(T));
  }

  size_t size_, layers_ = 0;
  unsigned seed_;
  std::string configs_, described_, data_;
};

}  // namespace gru::tests
