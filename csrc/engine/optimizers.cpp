#include "engine/optimizers.h"

#include <cmath>

namespace gru {

namespace {

// Numbers are rounded to T before they meet an array, and sums are taken in this order: as NumPy does it.
template <class T>
T decayed(T gradient, T parameter, T l2) {
  return l2 != 0 ? parameter * l2 + gradient : gradient;
}

template <class T>
T averaged(T average, T value, T share) {
  return (value - average) * share + average;
}

template <class T>
T averaged_square(T average, T value, T decay, T share) {
  return average * decay + value * value * share;
}

}  // namespace

template <class T>
void sgd_step(size_t n, const T* __restrict parameter, const T* __restrict gradient, const T* __restrict buffer,
              T* __restrict new_parameter, T* __restrict new_buffer, const SgdRates& rates) {
  const auto rate = static_cast<T>(-rates.lr), momentum = static_cast<T>(rates.momentum);
  const auto damped = static_cast<T>(rates.damped), l2 = static_cast<T>(rates.l2);
  const bool is_nesterov = rates.is_nesterov, is_first = rates.is_first;
  for (size_t i = 0; i < n; ++i) {
    const T d = decayed(gradient[i], parameter[i], l2);
    T direction = d;
    if (buffer) {
      const T moved = is_first ? d : buffer[i] * momentum + d * damped;
      new_buffer[i] = moved;
      direction = is_nesterov ? moved * momentum + d : moved;
    }
    new_parameter[i] = direction * rate + parameter[i];
  }
}

template <class T>
void rmsprop_step(size_t n, const T* __restrict parameter, const T* __restrict gradient, const T* __restrict square,
                  const T* __restrict mean, const T* __restrict buffer, T* __restrict new_parameter,
                  T* __restrict new_square, T* __restrict new_mean, T* __restrict new_buffer,
                  const RmspropRates& rates) {
  const auto rate = static_cast<T>(-rates.lr), alpha = static_cast<T>(rates.alpha);
  const auto share = static_cast<T>(1 - rates.alpha), eps = static_cast<T>(rates.eps), l2 = static_cast<T>(rates.l2);
  const auto momentum = static_cast<T>(rates.momentum);
  for (size_t i = 0; i < n; ++i) {
    const T d = decayed(gradient[i], parameter[i], l2);
    T variance = averaged_square(square[i], d, alpha, share);
    new_square[i] = variance;
    if (mean) {
      const T centre = averaged(mean[i], d, share);
      new_mean[i] = centre;
      variance -= centre * centre;
    }
    T direction = d / (std::sqrt(variance) + eps);
    if (buffer) new_buffer[i] = direction = buffer[i] * momentum + direction;
    new_parameter[i] = direction * rate + parameter[i];
  }
}

template <class T>
void adam_step(size_t n, const T* __restrict parameter, const T* __restrict gradient, const T* __restrict mean,
               const T* __restrict square, T* __restrict new_parameter, T* __restrict new_mean,
               T* __restrict new_square, const AdamRates& rates) {
  const auto share1 = static_cast<T>(1 - rates.beta1), share2 = static_cast<T>(1 - rates.beta2);
  const auto beta2 = static_cast<T>(rates.beta2), eps = static_cast<T>(rates.eps), l2 = static_cast<T>(rates.l2);
  const auto rate = static_cast<T>(-rates.rate), root = static_cast<T>(rates.root);
  const auto shrink = static_cast<T>(rates.shrink);
  for (size_t i = 0; i < n; ++i) {
    const T d = decayed(gradient[i], parameter[i], l2);
    const T m = averaged(mean[i], d, share1), v = averaged_square(square[i], d, beta2, share2);
    new_mean[i] = m;
    new_square[i] = v;
    new_parameter[i] = m / (std::sqrt(v) / root + eps) * rate + parameter[i] * shrink;
  }
}

#define GRU_INSTANTIATE(T)                                                                             \
  template void sgd_step(size_t, const T*, const T*, const T*, T*, T*, const SgdRates&);               \
  template void rmsprop_step(size_t, const T*, const T*, const T*, const T*, const T*, T*, T*, T*, T*, \
                             const RmspropRates&);                                                     \
  template void adam_step(size_t, const T*, const T*, const T*, const T*, T*, T*, T*, const AdamRates&);
GRU_INSTANTIATE(float)
GRU_INSTANTIATE(double)
#undef GRU_INSTANTIATE

}  // namespace gru
