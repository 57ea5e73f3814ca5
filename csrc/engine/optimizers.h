// One step of an optimizer for one parameter of n values: from its gradient and what is remembered of the gradients
// before, always to new arrays. The formulas are those of PyTorch's optimizers.
#pragma once

#include <cstddef>

namespace gru {

// l2: the weight decay that is added to the gradient.
struct SgdRates {
  double lr, momentum, damped, l2;  // damped: 1 - dampening
  bool is_nesterov, is_first;
};

struct RmspropRates {
  double lr, alpha, eps, l2, momentum;
};

struct AdamRates {
  double beta1, beta2, eps, l2;
  double rate, root;  // lr / (1 - beta1^step), sqrt(1 - beta2^step)
  double shrink;      // what the parameter is multiplied by, 1 without decoupled weight decay
};

// Without momentum `buffer` and `new_buffer` are null.
template <class T>
void sgd_step(size_t n, const T* parameter, const T* gradient, const T* buffer, T* new_parameter, T* new_buffer,
              const SgdRates& rates);

// The mean is null unless the variance is to be centred, and the buffer without momentum.
template <class T>
void rmsprop_step(size_t n, const T* parameter, const T* gradient, const T* square, const T* mean, const T* buffer,
                  T* new_parameter, T* new_square, T* new_mean, T* new_buffer, const RmspropRates& rates);

template <class T>
void adam_step(size_t n, const T* parameter, const T* gradient, const T* mean, const T* square, T* new_parameter,
               T* new_mean, T* new_square, const AdamRates& rates);

}  // namespace gru
