#include "engine/decoder.h"

#include <memory>
#include <variant>

#include "attention.h"

// The weights of one of the two types.
struct gn_decoder {
  std::variant<std::unique_ptr<const gru::DecoderWeights<float>>, std::unique_ptr<const gru::DecoderWeights<double>>>
      of;
};

namespace gru::api {

namespace {

template <class T>
std::unique_ptr<const DecoderWeights<T>> created(const gn_decoder_options& own) {
  const size_t H = own.hidden_size, A = own.key_size, M = own.value_size;
  if (own.input_size == 0 || H == 0 || A == 0 || M == 0) refuse("sizes", "numbers from 1 up", "0");
  if (own.heads == 0 || A % own.heads || M % own.heads)
    refuse("heads", "a divisor of key_size and value_size", std::to_string(own.heads));
  if (!own.query && A != H) refuse("key_size", "hidden_size without a query", std::to_string(A));
  if (!own.query && own.query_bias) refuse("query_bias", "NULL without a query", "an array");
  product(3, product(H, own.input_size + H));  // which an array of this size proves
  const gn_parameters& gru = own.gru;
  const DecoderParameters<const T> parameters{
      {typed<const T>(gru.weight_ih, "weight_ih", true), typed<const T>(gru.weight_hh, "weight_hh", true),
       typed<const T>(gru.bias_ih, "bias_ih", false), typed<const T>(gru.bias_hh, "bias_hh", false), nullptr, nullptr,
       nullptr, nullptr},
      typed<const T>(own.query, "query", false),
      typed<const T>(own.query_bias, "query_bias", false),
      typed<const T>(own.score, "score", false),
      typed<const T>(own.combine, "combine", true)};
  return std::make_unique<const DecoderWeights<T>>(own.input_size, H, A, M, own.heads, parameters);
}

const gn_decoder_call& checked(const gn_decoder_call* given, gn_decoder_call& room) {
  const gn_decoder_call& call = taken(given, "call", room);
  if (!call.decoder) refuse("decoder", "what gn_decoder_create made", "NULL");
  return call;
}

Schedule schedule_of(const gn_decoder_call& call) {
  return Schedule({call.steps, call.batch, false, call.lengths, {}});
}

// What is attended to, with the decoder's score.
template <class T>
AttendedMemory<T> memory_of(const DecoderWeights<T>& weights, const gn_decoder_call& call) {
  AttendedMemory<T> memory = api::memory_of<T>(call.memory);
  if (memory.score) refuse("memory.score", "NULL: the decoder has it", "an array");
  if (memory.batch != call.batch || memory.heads != weights.heads || memory.key_size != weights.key_size ||
      memory.value_size != weights.value_size)
    refuse("memory", "the batch of the call, and sizes and heads of the decoder", "others");
  memory.score = weights.score();
  return memory;
}

template <class T>
size_t tape_bytes(const DecoderWeights<T>& weights, const Schedule& schedule, size_t source) {
  return product(DecoderTape<T>::size(weights, schedule.size(), source), sizeof(T));
}

void check_tape(const gn_decoder_call& call, size_t bytes) {
  if (call.tape_size < bytes)
    refuse("tape_size", "gn_decoder_tape_size bytes, " + std::to_string(bytes), std::to_string(call.tape_size));
  if (!call.tape || reinterpret_cast<uintptr_t>(call.tape) % alignment)
    refuse("tape", "memory at a multiple of " + std::to_string(alignment), call.tape ? "another address" : "NULL");
}

template <class T>
void forward(const DecoderWeights<T>& weights, const gn_decoder_call& call) {
  const AttendedMemory<T> memory = memory_of(weights, call);
  const size_t cells = product(call.steps, call.batch), H = weights.hidden_size;
  const DecoderForward<T> own{typed<const T>(call.x, "x", product(cells, weights.input_size) > 0),
                              typed<const T>(call.h_0, "h_0", false),
                              typed<const T>(call.y_0, "y_0", false),
                              typed<T>(call.y, "y", product(cells, H) > 0),
                              typed<T>(call.h_n, "h_n", false),
                              typed<T>(call.attention, "attention", false)};
  const int threads = checked_threads(call.threads);
  const Schedule schedule = schedule_of(call);
  const size_t bytes = tape_bytes(weights, schedule, memory.steps);
  Buffer<T> room;
  if (call.tape)
    check_tape(call, bytes);
  else
    room = Buffer<T>(bytes / sizeof(T));
  auto* const at = call.tape ? static_cast<T*>(call.tape) : room.data();
  decoder_forward(weights, schedule, memory, own, DecoderTape<T>(weights, schedule.size(), memory.steps, at), threads);
}

template <class T>
void backward(const DecoderWeights<T>& weights, const gn_decoder_call& call, const gn_decoder_gradients& to) {
  const AttendedMemory<T> memory = memory_of(weights, call);
  const size_t cells = product(call.steps, call.batch), source = product(memory.steps, memory.batch);
  const bool any = product(cells, weights.hidden_size) > 0;
  const auto array = [](void* data, const char* name, bool needed) { return typed<T>(data, name, needed); };
  const gn_gradients& gru = to.gru;
  const DecoderBackward<T> own{
      typed<const T>(call.h_0, "h_0", false),
      typed<const T>(call.y, "y", any),
      typed<const T>(to.d_y, "d_y", any),
      array(to.d_x, "d_x", product(cells, weights.input_size) > 0),
      array(to.d_h_0, "d_h_0", false),
      {array(to.d_keys, "d_keys", source > 0), array(to.d_values, "d_values", source > 0),
       array(to.score, "score", weights.has_score)},
      {{array(gru.weight_ih, "weight_ih", true), array(gru.weight_hh, "weight_hh", true),
        array(gru.bias_ih, "bias_ih", weights.gru.has_bias_ih), array(gru.bias_hh, "bias_hh", weights.gru.has_bias_hh),
        nullptr, nullptr, nullptr, nullptr},
       array(to.query, "query", weights.query.has_value()),
       array(to.query_bias, "query_bias", weights.query && weights.query->has_bias),
       array(to.score, "score", weights.has_score),
       array(to.combine, "combine", true)}};
  const int threads = checked_threads(call.threads);
  const Schedule schedule = schedule_of(call);
  check_tape(call, tape_bytes(weights, schedule, memory.steps));
  const DecoderTape<T> tape(weights, schedule.size(), memory.steps, static_cast<T*>(call.tape));
  decoder_backward(weights, schedule, memory, own, tape, threads);
}

}  // namespace

}  // namespace gru::api

