#include <memory>
#include <vector>

#include "attention.h"
#include "module.h"

namespace gru::bindings {

namespace {

struct DestroyDecoder {
  void operator()(gn_decoder* decoder) const { gn_decoder_destroy(decoder); }
};

// With the arrays, which the core does not copy.
struct DecoderWeights {
  std::unique_ptr<gn_decoder, DestroyDecoder> handle;
  std::vector<OptionalArray> arrays;
  gn_decoder_options options;
};

// weight_ih, weight_hh, bias_ih, bias_hh, query, query_bias, score, combine
using DecoderArrays = std::vector<OptionalArray>;

// Calls function(name, array, shape) for those of a decoder in their order.
template <class Function>
void for_each_array(const gn_decoder_options& sizes, Function function) {
  const size_t E = sizes.input_size, H = sizes.hidden_size, A = sizes.key_size, M = sizes.value_size;
  function("weight_ih", 0, {3 * H, E + H});
  function("weight_hh", 1, {3 * H, H});
  function("bias_ih", 2, {3 * H});
  function("bias_hh", 3, {3 * H});
  function("query", 4, {A, H});
  function("query_bias", 5, {A});
  function("score", 6, {A});
  function("combine", 7, {H, M + H});
}

std::unique_ptr<DecoderWeights> pack_decoder(const DecoderArrays& arrays, size_t heads) {
  if (arrays.size() != 8 || !arrays[0] || !arrays[1] || !arrays[7]) refuse("arrays", "eight, the matrices among them");
  auto made = std::make_unique<DecoderWeights>();
  gn_decoder_options& own = made->options;
  own = {};
  own.size = sizeof own;
  own.type = type_of(*arrays[0]);
  own.heads = heads;
  own.hidden_size = axis_size(*arrays[1], "weight_hh", 1);
  const size_t inputs = axis_size(*arrays[0], "weight_ih", 1), joined = axis_size(*arrays[7], "combine", 1);
  if (inputs <= own.hidden_size) refuse("weight_ih", "more columns");
  if (joined <= own.hidden_size) refuse("combine", "more columns");
  own.input_size = inputs - own.hidden_size;
  own.value_size = joined - own.hidden_size;
  own.key_size = arrays[4] ? axis_size(*arrays[4], "query", 0) : own.hidden_size;
  const void* data[8] = {};
  const py::dtype dtype = dtype_of(own.type);
  for_each_array(own, [&](const char* name, size_t i, std::initializer_list<size_t> shape) {
    if (arrays[i]) data[i] = read(*arrays[i], name, dtype, shape);
  });
  own.gru = {data[0], data[1], data[2], data[3], nullptr, nullptr, nullptr, nullptr};
  own.query = data[4];
  own.query_bias = data[5];
  own.score = data[6];
  own.combine = data[7];
  gn_decoder* handle = nullptr;
  run([&](gn_error* error) { return gn_decoder_create(&own, &handle, error); });
  made->handle.reset(handle);
  made->arrays = arrays;
  return made;
}

// A call of a decoder, and what its structure points to.
struct DecoderCall {
  DecoderCall(const DecoderWeights& weights, const py::array& x, const OptionalArray& lengths, const OptionalArray& h_0,
              const OptionalArray& y_0, const py::array& keys, const py::array& values,
              const OptionalArray& source_lengths, int threads)
      : dtype(dtype_of(weights.options.type)),
        memory(memory_of(keys, values, std::nullopt, source_lengths, weights.options.heads, dtype)) {
    const size_t H = weights.options.hidden_size;
    own.size = sizeof own;
    own.decoder = weights.handle.get();
    own.threads = threads;
    own.steps = axis_size(x, "x", 0);
    own.batch = axis_size(x, "x", 1);
    own.x = read(x, "x", dtype, {own.steps, own.batch, weights.options.input_size});
    if (lengths)
      own.lengths = static_cast<const int64_t*>(read(*lengths, "lengths", py::dtype::of<int64_t>(), {own.batch}));
    if (h_0) own.h_0 = read(*h_0, "h_0", dtype, {own.batch, H});
    if (y_0) own.y_0 = read(*y_0, "y_0", dtype, {own.batch, H});
  }
  DecoderCall(const DecoderCall&) = delete;
  // With the addresses that only hold here.
  const gn_decoder_call* get() {
    own.memory = &memory;
    return &own;
  }
  void keep(const OptionalArray& tape) {
    if (!tape) return;
    own.tape = written(*tape, "tape", py::dtype::of<uint8_t>(), {static_cast<size_t>(tape->size())});
    own.tape_size = static_cast<size_t>(tape->size());
  }

