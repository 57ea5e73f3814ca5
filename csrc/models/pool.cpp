#include "models/pool.h"

#include <algorithm>
#include <bit>
#include <bitset>
#include <stdexcept>
#include <string>

#include "engine/plan.h"
#include "models/errors.h"
#include "models/snapshot.h"
#include "runtime/team.h"

namespace gru {

namespace {

// An identifier is a generation, a shard and a place in it.
constexpr unsigned place_bits = 24, shard_bits = 8;
constexpr uint32_t most_places = uint32_t{1} << place_bits;
constexpr size_t most_shards = size_t{1} << shard_bits, chunk_bytes = size_t{1} << 18;
constexpr const char* in_use = "shard: expected one thread at a time, got another one";

[[noreturn]] void refuse_id(bool alone) {
  throw std::invalid_argument(alone ? "id: expected that of an open sequence, got another one"
                                    : "ids: expected those of open sequences, got another one");
}

}  // namespace

template <class T>
PoolShard<T>::PoolShard(std::shared_ptr<const Model<T>> model)
    : stepper_(model, most_rows_in_block),
      x_rows_(most_rows_in_block),
      state_rows_(most_rows_in_block),
      y_rows_(most_rows_in_block) {
  const size_t row = std::max<size_t>(model->shape()->state_size * sizeof(T), 1);
  shift_ = static_cast<uint32_t>(std::bit_width(std::clamp<size_t>(chunk_bytes / row, 1, most_places))) - 1;
}

template <class T>
uint32_t PoolShard<T>::take(const ModelShape& shape) {
  if (free_ == none && places_ == chunks_.size() << shift_) {
    if (places_ == most_places) throw Full("pool: expected fewer sequences in a shard");
    const size_t places = size_t{1} << shift_;
    of_call_.resize(places_ + places);
    if (shape.indices > 0) embedded_.resize(places_ + places);
    chunks_.push_back({Buffer<T>(product(places, shape.state_size)), std::vector<Slot>(places)});
    bytes_ = of_call_.capacity() * sizeof(Row) + embedded_.capacity() * sizeof(T*) +
             chunks_.size() * places * (shape.state_size * sizeof(T) + sizeof(Slot));
  }
  uint32_t place = free_;
  if (place == none)
    place = places_++;
  else
    free_ = slot(place).call;
  slot(place).call = 0;
  ++slot(place).generation;
  std::fill_n(state(shape, place), shape.state_size, T(0));
  ++open_;
  return place;
}

template <class T>
void PoolShard<T>::give_back(uint32_t place) {
  Slot& own = slot(place);
  --open_;
  if (++own.generation == 0) return;  // all of its identifiers were used
  own.call = free_;
  free_ = place;
}

template <class T>
void PoolShard<T>::begin() {
  rows_ = 0;
  if (++call_ != 0) return;
  call_ = 1;  // after so many calls the old marks would count again
  for (uint32_t place = 0; place < places_; ++place)
    if (slot(place).generation % 2 == 1) slot(place).call = 0;
}

template <class T>
bool PoolShard<T>::add(uint32_t place, size_t row, const T* embedded) {
  if (slot(place).call == call_) return false;
  slot(place).call = call_;
  if (embedded) embedded_[rows_] = embedded;
  of_call_[rows_++] = {place, static_cast<uint32_t>(row)};
  return true;
}

template <class T>
void PoolShard<T>::step(const ModelShape& shape, const T* x, T* y) {
  const size_t in = shape.input_size, out = shape.output_size;
  for (size_t first = 0; first < rows_; first += most_rows_in_block) {
    const size_t count = std::min(most_rows_in_block, rows_ - first);
    for (size_t i = 0; i < count; ++i) {
      const Row& own = of_call_[first + i];
      x_rows_[i] = embedded_.empty() ? x + own.row * in : embedded_[first + i];
      state_rows_[i] = state(shape, own.place);
      y_rows_[i] = y + own.row * out;
    }
    stepper_.step(count, x_rows_.data(), state_rows_.data(), y_rows_.data());
  }
}

// The shards of a call.
template <class T>
class Pool<T>::Taken {
 public:
  explicit Taken(const std::vector<std::unique_ptr<PoolShard<T>>>& shards) : shards_(shards) {}
  ~Taken() {
    for (size_t i = 0; i < shards_.size(); ++i)
      if (taken_[i]) shards_[i]->in_use.store(false, std::memory_order_release);
  }
  Taken(const Taken&) = delete;
  Taken& operator=(const Taken&) = delete;

