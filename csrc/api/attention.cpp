#include "attention.h"

using namespace gru::api;

gn_status gn_attention_forward(gn_type type, const gn_memory* memory, size_t queries, const void* query, void* weights,
                               void* context, int threads, gn_error* error) {
  return guarded(error, [&] {
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      const auto own = memory_of<T>(memory);
      const size_t all = gru::product(queries, own.batch);
      attention_forward(own, queries, typed<const T>(query, "query", gru::product(all, own.key_size) > 0),
                        typed<T>(weights, "weights", gru::product(all, gru::product(own.heads, own.steps)) > 0),
                        typed<T>(context, "context", gru::product(all, own.value_size) > 0), checked_threads(threads));
    });
  });
}

gn_status gn_attention_backward(gn_type type, const gn_memory* memory, size_t queries, const void* query,
                                const void* weights, const void* d_context, void* d_query, void* d_keys, void* d_values,
                                void* d_score, int threads, gn_error* error) {
  return guarded(error, [&] {
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      const auto own = memory_of<T>(memory);
      const size_t all = gru::product(queries, own.batch), cells = gru::product(own.steps, own.batch);
      const bool has_keys = gru::product(all, own.key_size) > 0, has_values = gru::product(all, own.value_size) > 0;
      const gru::MemoryGradients<T> gradients{typed<T>(d_keys, "d_keys", gru::product(cells, own.key_size) > 0),
                                              typed<T>(d_values, "d_values", gru::product(cells, own.value_size) > 0),
                                              typed<T>(d_score, "d_score", own.score != nullptr)};
      const auto* const weight =
          typed<const T>(weights, "weights", gru::product(all, gru::product(own.heads, own.steps)) > 0);
      attention_backward(own, queries, typed<const T>(query, "query", has_keys), weight,
                         typed<const T>(d_context, "d_context", has_values), typed<T>(d_query, "d_query", has_keys),
                         gradients, checked_threads(threads));
    });
  });
}
