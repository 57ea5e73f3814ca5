#include "engine/ctc.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <span>
#include <vector>

#include "engine/plan.h"
#include "kernels/dispatch.h"
#include "runtime/buffer.h"
#include "runtime/team.h"

namespace gru {

namespace {

// A number from 0 up with an exponent of its own, mantissa * 2^exponent: products of a thousand probabilities neither
// vanish nor need a logarithm. The mantissa is in [1, 2), or 0.
struct Wide {
  double mantissa = 0;
  int64_t exponent = least;

  static constexpr int64_t least = std::numeric_limits<int64_t>::min() / 8;
};

constexpr Wide none, one{1, 0};

// 2^k, or 0 where it is too small to add.
double power_of_2(int64_t k) { return k < -1000 ? 0 : std::bit_cast<double>(static_cast<uint64_t>(1023 + k) << 52); }

Wide normalized(double mantissa, int64_t exponent) {
  if (mantissa == 0) return {};
  const auto bits = std::bit_cast<uint64_t>(mantissa);
  constexpr uint64_t of_one = uint64_t{1023} << 52, fraction = (uint64_t{1} << 52) - 1;
  return {std::bit_cast<double>((bits & fraction) | of_one), exponent + static_cast<int64_t>(bits >> 52) - 1023};
}

Wide operator*(const Wide& a, const Wide& b) { return normalized(a.mantissa * b.mantissa, a.exponent + b.exponent); }

// (a + b + c) * factor.
Wide weighted_sum(const Wide& a, const Wide& b, const Wide& c, const Wide& factor) {
  const int64_t exponent = std::max({a.exponent, b.exponent, c.exponent});
  const double sum = a.mantissa * power_of_2(a.exponent - exponent) + b.mantissa * power_of_2(b.exponent - exponent) +
                     c.mantissa * power_of_2(c.exponent - exponent);
  return normalized(sum * factor.mantissa, exponent + factor.exponent);
}

Wide exp(double x) {
  if (!(x > -1e12)) return {};  // for the product of many steps there must be room
  const double k = std::floor(x * std::numbers::log2e);
  return normalized(std::exp(x - k * std::numbers::ln2), static_cast<int64_t>(k));
}

double log(const Wide& x) {
  return x.mantissa == 0 ? -std::numeric_limits<double>::infinity()
                         : std::log(x.mantissa) + static_cast<double>(x.exponent) * std::numbers::ln2;
}

// The memory of a member, which serves one sequence after another.
template <class T>
struct Scratch {
  Scratch(size_t steps, size_t classes, size_t size, bool keeps)
      : exponentials(keeps ? 0 : classes),
        labels(2 * size + 1),
        probabilities(product(steps, size + 1)),
        before(product(keeps ? steps : 2, 2 * size + 1)),
        behind(2 * (2 * size + 1)),
        shares(classes) {}

  Buffer<T> exponentials;           // of a step, when there is no gradient to hold them
  std::vector<size_t> labels;       // with a blank in front of each and at the end
  std::vector<Wide> probabilities;  // (T, 1 + S), the blank's first
  std::vector<Wide> before;         // (T, 2 S + 1), or of two steps: of a step's labels and all before it
  std::vector<Wide> behind;         // of two steps: of a step's label and all behind it
  std::vector<double> shares;       // (C) of a step
};

// One sequence.
template <class T>
class Alignment {
 public:
  Alignment(const CtcTargets& targets, size_t row, const T* logits, T* gradient, Scratch<T>& scratch)
      : targets_(targets),
        logits_(logits + row * targets.classes),
        gradient_(gradient ? gradient + row * targets.classes : nullptr),
        scratch_(scratch),
        steps_(static_cast<size_t>(targets.input_lengths[row])),
        size_(static_cast<size_t>(targets.label_lengths[row])),
        states_(2 * size_ + 1) {
    const int64_t* const labels = targets.labels + row * targets.size;
    for (size_t s = 0; s < states_; ++s)
      scratch_.labels[s] = s % 2 ? static_cast<size_t>(labels[s / 2]) : targets.blank;
  }

  double run(const Kernels<T>& kernels, Progress& progress) {
    const bool finite = read(kernels, progress);
    const Wide all = finite ? forward(progress) : Wide{};
    const double loss = finite ? -log(all) : std::numeric_limits<double>::quiet_NaN();
    if (gradient_ && std::isfinite(loss))
      backward(all, progress);
    else if (gradient_)
      fill(0, steps_, std::numeric_limits<T>::quiet_NaN());
    if (gradient_) fill(steps_, targets_.steps, T(0));
    return loss;
  }

 private:
  size_t offset(size_t t) const { return t * targets_.batch * targets_.classes; }
  Wide* before(size_t t) const { return scratch_.before.data() + (gradient_ ? t : t % 2) * states_; }
  // Of a state at a step.
  const Wide& probability(size_t t, size_t s) const {
    return scratch_.probabilities[t * (size_ + 1) + (s % 2 ? 1 + s / 2 : 0)];
  }
  // Whether a state can follow the one before its blank.
  bool skips(size_t s) const { return s % 2 == 1 && s > 1 && scratch_.labels[s] != scratch_.labels[s - 2]; }
  // The states that a step can be in, when all labels are to be written by the last one.
  size_t first(size_t t) const { return states_ - std::min(states_, 2 * (steps_ - t)); }
  size_t last(size_t t) const { return std::min(states_, 2 * (t + 1)); }

