#include "formats/pack.h"

#include <algorithm>

#include "runtime/team.h"

namespace gru {

template <class T>
Pack<T>::Pack(const Kernels<T>& kernels, const GateMatrices<T>& from)
    : kernels_(kernels),
      from_(from),
      left_width_(0),
      panels_((from.units + kernels.vector - 1) / kernels.vector),
      panel_size_(kernels.format.panel_size(from_, left_width_)),
      shape_(shape_of(from.gates)) {}

template <class T>
Pack<T>::Pack(const Kernels<T>& kernels, const GateMatrices<T>& from, size_t left_width)
    : kernels_(kernels),
      from_(from),
      left_width_(left_width),
      panels_((from.columns + kernels.vector - 1) / kernels.vector),
      panel_size_(kernels.format.panel_size(from_, left_width_)),
      shape_(shape_of(1)) {}

template <class T>
Panels<T> Pack<T>::shape_of(size_t gates) const {
  const bool far = panels_ * panel_size_ * sizeof(T) > machine().near_bytes();
  return {nullptr, static_cast<ptrdiff_t>(panel_size_), kernels_.chains(panels_, gates), machine().piece(), far};
}

template <class T>
Panels<T> Pack<T>::view(const T* data) const {
  Panels<T> panels = shape_;
  panels.data = data;
  return panels;
}

template <class T>
Panels<T> Pack<T>::whole(int threads) const {
  if (packed()) return view(buffer_.data());
  const std::lock_guard lock(mutex_);  // call_once would make a system call
  if (packed()) return view(buffer_.data());
  Buffer<T> buffer(product(panels_, panel_size_));
  int members = plan_members(packing_work * weights(), panels_, threads, machine().least_member);
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    const Part part = part_of(panels_, member, members);
    constexpr size_t side_by_side = 64;  // what lies side by side is read together
    in_portions(part.first, part.last, packing_work * panel_size_, side_by_side, progress,
                [&](size_t first, size_t last) { fill({first, last}, buffer.data() + first * panel_size_); });
  };
  if (buffer.size() > 0 && !run_team(members, work)) run_team(members = 1, work);
  buffer_ = std::move(buffer);
  state_.store(State::packed, std::memory_order_release);
  return view(buffer_.data());
}

template <class T>
bool Pack<T>::take_fresh() const {
  State expected = State::fresh;
  return state_.load(std::memory_order_relaxed) == expected && state_.compare_exchange_strong(expected, State::read);
}

template <class T>
void Pack<T>::fill(const Part& panels, T* to) const {
  kernels_.format.fill(from_, left_width_, panels.first, panels.last, to);
}

template <class T>
PackReader<T>::PackReader(const Pack<T>& pack, bool once) : pack_(pack), panels_(pack.view(nullptr)) {
  // Enough for the widest tiles, and few enough to stay in the second-level cache.
  constexpr size_t most = 6;
  if (once && pack.weights() > 0 && pack.take_fresh())
    at_a_time_ = std::clamp<size_t>(machine().fill_bytes() / sizeof(T) / pack.panel_size(), 1, most);
}

template <class T>
void PackReader<T>::prepare(int members, T* scratch, size_t size) {
  scratch_ = scratch;
  member_scratch_ = size;
  if (at_a_time_ == 0) panels_ = pack_.whole(members);
}

template <class T>
void PackReader<T>::run(void (*function)(const Pass<T>&), Pass<T>& pass, int member) const {
  pass.right = panels_;
  // Without a left factor there is nothing to multiply.
  at_a_time_ > 0 && pass.left.size > 0 ? fill_and_run(function, pass, member) : function(pass);
}

template <class T>
void PackReader<T>::fill_and_run(void (*function)(const Pass<T>&), Pass<T> pass, int member) const {
  T* const panels = scratch_ + static_cast<size_t>(member) * member_scratch_;
  const Part all{pass.first_panel, pass.last_panel};
  for (size_t first = all.first; first < all.last; first = pass.last_panel) {
    pass.first_panel = first;
    pass.last_panel = std::min(first + at_a_time_, all.last);
    pack_.fill({pass.first_panel, pass.last_panel}, panels);
    pass.right.data = panels - first * pack_.panel_size();  // as if those before them stood there too
    function(pass);
  }
}

template <class T>
void PackReaders<T>::prepare(int members) {
  const size_t size = std::max({hidden.scratch_size(), second.scratch_size(), input.scratch_size()});
  scratch_ = Buffer<T>(product(static_cast<size_t>(members), size));
  for (PackReader<T>* reader : {&hidden, &second, &input}) reader->prepare(members, scratch_.data(), size);
}

template class Pack<float>;
template class Pack<double>;
template class PackReader<float>;
template class PackReader<double>;
template struct PackReaders<float>;
template struct PackReaders<double>;

}  // namespace gru
