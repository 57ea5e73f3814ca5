// From the file of a model to its layers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "files/json.h"
#include "files/safetensors.h"
#include "files/sha256.h"
#include "gru_native.h"
#include "models/stages.h"
#include "runtime/buffer.h"

namespace gru {

// The configuration of a model's file, which holds it as JSON within JSON.
class ModelConfig {
 public:
  explicit ModelConfig(const Safetensors& file);
  const Json& layers() const { return *config_; }
  // "float32" or "float64", of the first layer that has one.
  const std::string& dtype() const;

 private:
  Json entry_;
  const Json* config_;
};

// What a file says of a model.
template <class T>
struct Layers {
  std::vector<std::unique_ptr<const Stage<T>>> stages;
  Buffer<T> table;  // of an embedding in front
  size_t indices = 0;
  Digest digest{};
};

template <class T>
class ModelBuilder {
 public:
  explicit ModelBuilder(const Safetensors& file) : file_(file) {}
  // Throws std::invalid_argument.
  Layers<T> build();

 private:
  using Options = Json::Object;

  // A layer and, of Sequential, those in it. `name` is its place, with a dot behind it.
  void add(const Json& layer, const std::string& name);
  void add_embedding(const Options& options, const std::string& name);
  void add_recurrent(const std::string& type, const Options& options, const std::string& name);
  void add_linear(const Options& options, const std::string& name);
  void add_convolution(const Options& options, const std::string& name);
  void add_layer_norm(const Options& options, const std::string& name);
  void add_batch_norm(const Options& options, const std::string& name);
  void add_stage(std::unique_ptr<const Stage<T>> stage, const std::string& name);

  size_t features() const;  // what the next layer takes; 0 in the first place
  // An array of the file, which must have this shape.
  const T* array(const std::string& name, const std::vector<size_t>& shape);
  std::vector<T> values(const std::string& name, size_t size);
  bool has(const std::string& name) const { return file_.arrays().find(name) != file_.arrays().end(); }

  const Safetensors& file_;
  Layers<T> made_;
  bool pooled_ = false;
  size_t arrays_used_ = 0;
};

}  // namespace gru
