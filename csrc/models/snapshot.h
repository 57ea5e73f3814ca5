// The states of some rows as bytes, which name the model that they are of.
#pragma once

#include <cstddef>
#include <span>

#include "models/model.h"

namespace gru {

size_t snapshot_size(const ModelShape& shape, size_t rows);

// `to` has room for snapshot_size(...) bytes.
template <class T>
void write_snapshot(const Model<T>& model, std::span<T* const> states, unsigned char* to);

// Throws std::invalid_argument, before anything is changed, for bytes that are damaged, or of another model, another
// number of rows or another version.
template <class T>
void read_snapshot(const Model<T>& model, std::span<const unsigned char> from, std::span<T* const> states);

}  // namespace gru
