#include "engine/optimizers.h"

#include "checks.h"

namespace gru::api {

namespace {

// An array that is there exactly if another one is.
void check_pair(const void* one, const void* other, const char* name) {
  if (!one != !other) refuse(name, one ? "an array" : "NULL", one ? "NULL" : "an array");
}

}  // namespace

}  // namespace gru::api

using namespace gru::api;

gn_status gn_sgd_step(gn_type type, size_t n, const gn_sgd* step, gn_error* error) {
  return guarded(error, [&] {
    gn_sgd room;
    const gn_sgd& own = taken(step, "step", room);
    check_pair(own.buffer, own.new_buffer, "new_buffer");
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      gru::sgd_step<T>(n, typed<const T>(own.parameter, "parameter", n > 0),
                       typed<const T>(own.gradient, "gradient", n > 0), typed<const T>(own.buffer, "buffer", false),
                       typed<T>(own.new_parameter, "new_parameter", n > 0),
                       typed<T>(own.new_buffer, "new_buffer", false),
                       {own.lr, own.momentum, own.damped, own.l2, own.is_nesterov, own.is_first});
    });
  });
}

gn_status gn_rmsprop_step(gn_type type, size_t n, const gn_rmsprop* step, gn_error* error) {
  return guarded(error, [&] {
    gn_rmsprop room;
    const gn_rmsprop& own = taken(step, "step", room);
    check_pair(own.mean, own.new_mean, "new_mean");
    check_pair(own.buffer, own.new_buffer, "new_buffer");
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      gru::rmsprop_step<T>(
          n, typed<const T>(own.parameter, "parameter", n > 0), typed<const T>(own.gradient, "gradient", n > 0),
          typed<const T>(own.square, "square", n > 0), typed<const T>(own.mean, "mean", false),
          typed<const T>(own.buffer, "buffer", false), typed<T>(own.new_parameter, "new_parameter", n > 0),
          typed<T>(own.new_square, "new_square", n > 0), typed<T>(own.new_mean, "new_mean", false),
          typed<T>(own.new_buffer, "new_buffer", false), {own.lr, own.alpha, own.eps, own.l2, own.momentum});
    });
  });
}

gn_status gn_adam_step(gn_type type, size_t n, const gn_adam* step, gn_error* error) {
  return guarded(error, [&] {
    gn_adam room;
    const gn_adam& own = taken(step, "step", room);
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      gru::adam_step<T>(n, typed<const T>(own.parameter, "parameter", n > 0),
                        typed<const T>(own.gradient, "gradient", n > 0), typed<const T>(own.mean, "mean", n > 0),
                        typed<const T>(own.square, "square", n > 0),
                        typed<T>(own.new_parameter, "new_parameter", n > 0), typed<T>(own.new_mean, "new_mean", n > 0),
                        typed<T>(own.new_square, "new_square", n > 0),
                        {own.beta1, own.beta2, own.eps, own.l2, own.rate, own.root, own.shrink});
    });
  });
}
