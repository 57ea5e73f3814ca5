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

constexpr const char* cell_names[cell_kinds] = {"gru_reset_after", "gru_reset_before", "gru_layer_norm", "lstm",
                                                "rnn_tanh",        "rnn_relu"};

Cell cell_of(const std::string& name) {
  for (size_t i = 0; i < cell_kinds; ++i)
    if (name == cell_names[i]) return static_cast<Cell>(i);
  refuse("cell", "the name of one");
}

// weight_ih, weight_hh, bias_ih, bias_hh, gamma_ih, gamma_hh, or their gradients.
using Arrays = std::tuple<py::array, py::array, OptionalArray, OptionalArray, OptionalArray, OptionalArray>;

template <class E>
RecurrentParameters<E> parameters_of(const Arrays& arrays, Cell cell, size_t input, size_t hidden) {
  const auto& [weight_ih, weight_hh, bias_ih, bias_hh, gamma_ih, gamma_hh] = arrays;
  const size_t rows = shape_of(cell).gates * hidden;
  const bool normalized = cell == Cell::gru_layer_norm;
  if (normalized != gamma_ih.has_value()) refuse("gamma_ih", normalized ? "an array" : "none for this cell");
  if (normalized != gamma_hh.has_value()) refuse("gamma_hh", normalized ? "an array" : "none for this cell");
  return {contiguous<E>(weight_ih, "weight_ih", {rows, input}),
          contiguous<E>(weight_hh, "weight_hh", {rows, hidden}),
          contiguous<E>(bias_ih, "bias_ih", {rows}),
          contiguous<E>(bias_hh, "bias_hh", {rows}),
          contiguous<E>(gamma_ih, "gamma_ih", {rows}),
          contiguous<E>(gamma_hh, "gamma_hh", {rows})};
}

template <class T>
std::shared_ptr<RecurrentWeights<T>> pack(Cell cell, const Arrays& arrays) {
  const auto& weight_ih = std::get<0>(arrays);
  const auto& weight_hh = std::get<1>(arrays);
  const size_t input = axis_size(weight_ih, "weight_ih", 1), hidden = axis_size(weight_hh, "weight_hh", 1);
  if (hidden > SIZE_MAX / 8) throw std::bad_alloc();
  const auto parameters = parameters_of<const T>(arrays, cell, input, hidden);
  auto owner = hold(py::make_tuple(weight_ih, weight_hh));
  py::gil_scoped_release release;
  return std::make_shared<RecurrentWeights<T>>(cell, input, hidden, parameters, std::move(owner));
}

Steps steps_of(size_t steps, size_t batch, bool reverse, const OptionalArray& lengths, const OptionalArray& reset) {
  return {steps, batch, reverse, contiguous<const int64_t>(lengths, "lengths", {batch}),
          flags(reset, "reset", steps, batch)};
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
  const Steps sequences = steps_of(steps, batch, reverse, lengths, reset);
  RecurrentForward<T> call{};
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
  const Schedule schedule(sequences);
  std::shared_ptr<TapeHolder<T>> holder;
  if (keep) {
    const Keep kept = *keep == "states" ? Keep::states : Keep::gates;
    holder.reset(new TapeHolder<T>{weights, std::make_unique<RecurrentTape<T>>(*weights, schedule, kept)});
  }
  recurrent_forward(*weights, schedule, call, holder ? holder->tape.get() : nullptr, threads);
  return holder;
}

template <class T>
void backward(const RecurrentWeights<T>& weights, TapeHolder<T>& holder, const py::array& x, const OptionalArray& h_0,
              const OptionalArray& mask, const py::array& output, const OptionalArray& d_output,
              const OptionalArray& d_h_n, const OptionalArray& d_c_n, const OptionalArray& d_x, bool accumulate_d_x,
              const OptionalArray& d_h_0, const OptionalArray& d_c_0, const Arrays& gradients,
              const ZoneoutTuple& zoneout, int threads) {
  if (holder.weights.get() != &weights) refuse("tape", "the weights that it was made with");
  const size_t steps = holder.tape->schedule.times(), batch = holder.tape->schedule.batch();
  const size_t I = weights.input_size, H = weights.hidden_size;
  RecurrentBackward<T> call{};
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
  call.gradients = parameters_of<T>(gradients, weights.cell, I, H);
  checked_threads(threads);
  if (holder.used.exchange(true))
    throw std::runtime_error("tape: it was used by an earlier backward, which overwrites it; run forward again");
  py::gil_scoped_release release;
  recurrent_backward(weights, call, *holder.tape, threads);
}

template <class T>
py::tuple parameter_names(const RecurrentWeights<T>& weights) {
  py::list names;
  names.append("weight_ih");
  names.append("weight_hh");
  if (weights.has_bias_ih) names.append("bias_ih");
  if (weights.has_bias_hh) names.append("bias_hh");
  if (weights.cell == Cell::gru_layer_norm) {
    names.append("gamma_ih");
    names.append("gamma_hh");
  }
  return py::tuple(names);
}

template <class T>
void bind(py::module_& module, const char* weights_name, const char* tape_name) {
  py::class_<RecurrentWeights<T>, std::shared_ptr<RecurrentWeights<T>>>(module, weights_name, made_here())
      .def_readonly("input_size", &RecurrentWeights<T>::input_size)
      .def_readonly("hidden_size", &RecurrentWeights<T>::hidden_size)
      .def_property_readonly("parameters", &parameter_names<T>)
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

py::object pack_recurrent(const std::string& name, const Arrays& arrays) {
  const Cell cell = cell_of(name);
  if (std::get<0>(arrays).dtype().equal(py::dtype::of<double>())) return py::cast(pack<double>(cell, arrays));
  return py::cast(pack<float>(cell, arrays));
}

}  // namespace

void bind_recurrent(py::module_& module) {
  bind<float>(module, "RecurrentWeights32", "RecurrentTape32");
  bind<double>(module, "RecurrentWeights64", "RecurrentTape64");
  module.def("pack_recurrent", &pack_recurrent);
}

}  // namespace gru::bindings