  // Returns whether it is new. Throws Busy.
  bool take(size_t i) {
    if (taken_[i]) return false;
    if (shards_[i]->in_use.exchange(true, std::memory_order_acquire)) throw Busy(in_use);
    taken_.set(i);
    return true;
  }
  // Takes the shard with the fewest sequences of those that nobody uses, and returns it. Throws Busy.
  size_t take_fewest() {
    std::bitset<most_shards> tried;
    do {
      size_t fewest = shards_.size();
      for (size_t i = 0; i < shards_.size(); ++i)
        if (!tried[i] && (fewest == shards_.size() || shards_[i]->open() < shards_[fewest]->open())) fewest = i;
      if (!shards_[fewest]->in_use.exchange(true, std::memory_order_acquire)) {
        taken_.set(fewest);
        return fewest;
      }
      tried.set(fewest);
    } while (tried.count() < shards_.size());
    throw Busy(in_use);
  }
  size_t count() const { return taken_.count(); }
  bool operator[](size_t i) const { return taken_[i]; }

 private:
  const std::vector<std::unique_ptr<PoolShard<T>>>& shards_;
  std::bitset<most_shards> taken_;
};

template <class T>
Pool<T>::Pool(std::shared_ptr<const Model<T>> model, size_t capacity, size_t shards)
    : shape_(model->shape()), model_(std::move(model)), capacity_(capacity) {
  if (shards < 1 || shards > most_shards)
    throw std::invalid_argument("shards: expected 1 to " + std::to_string(most_shards) + ", got " +
                                std::to_string(shards));
  for (size_t i = 0; i < shards; ++i) shards_.push_back(std::make_unique<PoolShard<T>>(model_));
}

template <class T>
size_t Pool<T>::bytes() const {
  size_t sum = 0;
  for (const auto& shard : shards_) sum += shard->bytes();
  return sum;
}

template <class T>
typename Pool<T>::Place Pool<T>::place_of(uint64_t id, bool alone) const {
  const Place at{id >> place_bits & (most_shards - 1), static_cast<uint32_t>(id & (most_places - 1)),
                 static_cast<uint32_t>(id >> (place_bits + shard_bits)), alone};
  if (at.shard >= shards_.size()) refuse_id(alone);
  return at;
}

template <class T>
uint64_t Pool<T>::id_of(const Place& at) const {
  return uint64_t{at.generation} << (place_bits + shard_bits) | uint64_t{at.shard} << place_bits | at.place;
}

template <class T>
PoolShard<T>& Pool<T>::checked(const Place& at) const {
  if (!shards_[at.shard]->holds(at.place, at.generation)) refuse_id(at.alone);
  return *shards_[at.shard];
}

template <class T>
typename Pool<T>::Place Pool<T>::open_in(Taken& taken, int shard) {
  if (shard >= static_cast<int>(shards_.size()))
    throw std::invalid_argument("shard: expected up to " + std::to_string(shards_.size() - 1) + ", got " +
                                std::to_string(shard));
  const size_t chosen = shard < 0 ? taken.take_fewest() : static_cast<size_t>(shard);
  taken.take(chosen);
  if (open_.fetch_add(1) >= capacity_) {
    --open_;
    throw Full("pool: expected fewer than " + std::to_string(capacity_) + " open sequences, got as many");
  }
  try {
    const uint32_t place = shards_[chosen]->take(*shape_);
    return {chosen, place, shards_[chosen]->generation(place), true};
  } catch (...) {
    --open_;
    throw;
  }
}

template <class T>
void Pool<T>::close_at(const Place& at) {
  checked(at).give_back(at.place);
  --open_;
}

template <class T>
uint64_t Pool<T>::open_one(int shard) {
  Taken taken(shards_);
  return id_of(open_in(taken, shard));
}

template <class T>
void Pool<T>::close(uint64_t id) {
  const Place at = place_of(id, true);
  Taken taken(shards_);
  taken.take(at.shard);
  close_at(at);
}

template <class T>
void Pool<T>::reset(std::span<const uint64_t> ids) {
  Taken taken(shards_);
  for (const bool really : {false, true})  // all are checked before one is changed
    for (const uint64_t id : ids) {
      const Place at = place_of(id, false);
      taken.take(at.shard);
      const PoolShard<T>& own = checked(at);
      if (really) std::fill_n(own.state(*shape_, at.place), shape_->state_size, T(0));
    }
}

template <class T>
void Pool<T>::step(std::span<const uint64_t> ids, const void* x, T* y, int (*threads)()) {
  Taken taken(shards_);
  if (ids.empty()) return;
  for (size_t row = 0; row < ids.size(); ++row) {
    const Place at = place_of(ids[row], false);
    if (taken.take(at.shard)) shards_[at.shard]->begin();
    const T* from = nullptr;
    if (shape_->indices > 0) from = embedded(*model_, static_cast<const int64_t*>(x)[row]);
    if (!checked(at).add(at.place, row, from))
      throw std::invalid_argument("ids: expected each one once, got one again");
  }
  const auto several = static_cast<int>(taken.count());
  const int most = several > 1 ? std::min(several, threads()) : 1;
  int members = plan_members(product(ids.size(), shape_->work), taken.count(), most);
  auto work = [&](int member) {
    int turn = 0;
    for (size_t i = 0; i < shards_.size(); ++i)
      if (taken[i] && turn++ % members == member) shards_[i]->step(*shape_, static_cast<const T*>(x), y);
  };
  if (!run_team(members, work)) run_team(members = 1, work);
}

template <class T>
void Pool<T>::snapshot(uint64_t id, unsigned char* to) {
  const Place at = place_of(id, true);
  Taken taken(shards_);
  taken.take(at.shard);
  T* const states[] = {checked(at).state(*shape_, at.place)};
  write_snapshot<T>(*model_, states, to);
}

template <class T>
uint64_t Pool<T>::restore(std::span<const unsigned char> from, int shard) {
  Taken taken(shards_);
  const Place at = open_in(taken, shard);
  try {
    T* const states[] = {checked(at).state(*shape_, at.place)};
    read_snapshot<T>(*model_, from, states);
  } catch (...) {
    close_at(at);
    throw;
  }
  return id_of(at);
}

template <class T>
void Pool<T>::grow(size_t capacity) {
  size_t present = capacity_;
  do {
    if (capacity < present)
      throw std::invalid_argument("capacity: expected at least " + std::to_string(present) + ", got " +
                                  std::to_string(capacity));
  } while (!capacity_.compare_exchange_weak(present, capacity));
}

template <class T>
void Pool<T>::update(std::shared_ptr<const Model<T>> model) {
  Taken taken(shards_);
  for (size_t i = 0; i < shards_.size(); ++i) taken.take(i);
  check_same(*shape_, *model->shape());
  std::vector<ModelStepper<T>> steppers;
  for (size_t i = 0; i < shards_.size(); ++i) steppers.emplace_back(model, most_rows_in_block);
  for (size_t i = 0; i < shards_.size(); ++i) shards_[i]->update(std::move(steppers[i]));
  model_ = std::move(model);
}

template class PoolShard<float>;
template class PoolShard<double>;
template class Pool<float>;
template class Pool<double>;

}  // namespace gru
