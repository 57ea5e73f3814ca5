#include "engine/elementwise.h"
#include "activations.h"
#include "checks.h"
#include "runtime/bandwidth.h"
#include "runtime/buffer.h"

namespace gru::api {

namespace {

// Each is 0 to limit - 1, or `exempt`. The functions leave out what becomes another one meanwhile.
void check_range(const int64_t* values, size_t count, size_t limit, int64_t exempt, const char* name) {
  for (size_t i = 0; i < count; ++i)
    if (values[i] != exempt && (values[i] < 0 || static_cast<size_t>(values[i]) >= limit))
      refuse(name, "0 to " + std::to_string(limit) + " (exclusive)", std::to_string(values[i]));
}

template <class T>
void apply(void (*function)(size_t, const T*, T*), size_t size, const void* x, void* y) {
  function(size, typed<const T>(x, "x", size > 0), typed<T>(y, "y", size > 0));
}

}  // namespace

}  // namespace gru::api

using namespace gru::api;

gn_status gn_embedding_backward(gn_type type, size_t rows, const int64_t* indices, const void* d_y, ptrdiff_t d_y_row,
                                size_t entries, size_t size, int64_t padding, void* d_weight, int threads,
                                gn_error* error) {
  return guarded(error, [&] {
    const auto* const index = typed<const int64_t>(indices, "indices", rows > 0);
    const int64_t skipped = std::max<int64_t>(padding, -1);
    check_range(index, rows, entries, skipped, "indices");
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      const auto* const from = typed<const T>(d_y, "d_y", gru::product(rows, size) > 0);
      auto* const to = typed<T>(d_weight, "d_weight", gru::product(entries, size) > 0);
      gru::embedding_backward<T>(rows, index, {from, d_y_row}, entries, size, skipped, to, checked_threads(threads));
    });
  });
}

gn_status gn_cross_entropy(gn_type type, size_t rows, size_t classes, const void* logits, const int64_t* targets,
                           int64_t ignore_index, double smoothing, double* losses, void* gradient, int threads,
                           gn_error* error) {
  return guarded(error, [&] {
    if (!(smoothing >= 0 && smoothing <= 1)) refuse("smoothing", "0 to 1", std::to_string(smoothing));
    const auto* const target = typed<const int64_t>(targets, "targets", rows > 0);
    check_range(target, rows, classes, ignore_index, "targets");
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      const auto* const from = typed<const T>(logits, "logits", gru::product(rows, classes) > 0);
      gru::softmax_cross_entropy(rows, classes, from, target, ignore_index, smoothing,
                                 typed<double>(losses, "losses", rows > 0), typed<T>(gradient, "gradient", false),
                                 checked_threads(threads));
    });
  });
}

gn_status gn_dropout(gn_type type, size_t size, const void* x, void* y, uint64_t key, double p, int threads,
                     gn_error* error) {
  return guarded(error, [&] {
    if (!(p >= 0 && p <= 1)) refuse("p", "0 to 1", std::to_string(p));
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      gru::dropout(size, typed<const T>(x, "x", size > 0), typed<T>(y, "y", size > 0), key, p,
                   checked_threads(threads));
    });
  });
}

gn_status gn_sigmoid(gn_type type, size_t size, const void* x, void* y, gn_error* error) {
  return guarded(error, [&] { for_type(type, [&](auto zero) { apply(gru::sigmoid<decltype(zero)>, size, x, y); }); });
}

gn_status gn_tanh(gn_type type, size_t size, const void* x, void* y, gn_error* error) {
  return guarded(error, [&] { for_type(type, [&](auto zero) { apply(gru::tanh<decltype(zero)>, size, x, y); }); });
}

gn_status gn_activate(gn_type type, const gn_activation* function, size_t size, const void* x, void* y, void* slope,
                      gn_error* error) {
  return guarded(error, [&] {
    if (!function) refuse("function", "an activation", "NULL");
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      const auto f = checked_activation<T>(*function, "function");
      gru::activate(f, size, typed<const T>(x, "x", size > 0), typed<T>(y, "y", size > 0),
                    typed<T>(slope, "slope", false));
    });
  });
}

gn_status gn_softmax(gn_type type, size_t rows, size_t size, const void* x, void* y, int threads, gn_error* error) {
  return guarded(error, [&] {
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      const bool needed = gru::product(rows, size) > 0;
      gru::softmax(rows, size, typed<const T>(x, "x", needed), typed<T>(y, "y", needed), checked_threads(threads));
    });
  });
}

gn_status gn_moments(gn_type type, size_t rows, size_t size, const void* x, double* means, double* variances,
                     gn_error* error) {
  return guarded(error, [&] {
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      gru::row_moments(rows, size, typed<const T>(x, "x", gru::product(rows, size) > 0),
                       typed<double>(means, "means", rows > 0), typed<double>(variances, "variances", rows > 0));
    });
  });
}

gn_status gn_read_seconds(size_t bytes, size_t repeats, int threads, double* seconds, gn_error* error) {
  return guarded(error, [&] {
    if (!seconds) refuse("seconds", "where to put them", "NULL");
    *seconds = gru::read_seconds(bytes, repeats, checked_threads(threads));
  });
}