using namespace gru::api;

gn_status gn_decoder_create(const gn_decoder_options* options, gn_decoder** decoder, gn_error* error) {
  return guarded(error, [&] {
    gn_decoder_options room;
    const gn_decoder_options& own = taken(options, "options", room);
    if (!decoder) refuse("decoder", "where to put it", "NULL");
    auto made = std::make_unique<gn_decoder>();
    for_type(own.type, [&](auto zero) { made->of = created<decltype(zero)>(own); });
    *decoder = made.release();
  });
}

void gn_decoder_destroy(gn_decoder* decoder) { delete decoder; }

gn_status gn_decoder_tape_size(const gn_decoder_call* call, size_t* bytes, gn_error* error) {
  return guarded(error, [&] {
    gn_decoder_call room;
    const gn_decoder_call& own = checked(call, room);
    if (!bytes) refuse("bytes", "where to put them", "NULL");
    gn_memory memory_room;
    const size_t source = taken(own.memory, "memory", memory_room).steps;
    const gru::Schedule schedule = schedule_of(own);
    std::visit([&](const auto& weights) { *bytes = tape_bytes(*weights, schedule, source); }, own.decoder->of);
  });
}

gn_status gn_decoder_forward(const gn_decoder_call* call, gn_error* error) {
  return guarded(error, [&] {
    gn_decoder_call room;
    const gn_decoder_call& own = checked(call, room);
    std::visit([&](const auto& weights) { forward(*weights, own); }, own.decoder->of);
  });
}

gn_status gn_decoder_backward(const gn_decoder_call* call, const gn_decoder_gradients* gradients, gn_error* error) {
  return guarded(error, [&] {
    gn_decoder_call room;
    const gn_decoder_call& own = checked(call, room);
    gn_decoder_gradients other_room;
    const gn_decoder_gradients& to = taken(gradients, "gradients", other_room);
    std::visit([&](const auto& weights) { backward(*weights, own, to); }, own.decoder->of);
  });
}
