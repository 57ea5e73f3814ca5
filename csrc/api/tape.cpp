#include "tape.h"

#include <cstring>
#include <string>

#include "guard.h"
#include "weights.h"

namespace gru::api {

namespace {

constexpr uint64_t magic = 0x31657061746e67;  // "gntape1"

size_t behind(size_t begin, size_t bytes) {
  if (bytes > SIZE_MAX / 4) throw std::bad_alloc();
  return (begin + bytes + alignment - 1) / alignment * alignment;
}

// Of what is chosen, field by field: a structure has bytes that nobody sets.
template <class T>
uint64_t hash_of(const RecurrentWeights<T>& weights) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  const auto add = [&](const auto& value) {
    unsigned char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    for (const unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  };
  if (const Choices<T>* const choices = weights.choices()) {
    for (const Activation<T>& own : choices->of) {
      add(own.function);
      add(own.alpha);
      add(own.beta);
    }
    add(choices->clip);
    add(choices->input_forget);
    add(choices->projects);
    add(weights.has_peepholes);
  }
  return hash;
}

// That a direction keeps.
template <class T>
size_t elements_of(const gn_call& call, int direction, size_t indices, TapeHeader& header) {
  const RecurrentWeights<T>& weights = call.weights[direction]->as<T>();
  header.input_size = weights.input_size;
  header.hidden_size = weights.hidden_size;
  header.output_size = weights.output_size;
  header.cell[direction] = static_cast<uint32_t>(2 * weights.kind + (weights.choices() ? 1 : 0));
  header.choices[direction] = hash_of(weights);
  header.vector = static_cast<uint32_t>(weights.kernels.vector);
  const Keep keep = call.keep == GN_KEEP_STATES ? Keep::states : Keep::gates;
  return RecurrentTape<T>::size(weights, call.steps, call.batch, indices, keep);
}

unsigned char* memory(const gn_call& call, size_t offset) { return static_cast<unsigned char*>(call.tape) + offset; }

void check_memory(const gn_call& call, size_t size) {
  if (!call.tape) refuse("tape", "memory", "NULL");
  if (reinterpret_cast<uintptr_t>(call.tape) % alignment) refuse("tape", "a multiple of 64", "another address");
  if (call.tape_size < size) refuse("tape_size", "at least " + std::to_string(size), std::to_string(call.tape_size));
}

TapeHeader header_in(const gn_call& call) {
  check_memory(call, sizeof(TapeHeader));
  TapeHeader header;
  std::memcpy(&header, call.tape, sizeof header);
  if (header.magic != magic) refuse("tape", "what gn_forward filled", "other bytes");
  return header;
}

}  // namespace

TapeLayout::TapeLayout(const gn_call& call, bool has_lengths, bool has_resets, size_t indices) {
  const bool is_float = call.weights[0]->type() == GN_FLOAT32;
  size_t bytes[2] = {};
  for (int d = 0; d < 2 && call.weights[d]; ++d) {
    elements_[d] =
        is_float ? elements_of<float>(call, d, indices, header_) : elements_of<double>(call, d, indices, header_);
    bytes[d] = product(elements_[d], is_float ? sizeof(float) : sizeof(double));
  }
  header_.magic = magic;
  header_.steps = call.steps;
  header_.batch = call.batch;
  header_.type = static_cast<uint32_t>(call.weights[0]->type());
  header_.keep = static_cast<uint32_t>(call.keep);
  header_.directions = call.weights[1] ? 2 : 1;
  header_.reverse = call.reverse;
  header_.has_lengths = has_lengths;
  header_.has_resets = has_resets;
  lengths_ = behind(0, sizeof header_);
  resets_ = behind(lengths_, has_lengths ? product(call.batch, sizeof(int64_t)) : 0);
  directions_[0] = behind(resets_, has_resets ? product(call.steps, call.batch) : 0);
  directions_[1] = behind(directions_[0], bytes[0]);
  header_.size = behind(directions_[1], bytes[1]);
}

TapeLayout begin_tape(const gn_call& call, const Schedule& schedule) {
  const TapeLayout layout(call, schedule.ragged(), schedule.has_resets(), schedule.size());
  check_memory(call, layout.header().size);
  std::memcpy(call.tape, &layout.header(), sizeof(TapeHeader));
  if (schedule.ragged()) {
    auto* const lengths = reinterpret_cast<int64_t*>(memory(call, layout.lengths()));
    for (size_t place = 0; place < call.batch; ++place)
      lengths[schedule.row(place)] = static_cast<int64_t>(schedule.length(place));
  }
  if (schedule.has_resets())
    std::memcpy(memory(call, layout.resets()), schedule.resets().data(), schedule.resets().size());
  return layout;
}

Schedule schedule_of_tape(const gn_call& call) {
  const TapeHeader found = header_in(call);
  if (!found.has_lengths && !found.has_resets) return Schedule({call.steps, call.batch, call.reverse, nullptr, {}});
  const TapeLayout least(call, found.has_lengths, found.has_resets, 0);
  check_memory(call, least.header().size);
  const auto* const lengths = reinterpret_cast<const int64_t*>(memory(call, least.lengths()));
  const auto* const resets = reinterpret_cast<const bool*>(memory(call, least.resets()));
  return Schedule({call.steps,
                   call.batch,
                   call.reverse,
                   found.has_lengths ? lengths : nullptr,
                   {found.has_resets ? resets : nullptr, static_cast<ptrdiff_t>(call.batch), 1}});
}

TapeLayout layout_of_tape(const gn_call& call, const Schedule& schedule) {
  const TapeLayout layout(call, schedule.ragged(), schedule.has_resets(), schedule.size());
  TapeHeader found = header_in(call);
  found.used = 0;
  if (std::memcmp(&found, &layout.header(), sizeof found) != 0) refuse("tape", "this call's", "another call's");
  check_memory(call, found.size);
  return layout;
}

void use_tape(const gn_call& call, bool overwrite) {
  auto& flag = *reinterpret_cast<uint32_t*>(memory(call, offsetof(TapeHeader, used)));
  // As std::atomic_ref does, which not every C++ library has.
  if (overwrite ? __atomic_exchange_n(&flag, 1, __ATOMIC_SEQ_CST) : __atomic_load_n(&flag, __ATOMIC_SEQ_CST))
    throw UsedTape("tape: it was used by an earlier backward, which overwrites it; run forward again");
}

}  // namespace gru::api
