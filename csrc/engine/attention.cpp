#include "engine/attention.h"

#include <algorithm>

#include "engine/elementwise.h"
#include "engine/plan.h"
#include "kernels/dispatch.h"
#include "runtime/buffer.h"
#include "runtime/team.h"

namespace gru {

template <class T>
size_t Attention<T>::work() const {
  return m_.steps * (m_.key_size * (m_.score ? activation_work : 1) + m_.value_size + m_.heads * activation_work);
}

template <class T>
template <class E>
RowBlock<E> Attention<T>::part(E* all, size_t row, size_t head, size_t size) const {
  return {all + row * m_.steps * size + head * (size / m_.heads), static_cast<ptrdiff_t>(size), length(row),
          size / m_.heads};
}

template <class T>
void Attention<T>::attend(size_t row, const T* query, T* weights, T* context) const {
  const size_t steps = length(row);
  for (size_t head = 0; head < m_.heads; ++head, weights += m_.steps) {
    const RowBlock<const T> keys = part(m_.keys, row, head, m_.key_size);
    const RowBlock<const T> values = part(m_.values, row, head, m_.value_size);
    const size_t from = head * keys.columns;
    if (m_.score)
      kernels_.tanh_products(keys, query + from, m_.score + from, weights);
    else
      kernels_.row_products(keys, query + from, weights);
    if (steps > 0) softmax_row(kernels_, steps, weights, weights);
    std::fill(weights + steps, weights + m_.steps, T(0));
    kernels_.weighted_rows(values, weights, context + head * values.columns);
  }
}

template <class T>
void Attention<T>::backward(size_t row, const T* query, const T* weights, const T* d_context, T* d_query,
                            const RowGradients& add, T* room) const {
  const size_t steps = length(row);
  std::fill_n(d_query, m_.key_size, T(0));
  for (size_t head = 0; head < m_.heads; ++head, weights += m_.steps) {
    const RowBlock<const T> keys = part(m_.keys, row, head, m_.key_size);
    const RowBlock<const T> values = part(m_.values, row, head, m_.value_size);
    const RowBlock<T> d_keys{add.keys + head * keys.columns, keys.row, steps, keys.columns};
    const RowBlock<T> d_values{add.values + head * values.columns, values.row, steps, values.columns};
    const size_t from = head * keys.columns;
    const T* const own = d_context + head * values.columns;
    kernels_.row_products(values, own, room);
    kernels_.add_to_rows(d_values, weights, own);
    T mean = 0;
    for (size_t s = 0; s < steps; ++s) mean += weights[s] * room[s];
    for (size_t s = 0; s < steps; ++s) room[s] = weights[s] * (room[s] - mean);
    if (m_.score) {
      kernels_.tanh_products_backward(keys, query + from, m_.score + from, room, d_keys, d_query + from,
                                      add.score + from);
    } else {
      kernels_.weighted_rows(keys, room, d_query + from);
      kernels_.add_to_rows(d_keys, room, query + from);
    }
  }
}

template <class T>
void sum_of_scores(const AttendedMemory<T>& memory, const T* of_rows, T* sum) {
  std::fill_n(sum, memory.key_size, T(0));
  for (size_t row = 0; row < memory.batch; ++row, of_rows += memory.key_size)
    for (size_t i = 0; i < memory.key_size; ++i) sum[i] += of_rows[i];
}

template <class T>
void attention_forward(const AttendedMemory<T>& memory, size_t queries, const T* query, T* weights, T* context,
                       int threads) {
  const Call mark;
  const Attention<T> attention(kernels_of<T>(active_isa()), memory);
  const size_t all = queries * memory.batch;
  int members = plan_members(all * attention.work(), all, threads);
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    // The queries to a row one after the other, while it is in cache.
    const Part part = part_of(all, member, members);
    for (size_t i = part.first; i < part.last; ++i) {
      const size_t row = i / queries, at = i % queries * memory.batch + row;
      attention.attend(row, query + at * memory.key_size, weights + at * memory.heads * memory.steps,
                       context + at * memory.value_size);
      progress.add(attention.work());
    }
  };
  if (!run_team(members, work)) run_team(members = 1, work);
}

template <class T>
void attention_backward(const AttendedMemory<T>& memory, size_t queries, const T* query, const T* weights,
                        const T* d_context, T* d_query, const MemoryGradients<T>& gradients, int threads) {
  const Call mark;
  const Attention<T> attention(kernels_of<T>(active_isa()), memory);
  const size_t A = memory.key_size, M = memory.value_size, S = memory.steps;
  int members = plan_members(2 * queries * memory.batch * attention.work(), memory.batch, threads);
  const Buffer<T> room(product(static_cast<size_t>(members), S)), scores(memory.score ? product(memory.batch, A) : 0);
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    const Part part = part_of(memory.batch, member, members);
    for (size_t row = part.first; row < part.last; ++row) {
      const typename Attention<T>::RowGradients own{gradients.keys + row * S * A, gradients.values + row * S * M,
                                                    memory.score ? scores.data() + row * A : nullptr};
      std::fill_n(own.keys, S * A, T(0));
      std::fill_n(own.values, S * M, T(0));
      if (own.score) std::fill_n(own.score, A, T(0));
      for (size_t t = 0; t < queries; ++t) {
        const size_t at = t * memory.batch + row;
        attention.backward(row, query + at * A, weights + at * memory.heads * S, d_context + at * M, d_query + at * A,
                           own, room.data() + static_cast<size_t>(member) * S);
        progress.add(2 * attention.work());
      }
    }
  };
  if (!run_team(members, work)) run_team(members = 1, work);
  if (memory.score) sum_of_scores(memory, scores.data(), gradients.score);
}

template class Attention<float>;
template class Attention<double>;
template void sum_of_scores(const AttendedMemory<float>&, const float*, float*);
template void sum_of_scores(const AttendedMemory<double>&, const double*, double*);
template void attention_forward(const AttendedMemory<float>&, size_t, const float*, float*, float*, int);
template void attention_forward(const AttendedMemory<double>&, size_t, const double*, double*, double*, int);
template void attention_backward(const AttendedMemory<float>&, size_t, const float*, const float*, const float*, float*,
                                 const MemoryGradients<float>&, int);
template void attention_backward(const AttendedMemory<double>&, size_t, const double*, const double*, const double*,
                                 double*, const MemoryGradients<double>&, int);

}  // namespace gru