  void fill(size_t from, size_t to, T value) {
    for (size_t t = from; t < to; ++t) std::fill_n(gradient_ + offset(t), targets_.classes, value);
  }

  // Fills the probabilities, and the gradient by the softmax. Returns whether all numbers are good.
  bool read(const Kernels<T>& kernels, Progress& progress) {
    for (size_t t = 0; t < steps_; ++t) {
      const T* const x = logits_ + offset(t);
      T* const to = gradient_ ? gradient_ + offset(t) : scratch_.exponentials.data();
      const T shift = kernels.max(targets_.classes, x), sum = kernels.exp_sum(targets_.classes, x, shift, to);
      if (!std::isfinite(sum)) return false;
      if (gradient_)
        for (size_t c = 0; c < targets_.classes; ++c) to[c] /= sum;
      const double total = static_cast<double>(shift) + std::log(static_cast<double>(sum));
      Wide* const own = scratch_.probabilities.data() + t * (size_ + 1);
      for (size_t i = 0; i <= size_; ++i) {
        const auto logit = static_cast<double>(x[scratch_.labels[i ? 2 * i - 1 : 0]]);
        own[i] = exp(std::min(logit - total, 0.0));  // more only where another thread has written meanwhile
      }
      progress.add((targets_.classes + size_) * activation_work);
    }
    return true;
  }

  // The probability of all ways; of no steps, that of writing nothing.
  Wide forward(Progress& progress) {
    if (steps_ == 0) return size_ == 0 ? Wide{1, 0} : Wide{};
    for (size_t t = 0; t < steps_; ++t) {
      Wide* const now = before(t);
      const Wide* const then = t ? before(t - 1) : nullptr;
      std::fill_n(now, states_, Wide{});
      for (size_t s = first(t); s < last(t); ++s) {
        const Wide& stay = t ? then[s] : one;
        const Wide& next = t > 0 && s > 0 ? then[s - 1] : none;
        now[s] = weighted_sum(stay, next, t > 0 && skips(s) ? then[s - 2] : none, probability(t, s));
      }
      progress.add(states_ * activation_work);
    }
    const Wide* const end = before(steps_ - 1);
    return weighted_sum(end[states_ - 1], states_ > 1 ? end[states_ - 2] : none, none, one);
  }

  // Takes off the softmax what each class has of all ways.
  void backward(const Wide& all, Progress& progress) {
    for (size_t t = steps_; t-- > 0;) {
      Wide* const now = scratch_.behind.data() + t % 2 * states_;
      const Wide* const then = scratch_.behind.data() + (t + 1) % 2 * states_;
      std::fill_n(now, states_, Wide{});
      for (size_t s = first(t); s < last(t); ++s) {
        const Wide& stay = t + 1 < steps_ ? then[s] : one;
        const Wide& next = t + 1 < steps_ && s + 1 < states_ ? then[s + 1] : none;
        const Wide& other = t + 1 < steps_ && s + 2 < states_ && skips(s + 2) ? then[s + 2] : none;
        const Wide rest = weighted_sum(stay, next, other, one);
        now[s] = rest * probability(t, s);
        const Wide way = before(t)[s] * rest;
        scratch_.shares[scratch_.labels[s]] += way.mantissa / all.mantissa * power_of_2(way.exponent - all.exponent);
      }
      for (size_t s = first(t); s < last(t); ++s) take_off(gradient_ + offset(t), scratch_.labels[s]);
      progress.add(2 * states_ * activation_work);
    }
  }

  void take_off(T* gradient, size_t label) {
    gradient[label] = static_cast<T>(static_cast<double>(gradient[label]) - scratch_.shares[label]);
    scratch_.shares[label] = 0;
  }

  const CtcTargets& targets_;
  const T* const logits_;
  T* const gradient_;
  Scratch<T>& scratch_;
  const size_t steps_, size_, states_;
};

}  // namespace

template <class T>
void ctc(const CtcTargets& targets, const T* logits, double* losses, T* gradient, int threads) {
  if (targets.batch == 0) return;
  const Kernels<T>& kernels = kernels_of<T>(active_isa());
  const std::span lengths(targets.input_lengths, targets.batch), sizes(targets.label_lengths, targets.batch);
  const auto steps = static_cast<size_t>(*std::max_element(lengths.begin(), lengths.end()));
  const auto size = static_cast<size_t>(*std::max_element(sizes.begin(), sizes.end()));
  const Call mark;
  const size_t work = product(targets.batch, product(steps + 1, targets.classes + 4 * size + 2)) * activation_work;
  int members = plan_members(work, targets.batch, threads);
  std::vector<Scratch<T>> scratch;
  for (int member = 0; member < members; ++member) scratch.emplace_back(steps, targets.classes, size, gradient);
  Interruption interruption;
  auto compute = [&](int member) {
    Progress progress(interruption, member);
    const Part part = part_of(targets.batch, member, members);
    for (size_t row = part.first; row < part.last; ++row)
      losses[row] =
          Alignment<T>(targets, row, logits, gradient, scratch[static_cast<size_t>(member)]).run(kernels, progress);
  };
  if (!run_team(members, compute)) run_team(members = 1, compute);
}

template void ctc(const CtcTargets&, const float*, double*, float*, int);
template void ctc(const CtcTargets&, const double*, double*, double*, int);

}  // namespace gru
