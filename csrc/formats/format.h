// How weights lie for the kernels of an instruction set. A kernel file may include this header.
#pragma once

#include <stddef.h>

namespace gru {

// Some gates of a matrix in which those of `all` gates stand one behind the other, each of `units` rows: `gates` of
// them, counted cyclically from `first`.
template <class T>
struct GateMatrices {
  const T* data;
  size_t all, first, gates;
  size_t units, columns;
};

// The right factor: [panel][k][gate][vector], `gates` vectors of units for each k. `chains` independent partial sums
// are kept over k; it is part of the order of summation, so it depends on the number of units only.
template <class W>
struct Panels {
  const W* data;
  ptrdiff_t panel_stride;
  size_t chains;
  size_t piece;  // of k, that tiles take turns at where there is one chain
  bool far;      // too large for a core's own caches
};

// Brings matrices of T into panels of W. The left factor of their products has as many elements as the matrices have
// columns, and the panels are of their units; or, with a `left_width`, it is itself [panel][gate][vector] of their
// units, panels of that width, and the panels are of their columns, as one gate. With a `left_width` of 1 it is a plain
// row.
template <class T, class W = T>
struct Format {
  size_t (*panel_size)(const GateMatrices<T>& from, size_t left_width);  // in elements
  void (*fill)(const GateMatrices<T>& from, size_t left_width, size_t first_panel, size_t last_panel, W* to);
};

}  // namespace gru
