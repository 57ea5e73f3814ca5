#include "models/session.h"

#include <algorithm>
#include <cstring>

#include "engine/plan.h"
#include "models/in_use.h"
#include "models/snapshot.h"
#include "runtime/team.h"

namespace gru {

namespace {

constexpr const char* in_use = "session: expected one thread at a time, got another one";

}  // namespace

template <class T>
Session<T>::Session(std::shared_ptr<const Model<T>> model, size_t batch)
    : shape_(model->shape()),
      model_(model),
      stepper_(model, std::min(batch, most_rows_in_block)),
      states_(product(batch, shape_->state_size)),
      x_rows_(batch),
      y_rows_(batch) {
  std::fill_n(states_.data(), states_.size(), T(0));
  for (size_t row = 0; row < batch; ++row) state_rows_.push_back(states_.data() + row * shape_->state_size);
}

template <class T>
void Session<T>::step(const void* x, T* y) {
  const InUse guard(in_use_, in_use);
  const size_t in = shape_->input_size, out = shape_->output_size, rows = batch();
  for (size_t row = 0; row < rows; ++row) {
    x_rows_[row] = shape_->indices > 0 ? embedded(*model_, static_cast<const int64_t*>(x)[row])
                                       : static_cast<const T*>(x) + row * in;
    y_rows_[row] = y + row * out;
  }
  auto work = [&](int) {
    const size_t most = stepper_.most_rows();
    for (size_t first = 0; first < rows; first += most)
      stepper_.step(std::min(most, rows - first), x_rows_.data() + first, state_rows_.data() + first,
                    y_rows_.data() + first);
  };
  run_team(1, work);
}

template <class T>
void Session<T>::run(size_t steps, const void* x, T* y, int threads) {
  const InUse guard(in_use_, in_use);
  const std::vector<T> before(states_.data(), states_.data() + states_.size());
  try {
    run_pieces(steps, x, y, threads);
  } catch (...) {
    std::copy(before.begin(), before.end(), states_.data());
    throw;
  }
}

template <class T>
void Session<T>::run_pieces(size_t steps, const void* x, T* y, int threads) {
  const size_t in = shape_->input_size, out = shape_->output_size, all = product(steps, batch());
  if (all == 0) return;
  // Few enough rows to stay in cache from layer to layer, and enough for a pass over them.
  constexpr size_t piece_rows = 512;
  const size_t piece = std::max<size_t>(1, piece_rows / batch());
  Buffer<T> rows;
  std::vector<int64_t> indices;
  if (shape_->indices > 0) {
    indices.assign(static_cast<const int64_t*>(x), static_cast<const int64_t*>(x) + all);
    for (const int64_t index : indices) embedded(*model_, index);
    rows = Buffer<T>(product(piece * batch(), in));
  }
  Interruption interruption;  // a piece alone may be too short to ask
  for (size_t first = 0; first < steps; first += piece) {
    interruption.check(0);
    const size_t count = std::min(piece, steps - first), begin = first * batch();
    const T* from = rows.data();
    if (indices.empty())
      from = static_cast<const T*>(x) + begin * in;
    else
      for (size_t i = 0; i < count * batch(); ++i)
        std::copy_n(embedded(*model_, indices[begin + i]), in, rows.data() + i * in);
    run_piece(count, from, y + begin * out, threads);
  }
}

template <class T>
void Session<T>::run_piece(size_t steps, const T* x, T* y, int threads) {
  const auto& stages = model_->stages();
  const size_t rows = product(steps, batch());
  Buffer<T> between[2];
  for (size_t i = 0; i < stages.size(); ++i) {
    const Stage<T>& stage = *stages[i];
    T* to = y;
    if (i + 1 < stages.size()) {
      between[i % 2] = Buffer<T>(product(rows, stage.output_size));
      to = between[i % 2].data();
    }
    const auto in = static_cast<ptrdiff_t>(stage.input_size), out = static_cast<ptrdiff_t>(stage.output_size);
    const auto rows_of_step = static_cast<ptrdiff_t>(batch());
    stage.run(steps, batch(), {x, rows_of_step * in, in},
              {states_.data() + model_->state_offset(i), static_cast<ptrdiff_t>(shape_->state_size)},
              {to, rows_of_step * out, out}, threads);
    x = to;
  }
}

template <class T>
void Session<T>::reset(const unsigned char* rows) {
  const InUse guard(in_use_, in_use);
  for (size_t row = 0; row < batch(); ++row)
    if (!rows || rows[row]) std::fill_n(state_rows_[row], shape_->state_size, T(0));
}

template <class T>
void Session<T>::get_state(const StatePart& part, void* to) {
  const InUse guard(in_use_, in_use);
  const size_t bytes = part.bytes(sizeof(T));
  for (size_t row = 0; row < batch(); ++row)
    std::memcpy(static_cast<unsigned char*>(to) + row * bytes, state_rows_[row] + part.offset, bytes);
}

template <class T>
void Session<T>::set_state(const StatePart& part, const void* from) {
  const InUse guard(in_use_, in_use);
  const size_t bytes = part.bytes(sizeof(T));
  for (size_t row = 0; row < batch(); ++row)
    std::memcpy(state_rows_[row] + part.offset, static_cast<const unsigned char*>(from) + row * bytes, bytes);
}

template <class T>
void Session<T>::snapshot(unsigned char* to) {
  const InUse guard(in_use_, in_use);
  write_snapshot<T>(*model_, state_rows_, to);
}

template <class T>
void Session<T>::restore(std::span<const unsigned char> from) {
  const InUse guard(in_use_, in_use);
  read_snapshot<T>(*model_, from, state_rows_);
}

template <class T>
void Session<T>::update(std::shared_ptr<const Model<T>> model) {
  const InUse guard(in_use_, in_use);
  check_same(*shape_, *model->shape());
  stepper_ = ModelStepper<T>(model, stepper_.most_rows());
  model_ = std::move(model);
}

template class Session<float>;
template class Session<double>;

}  // namespace gru
