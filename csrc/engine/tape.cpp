#include <algorithm>

#include "engine/recurrent.h"
#include "engine/summation.h"

namespace gru {

template <class T>
GateRows<T>::GateRows(const RecurrentWeights<T>& weights, size_t rows, T* memory)
    : lead_(static_cast<ptrdiff_t>(weights.cell.taped_lead * weights.kernels.vector)),
      row_stride_(static_cast<ptrdiff_t>(weights.cell.taped_slots * weights.kernels.vector)),
      // An odd number of rows to a panel: panels a power of two apart would share a few sets of the cache.
      panel_stride_(static_cast<ptrdiff_t>(rows | 1) * row_stride_),
      memory_(memory) {}

template <class T>
size_t GateRows<T>::size(const RecurrentWeights<T>& weights, size_t rows) {
  return product(product(rows | 1, weights.cell.taped_slots * weights.kernels.vector), weights.panels());
}

namespace {

template <class T>
size_t chunk_of(const RecurrentWeights<T>& weights, size_t times, size_t batch, Keep keep) {
  if (keep == Keep::gates) return std::max<size_t>(times, 1);
  const size_t hidden_bytes = weights.cell.gates * weights.hidden_size * weights.output_size * sizeof(T);
  const size_t row_bytes = weights.panels() * weights.cell.taped_slots * weights.kernels.vector * sizeof(T);
  const size_t chunk = chunk_of_tape(times, product(row_bytes, batch), hidden_bytes);
  constexpr size_t least_with_c = 4;  // or what is kept of c would be worth mentioning
  return weights.cell.states == 2 ? std::max(chunk, least_with_c) : chunk;
}

}  // namespace

template <class T>
RecurrentTape<T>::RecurrentTape(const RecurrentWeights<T>& weights, const Schedule& schedule_, Keep keep_, T* memory)
    : schedule(schedule_),
      keep(keep_),
      chunk(chunk_of(weights, schedule.times(), schedule.batch(), keep)),
      gates(keep == Keep::gates ? GateRows<T>(weights, schedule.size() + 1, memory) : GateRows<T>()),
      c(keep == Keep::states && weights.cell.states == 2 ? memory : nullptr) {}

template <class T>
size_t RecurrentTape<T>::size(const RecurrentWeights<T>& weights, size_t times, size_t batch, size_t indices,
                              Keep keep) {
  if (keep == Keep::gates) return GateRows<T>::size(weights, indices + 1);
  if (weights.cell.states == 1) return 0;
  const size_t chunk = chunk_of(weights, times, batch, keep);
  return product(product(weights.panels(), weights.kernels.vector), product((times + chunk - 1) / chunk, batch));
}

template <class T>
void copy_gate(const RecurrentWeights<T>& weights, const RecurrentTape<T>& tape, size_t gate, const Sequence<T>& out) {
  const Schedule& schedule = tape.schedule;
  const size_t width = weights.kernels.vector, H = weights.hidden_size;
  for (size_t place = 0; place < schedule.batch(); ++place) {
    const size_t b = schedule.row(place), length = schedule.length(place);
    for (size_t s = 0; s < length; ++s) {
      const T* from = tape.gates.row(schedule.index(s, place)) + gate * width;
      T* to = out.at(schedule.time(s, place), b);
      for (size_t unit = 0; unit < H; unit += width, from += tape.gates.panel_stride())
        std::copy_n(from, std::min(width, H - unit), to + unit);
    }
    for (size_t t = length; t < schedule.times(); ++t) std::fill_n(out.at(t, b), H, T(0));
  }
}

template class GateRows<float>;
template class GateRows<double>;
template class RecurrentTape<float>;
template class RecurrentTape<double>;
template void copy_gate(const RecurrentWeights<float>&, const RecurrentTape<float>&, size_t, const Sequence<float>&);
template void copy_gate(const RecurrentWeights<double>&, const RecurrentTape<double>&, size_t, const Sequence<double>&);

}  // namespace gru
