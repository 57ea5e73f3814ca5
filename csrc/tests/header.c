/* The header is C11, and a program in C reaches the core by it alone. */
#include "gru_native.h"

#include <stdlib.h>
#include <string.h>

enum { steps = 3, batch = 2, inputs = 4, hidden = 5 };

/* Two calls of a GRU whose weights are zero, the second one for gradients. Returns 0, or the number of what failed. */
int call_from_c(void) {
  static const float matrix[3 * hidden * hidden], x[steps * batch * inputs];
  float output[steps * batch * hidden], h_n[batch * hidden], d_x[steps * batch * inputs];
  float d_weight_ih[3 * hidden * inputs], d_weight_hh[3 * hidden * hidden];
  gn_error error = {sizeof error, "", ""};
  gn_weights* weights = NULL;
  gn_weights_options options = {.size = sizeof options,
                                .cell = GN_GRU_RESET_AFTER,
                                .type = GN_FLOAT32,
                                .input_size = inputs,
                                .hidden_size = hidden,
                                .parameters = {.weight_ih = matrix, .weight_hh = matrix}};
  gn_call call = {.size = sizeof call,
                  .steps = steps,
                  .batch = batch,
                  .x = {x, {batch * inputs, inputs}},
                  .output = {output, {batch * hidden, hidden}},
                  .h_n = {h_n, {0, hidden}}};
  gn_backward_call backward = {.size = sizeof backward, .forward = &call, .d_x = {d_x, {batch * inputs, inputs}}};
  if (gn_abi_version() != GN_ABI_VERSION) return 1;
  if (gn_forward(&call, &error) != GN_INVALID || strcmp(error.argument, "weights") != 0) return 2;
  if (gn_weights_create(&options, &weights, &error) != GN_OK) return 3;
  call.weights[0] = weights;
  if (gn_forward(&call, &error) != GN_OK) return 4;
  call.keep = GN_KEEP_GATES;
  if (gn_tape_size(&call, &call.tape_size, &error) != GN_OK) return 5;
  call.tape = aligned_alloc(64, call.tape_size);
  if (!call.tape || gn_forward(&call, NULL) != GN_OK) return 6;
  backward.d_output = (gn_input){output, {batch * hidden, hidden}};
  backward.gradients[0] = (gn_gradients){.weight_ih = d_weight_ih, .weight_hh = d_weight_hh};
  if (gn_backward(&backward, &error) != GN_OK) return 7;
  if (gn_backward(&backward, &error) != GN_USED) return 8;
  free(call.tape);
  gn_weights_destroy(weights);
  for (int i = 0; i < steps * batch * hidden; ++i)
    if (output[i] != 0) return 9;
  return 0;
}
