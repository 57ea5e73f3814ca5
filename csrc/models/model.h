// A model for steps: layers one after the other, with weights that are packed for good.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "files/safetensors.h"
#include "files/sha256.h"
#include "models/stage.h"
#include "runtime/buffer.h"

namespace gru {

// What sessions ask of a model, whatever its weights.
struct ModelShape {
  size_t value_bytes = 0;
  size_t input_size = 0, output_size = 0;  // of a row
  size_t indices = 0;                      // of an embedding, when rows are its indices; else 0
  size_t state_size = 0;                   // of a row, in elements
  std::vector<StatePart> state_parts;
  size_t work = 0;  // see Stage

  bool operator==(const ModelShape&) const = default;
};

// Throws std::invalid_argument unless they are alike.
void check_same(const ModelShape& present, const ModelShape& next);

template <class T>
class Model {
 public:
  // Of a file that the Python package saved. Throws std::invalid_argument for what is no such model, or has a layer
  // that cannot go step by step.
  explicit Model(const Safetensors& file);

  const std::shared_ptr<const ModelShape>& shape() const { return shape_; }
  const Digest& digest() const { return digest_; }  // of configuration and arrays
  const T* table() const { return table_.data(); }  // of the embedding

  const std::vector<std::unique_ptr<const Stage<T>>>& stages() const { return stages_; }
  size_t state_offset(size_t stage) const { return offsets_[stage]; }

 private:
  std::shared_ptr<const ModelShape> shape_;
  std::vector<std::unique_ptr<const Stage<T>>> stages_;
  std::vector<size_t> offsets_;
  Buffer<T> table_;
  Digest digest_{};
};

// Where an index leads; throws std::invalid_argument when there is none.
template <class T>
const T* embedded(const Model<T>& model, int64_t index);

// Takes rows through all layers of a model: see Stepper. It keeps the model.
template <class T>
class ModelStepper {
 public:
  ModelStepper(std::shared_ptr<const Model<T>> model, size_t rows);

  size_t most_rows() const { return most_rows_; }
  void step(size_t rows, const T* const* x, T* const* states, T* const* y);

 private:
  std::shared_ptr<const Model<T>> model_;
  size_t most_rows_;
  std::vector<std::unique_ptr<Stepper<T>>> steppers_;
  Buffer<T> between_;        // what a layer gives to the next one
  std::vector<T*> rows_[2];  // of it
  std::vector<T*> state_rows_;
};

}  // namespace gru
