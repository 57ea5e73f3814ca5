#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <tuple>

#include "arrays.h"
#include "module.h"

namespace gru::bindings {

namespace {

// A tape as Python holds it: backward overwrites it, so it may be taken once, and with the weights that it was made
// for.
template <class T>
struct TapeHolder {
  std::shared_ptr<const RecurrentWeights<T>> weights;
  std::unique_ptr<RecurrentTape<T>> tape;
  std::atomic<bool> used{false};
};

constexpr const char* cell_names[cell_kinds] = {"gru_reset_after", "gru_reset_before", "lstm", "rnn_tanh", "rnn_relu"};

Cell cell_of(const std::string& name) {
  for (size_t i = 0; i < cell_kinds; ++i)
    if (name == cell_names[i]) return static_cast<Cell>(i);
  refuse("cell", "the name of one");
}

template <class T>
std::shared_ptr<RecurrentWeights<T>> pack(Cell cell, const py::array& weight_ih, const py::array& weight_hh,
                                          const OptionalArray& bias_ih, const OptionalArray& bias_hh, int threads) {
  const size_t input = axis_size(weight_ih, "weight_ih", 1), hidden = axis_size(weight_hh, "weight_hh", 1);
  if (hidden > SIZE_MAX / 8) throw std::bad_alloc();
  const size_t rows = shape_of(cell).gates * hidden;
  const T* ih = contiguous<const T>(weight_ih, "weight_ih", {rows, input});
  const T* hh = contiguous<const T>(weight_hh, "weight_hh", {rows, hidden});
  const T* b_ih = contiguous<const T>(bias_ih, "bias_ih", {rows});
  const T* b_hh = contiguous<const T>(bias_hh, "bias_hh", {rows});
  checked_threads(threads);
  auto owner = hold(py::make_tuple(weight_ih, weight_hh));
  py::gil_scoped_release release;
  return std::make_shared<RecurrentWeights<T>>(cell, input, hidden, ih, hh, b_ih, b_hh, std::move(owner), threads);
}

Steps steps_of(size_t steps, size_t batch, bool reverse, const OptionalArray& lengths, const OptionalArray& reset) {
  Steps call{steps, batch, reverse, contiguous<const int64_t>(lengths, "lengths", {batch}),
             flags(reset, "reset", steps, batch)};
  const auto fits = [&](int64_t length) { return 0 <= length && length <= static_cast<int64_t>(steps); };
  if (call.lengths && !std::all_of(call.lengths, call.lengths + batch, fits)) refuse("lengths", "0 to T");
  return call;
}

// The arrays of c, which only a cell that has one takes.
template <class E, class T>
Rows<E> c_rows(const RecurrentWeights<T>& weights, const OptionalArray& array, const char* name, size_t batch) {
  if (array && weights.shape.states < 2) refuse(name, "none for this cell");
  return rows<E>(array, name, batch, weights.hidden_size);
}

// p, whether it is random, and the key.
using ZoneoutTuple = std::tuple<double, bool, uint64_t>;

Zoneout zoneout_of(const ZoneoutTuple& zoneout, size_t states) {
  const auto [p, random, key] = zoneout;
  if (!(p >= 0 && p <= 1)) refuse("zoneout", "0 to 1");
  if (p > 0 && states > 1) refuse("zoneout", "none for this cell");
  return {p, random, key};
}

template <class T>
std::shared_ptr<TapeHolder<T>> forward(const std::shared_ptr<RecurrentWeights<T>>& weights, const py::array& x,
                                       const OptionalArray& h_0, const OptionalArray& c_0, const OptionalArray& lengths,
                                       const OptionalArray& reset, const OptionalArray& mask, const py::array& output,
                                       const py::array& h_n, const OptionalArray& c_n, bool reverse,
                                       const ZoneoutTuple& zoneout, const std::optional<std::string>& keep,
                                       int threads) {
  if (!weights) refuse("weights", "what a pack function returned, got None");
  const size_t steps = axis_size(x, "x", 0), batch = axis_size(x, "x", 1);
  const size_t I = weights->input_size, H = weights->hidden_size;
  RecurrentForward<T> call{};
  static_cast<Steps&>(call) = steps_of(steps, batch, reverse, lengths, reset);
  call.x = sequence<const T>(x, "x", steps, batch, I);
  call.h_0 = rows<const T>(h_0, "h_0", batch, H);
  call.c_0 = c_rows<const T>(*weights, c_0, "c_0", batch);
  call.mask = rows<const T>(mask, "mask", batch, H);
  call.output = sequence<T>(output, "output", steps, batch, H);
  call.h_n = rows<T>(h_n, "h_n", batch, H);
  call.c_n = c_rows<T>(*weights, c_n, "c_n", batch);
  call.zoneout = zoneout_of(zoneout, weights->shape.states);
  checked_threads(threads);
  if (keep && *keep != "gates" && *keep != "states") refuse("keep", "'gates' or 'states'");
  py::gil_scoped_release release;
  std::shared_ptr<TapeHolder<T>> holder;
  if (keep) {
    const Keep kept = *keep == "states" ? Keep::states : Keep::gates;
    holder.reset(new TapeHolder<T>{weights, std::make_unique<RecurrentTape<T>>(*weights, call, kept)});
  }
  recurrent_forward(*weights, call, holder ? holder->tape.get() : nullptr, threads);
  return holder;
}

template <class T>
void backward(const RecurrentWeights<T>& weights, TapeHolder<T>& holder, const py::array& x, const OptionalArray& h_0,
              const OptionalArray& lengths, const OptionalArray& reset, const OptionalArray& mask,
              const py::array& output, const OptionalArray& d_output, const OptionalArray& d_h_n,
              const OptionalArray& d_c_n, const OptionalArray& d_x, bool accumulate_d_x, const OptionalArray& d_h_0,
              const OptionalArray& d_c_0, const py::array& d_weight_ih, const py::array& d_weight_hh,
              const OptionalArray& d_bias_ih, const OptionalArray& d_bias_hh, bool reverse, const ZoneoutTuple& zoneout,
              int threads) {
  if (holder.weights.get() != &weights) refuse("tape", "the weights that it was made with");
  const size_t steps = holder.tape->steps, batch = holder.tape->batch;
  const size_t I = weights.input_size, H = weights.hidden_size, gates = weights.shape.gates * H;
  RecurrentBackward<T> call{};
  static_cast<Steps&>(call) = steps_of(steps, batch, reverse, lengths, reset);
  if (live_steps(call) != holder.tape->size) refuse("lengths", "those of the tape");
  call.x = sequence<const T>(x, "x", steps, batch, I);
  call.h_0 = rows<const T>(h_0, "h_0", batch, H);
  call.mask = rows<const T>(mask, "mask", batch, H);
  call.zoneout = zoneout_of(zoneout, weights.shape.states);
  call.output = sequence<const T>(output, "output", steps, batch, H);
  call.d_output = sequence<const T>(d_output, "d_output", steps, batch, H);
  call.d_h_n = rows<const T>(d_h_n, "d_h_n", batch, H);
  call.d_c_n = c_rows<const T>(weights, d_c_n, "d_c_n", batch);
  call.d_x = sequence<T>(d_x, "d_x", steps, batch, I);
  call.accumulate_d_x = accumulate_d_x;
  call.d_h_0 = rows<T>(d_h_0, "d_h_0", batch, H);
  call.d_c_0 = c_rows<T>(weights, d_c_0, "d_c_0", batch);
  call.d_weight_ih = contiguous<T>(d_weight_ih, "d_weight_ih", {gates, I});
  call.d_weight_hh = contiguous<T>(d_weight_hh, "d_weight_hh", {gates, H});
  call.d_bias_ih = contiguous<T>(d_bias_ih, "d_bias_ih", {gates});
  call.d_bias_hh = contiguous<T>(d_bias_hh, "d_bias_hh", {gates});
  checked_threads(threads);
  if (holder.used.exchange(true))
    throw std::runtime_error("tape: it was used by an earlier backward, which overwrites it; run forward again");
  py::gil_scoped_release release;
  recurrent_backward(weights, call, *holder.tape, threads);
}

template <class T>
void bind(py::module_& module, const char* weights_name, const char* tape_name) {
  py::class_<RecurrentWeights<T>, std::shared_ptr<RecurrentWeights<T>>>(module, weights_name, made_here())
      .def_readonly("input_size", &RecurrentWeights<T>::input_size)
      .def_readonly("hidden_size", &RecurrentWeights<T>::hidden_size)
      .def_readonly("has_bias_ih", &RecurrentWeights<T>::has_bias_ih)
      .def_readonly("has_bias_hh", &RecurrentWeights<T>::has_bias_hh)
      .def_property_readonly("dtype", [](const RecurrentWeights<T>&) { return py::dtype::of<T>(); })
      .def_property_readonly("cell",
                             [](const RecurrentWeights<T>& w) { return cell_names[static_cast<size_t>(w.cell)]; })
      .def_property_readonly("gates", [](const RecurrentWeights<T>& w) { return w.shape.gates; })
      .def_property_readonly("states", [](const RecurrentWeights<T>& w) { return w.shape.states; })
      .def_property_readonly("isa", [](const RecurrentWeights<T>& w) { return w.isa.name; })
      .def_property_readonly("address", [](const RecurrentWeights<T>& w) { return reinterpret_cast<uintptr_t>(&w); });
  py::class_<TapeHolder<T>, std::shared_ptr<TapeHolder<T>>>(module, tape_name, made_here())
      .def_property_readonly("nbytes", [](const TapeHolder<T>& holder) { return holder.tape->bytes(); });
  module.def("recurrent_forward", &forward<T>);
  module.def("recurrent_backward", &backward<T>);
}

py::object pack_recurrent(const std::string& name, const py::array& weight_ih, const py::array& weight_hh,
                          const OptionalArray& bias_ih, const OptionalArray& bias_hh, int threads) {
  const Cell cell = cell_of(name);
  if (weight_ih.dtype().equal(py::dtype::of<double>()))
    return py::cast(pack<double>(cell, weight_ih, weight_hh, bias_ih, bias_hh, threads));
  return py::cast(pack<float>(cell, weight_ih, weight_hh, bias_ih, bias_hh, threads));
}

}  // namespace

void bind_recurrent(py::module_& module) {
  bind<float>(module, "RecurrentWeights32", "RecurrentTape32");
  bind<double>(module, "RecurrentWeights64", "RecurrentTape64");
  module.def("pack_recurrent", &pack_recurrent);
}

}  // namespace gru::bindings
