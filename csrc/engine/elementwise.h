// Losses and layers that are no products.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/views.h"
#include "kernels/table.h"

namespace gru {

// d_weight (V, E) = 0, then d_weight[indices[i]] += d_y[i] in the order of i, for 0 <= indices[i] < V; rows of
// `padding` stay 0 (none when it is negative).
template <class T>
void embedding_backward(size_t rows, const int64_t* indices, Rows<const T> d_y, size_t entries, size_t size,
                        int64_t padding, T* d_weight, int threads);

// Row by row: loss = -sum_c q_c log softmax(logits)_c, where q is 1 - smoothing at the target plus smoothing / C
// everywhere, and gradient = softmax(logits) - q. Ignored rows give zeros. `gradient` may be null, or logits' own rows.
template <class T>
void softmax_cross_entropy(size_t rows, size_t classes, const T* logits, const int64_t* targets, int64_t ignore_index,
                           double smoothing, double* losses, T* gradient, int threads);

// y = x / (1 - p) but for elements that are zeroed with probability p (0 to 1); which ones is a function of the key,
// their place and p alone. y may be x.
template <class T>
void dropout(size_t size, const T* x, T* y, uint64_t key, double p, int threads);

// Mean and biased variance of a row, summed in float64; subnormal numbers count.
struct Moments {
  double mean, variance;
};
template <class T>
Moments moments(size_t size, const T* x);
// Of rows that follow each other.
template <class T>
void row_moments(size_t rows, size_t size, const T* x, double* means, double* variances);

template <class T>
void sigmoid(size_t size, const T* x, T* y);
template <class T>
void tanh(size_t size, const T* x, T* y);
// y = f(x), and its slope, which may be null.
template <class T>
void activate(const Activation<T>& f, size_t size, const T* x, T* y, T* slope);

// Row by row, y = exp(x) / sum of exp(x).
template <class T>
void softmax(size_t rows, size_t size, const T* x, T* y, int threads);
template <class T>
void softmax_row(const Kernels<T>& kernels, size_t size, const T* x, T* y);

}  // namespace gru