  const py::dtype dtype;
  gn_memory memory;
  gn_decoder_call own{};
};

size_t tape_size(const DecoderWeights& weights, const py::array& x, const OptionalArray& lengths, size_t source) {
  gn_memory memory{};
  memory.size = sizeof memory;
  memory.steps = source;
  gn_decoder_call call{};
  call.size = sizeof call;
  call.decoder = weights.handle.get();
  call.steps = axis_size(x, "x", 0);
  call.batch = axis_size(x, "x", 1);
  call.memory = &memory;
  if (lengths)
    call.lengths = static_cast<const int64_t*>(read(*lengths, "lengths", py::dtype::of<int64_t>(), {call.batch}));
  size_t bytes = 0;
  run([&](gn_error* error) { return gn_decoder_tape_size(&call, &bytes, error); });
  return bytes;
}

void decode(const DecoderWeights& weights, const py::array& x, const OptionalArray& lengths, const OptionalArray& h_0,
            const OptionalArray& y_0, const py::array& keys, const py::array& values,
            const OptionalArray& source_lengths, const py::array& y, const OptionalArray& h_n,
            const OptionalArray& attention, const OptionalArray& tape, int threads) {
  DecoderCall call(weights, x, lengths, h_0, y_0, keys, values, source_lengths, threads);
  const size_t H = weights.options.hidden_size, T = call.own.steps, B = call.own.batch;
  call.own.y = written(y, "output", call.dtype, {T, B, H});
  call.own.h_n = written(h_n, "h_n", call.dtype, {B, H});
  call.own.attention = written(attention, "attention", call.dtype, {T, B, weights.options.heads, call.memory.steps});
  call.keep(tape);
  run([&](gn_error* error) { return gn_decoder_forward(call.get(), error); });
}

void decode_backward(const DecoderWeights& weights, const py::array& x, const OptionalArray& lengths,
                     const OptionalArray& h_0, const py::array& keys, const py::array& values,
                     const OptionalArray& source_lengths, const py::array& y, const py::array& tape,
                     const py::array& d_y, const py::array& d_x, const OptionalArray& d_h_0, const py::array& d_keys,
                     const py::array& d_values, const DecoderArrays& gradients, int threads) {
  DecoderCall call(weights, x, lengths, h_0, std::nullopt, keys, values, source_lengths, threads);
  const gn_memory& memory = call.memory;
  const size_t H = weights.options.hidden_size, T = call.own.steps, B = call.own.batch;
  call.own.y = const_cast<void*>(read(y, "output", call.dtype, {T, B, H}));
  call.keep(tape);
  gn_decoder_gradients to{};
  to.size = sizeof to;
  to.d_y = read(d_y, "d_output", call.dtype, {T, B, H});
  to.d_x = written(d_x, "d_x", call.dtype, {T, B, weights.options.input_size});
  to.d_h_0 = written(d_h_0, "d_h_0", call.dtype, {B, H});
  to.d_keys = written(d_keys, "d_keys", call.dtype, {memory.batch, memory.steps, memory.key_size});
  to.d_values = written(d_values, "d_values", call.dtype, {memory.batch, memory.steps, memory.value_size});
  if (gradients.size() != 8) refuse("gradients", "eight");
  void* data[8] = {};
  for_each_array(weights.options, [&](const char* name, size_t i, std::initializer_list<size_t> shape) {
    if (gradients[i].has_value() != weights.arrays[i].has_value()) refuse(name, "an array where the weights have one");
    data[i] = written(gradients[i], name, call.dtype, shape);
  });
  to.gru = {data[0], data[1], data[2], data[3], nullptr, nullptr, nullptr, nullptr};
  to.query = data[4];
  to.query_bias = data[5];
  to.score = data[6];
  to.combine = data[7];
  run([&](gn_error* error) { return gn_decoder_backward(call.get(), &to, error); });
}

}  // namespace

void bind_decoder(py::module_& module) {
  py::class_<DecoderWeights>(module, "DecoderWeights", made_here())
      .def_property_readonly("input_size", [](const DecoderWeights& own) { return own.options.input_size; })
      .def_property_readonly("hidden_size", [](const DecoderWeights& own) { return own.options.hidden_size; })
      .def_property_readonly("key_size", [](const DecoderWeights& own) { return own.options.key_size; })
      .def_property_readonly("value_size", [](const DecoderWeights& own) { return own.options.value_size; })
      .def_property_readonly("heads", [](const DecoderWeights& own) { return own.options.heads; })
      .def_property_readonly("dtype", [](const DecoderWeights& own) { return dtype_of(own.options.type); });
  module.def("pack_decoder", &pack_decoder);
  module.def("decoder_tape_size", &tape_size);
  module.def("decoder_forward", &decode);
  module.def("decoder_backward", &decode_backward);
}

}  // namespace gru::bindings
