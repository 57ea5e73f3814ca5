/* Calls every function of gru_native.h, and prints what comes of it. Compiled against the first header, it must go on
   to print what it prints compiled against the present one.

       program model.safetensors */
#include <gru_native.h>
#include <stdio.h>
#include <stdlib.h>

enum { T = 3, B = 2, I = 4, H = 5, G = 3, LARGE = 16 };

static gn_error error = {.size = sizeof error};

static void check(const char* name, gn_status status) {
  printf("%s %d\n", name, (int)status);
  if (status != GN_OK) printf("  [%s] %s\n", error.argument, error.message);
}

#define CHECK(function, ...) check(#function, function(__VA_ARGS__, &error))

static void show(const char* name, const float* values, size_t count) {
  printf("  %s:", name);
  for (size_t i = 0; i < count; ++i) printf(" %.9g", (double)values[i]);
  printf("\n");
}

static void fill(float* values, size_t count, unsigned seed) {
  for (size_t i = 0; i < count; ++i) {
    seed = seed * 1664525u + 1013904223u;
    values[i] = (float)(int)(seed >> 20) / 2048 - 1;
  }
}

#define SHOW(array) show(#array, &(array)[0], sizeof(array) / sizeof(float))
#define FILL(array, seed) fill(&(array)[0], sizeof(array) / sizeof(float), seed)

static int allocations, tasks;

static void* allocate(void* user, size_t bytes, size_t alignment) {
  ++*(int*)user;
  return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void release(void* user, void* memory) {
  (void)user;
  free(memory);
}

static int ready(void* user, int wanted) {
  (void)user;
  return wanted;
}

/* One member after the other, which is enough for what is called here. */
static bool run(void* user, int members, void (*task)(void* data, int member), void* data) {
  ++*(int*)user;
  for (int member = 0; member < members; ++member) task(data, member);
  return true;
}

static bool asked(void* user) { return *(bool*)user; }

static void process(void) {
  static bool stop = false;
  static float large[1 << 20];
  const gn_allocator allocator = {
      .size = sizeof allocator, .allocate = allocate, .release = release, .user = &allocations};
  const gn_executor executor = {.size = sizeof executor, .ready = ready, .run = run, .user = &tasks};
  const gn_context_options options = {
      .size = sizeof options, .team = GN_EXECUTOR, .executor = &executor, .asked = asked, .user = &stop};
  gn_context* context;
  const char* isa;
  size_t width;

  printf("abi %u\n", (unsigned)gn_abi_version());
  CHECK(gn_set_allocator, &allocator);
  void* const memory = gn_allocate(gn_least_kept());
  gn_release(memory, gn_least_kept());
  printf("  kept %d, allocations %d\n", gn_release_kept() >= gn_least_kept(), allocations > 0);
  CHECK(gn_set_team, GN_EXECUTOR, &executor);
  printf("  team %d\n", (int)gn_get_team());
  CHECK(gn_set_team, GN_THREADS, NULL);
  CHECK(gn_watch, asked, &stop);
  CHECK(gn_context_create, &options, &context);
  gn_use_context(context);
  printf("  team %d\n", (int)gn_get_team());
  CHECK(gn_dropout, GN_FLOAT32, sizeof large / sizeof large[0], large, large, 1, 0.5, 2);
  printf("  tasks %d\n", tasks > 0);
  gn_use_context(NULL);
  gn_context_destroy(context);
  gn_use_threads(3);
  printf("  threads %d\n", gn_default_threads());
  printf("  threads %d\n", gn_use_threads(0));
  printf("  threads %d, quota %d\n", gn_default_threads() > 0, gn_cpu_quota("") >= 0);
  CHECK(gn_active_isa, &isa);
  CHECK(gn_vector_width, GN_FLOAT32, &width);
  printf("  isa %s %s, width %zu, active %s, blas %d\n", gn_built_isa(0), gn_supported_isa(0), width, isa,
         gn_blas()[0] != 0);
}

/* P is the size of h. */
static void layer(gn_cell cell, int P) {
  const bool is_lstm = cell == GN_LSTM, has_gains = cell == GN_GRU_LAYER_NORM;
  float w_ih[4 * H * I], w_hh[4 * H * H], b_ih[4 * H], b_hh[4 * H], gamma_ih[4 * H], gamma_hh[4 * H], peephole[3 * H];
  float w_hr[H * H], x[T * B * I], h_0[B * H], c_0[B * H], mask[B * H], d_output[T * B * H], d_h_n[B * H], d_c_n[B * H];
  float output[T * B * H] = {0}, h_n[B * H] = {0}, c_n[B * H] = {0}, gate[T * B * H] = {0};
  float d_x[T * B * I], d_h_0[B * H] = {0}, d_c_0[B * H] = {0}, d_w_ih[4 * H * I] = {0}, d_w_hh[4 * H * H] = {0};
  float d_b_ih[4 * H] = {0}, d_b_hh[4 * H] = {0}, d_gamma_ih[4 * H] = {0}, d_gamma_hh[4 * H] = {0};
  float d_peephole[3 * H] = {0}, d_w_hr[H * H] = {0};
  const int64_t lengths[B] = {T, T - 1};
  const unsigned char reset[T * B] = {0, 0, 1, 0, 0, 0};
  FILL(w_ih, 1), FILL(w_hh, 2), FILL(b_ih, 3), FILL(b_hh, 4), FILL(gamma_ih, 5), FILL(gamma_hh, 6), FILL(peephole, 7);
  FILL(w_hr, 8), FILL(x, 9), FILL(h_0, 10), FILL(c_0, 11), FILL(mask, 12), FILL(d_output, 13), FILL(d_h_n, 14);
  FILL(d_c_n, 15);

  gn_weights_options options = {
      .size = sizeof options,
      .cell = cell,
      .type = GN_FLOAT32,
      .input_size = I,
      .hidden_size = H,
      .parameters = {.weight_ih = w_ih, .weight_hh = w_hh, .bias_ih = b_ih, .bias_hh = b_hh},
  };
  gn_gradients gradients = {.weight_ih = d_w_ih, .weight_hh = d_w_hh, .bias_ih = d_b_ih, .bias_hh = d_b_hh};
  if (is_lstm) {
    options.parameters.peephole = peephole, gradients.peephole = d_peephole;
    options.parameters.weight_hr = w_hr, gradients.weight_hr = d_w_hr;
    options.projection_size = (size_t)P;
    options.input_forget = true;
    options.parameters.bias_hh = NULL, gradients.bias_hh = NULL;
  }
  if (has_gains) {
    options.parameters.gamma_ih = gamma_ih, gradients.gamma_ih = d_gamma_ih;
    options.parameters.gamma_hh = gamma_hh, gradients.gamma_hh = d_gamma_hh;
  } else {
    options.activations[0] = (gn_activation){.function = GN_HARD_SIGMOID, .alpha = 0.2, .beta = 0.5};
    options.activations[1] = (gn_activation){.function = GN_SCALED_TANH, .alpha = 0.9, .beta = 1.1};
    options.clip = 2;
  }
  gn_weights* weights;
  gn_weights_info info = {.size = sizeof info};
  CHECK(gn_weights_create, &options, &weights);
  CHECK(gn_weights_describe, weights, &info);
  printf("  %d %d %zu %zu %zu %zu %zu %d%d%d%d %s\n", (int)info.cell, (int)info.type, info.input_size, info.hidden_size,
         info.output_size, info.gates, info.states, info.bias_ih, info.bias_hh, info.gains, info.peepholes, info.isa);

  gn_call call = {.size = sizeof call,
                  .weights = {weights, NULL},
                  .reverse = is_lstm,
                  .threads = 1,
                  .steps = T,
                  .batch = B,
                  .lengths = lengths,
                  .reset = {.data = reset, .stride = {B, 1}},
                  .x = {.data = x, .stride = {B * I, I}},
                  .h_0 = {.data = h_0, .stride = {0, P}},
                  .mask = {.data = mask, .stride = {0, P}},
                  .zoneout = cell == GN_GRU_RESET_AFTER ? 0.25 : 0,
                  .zoneout_is_random = cell == GN_GRU_RESET_AFTER,
                  .zoneout_key = {11, 12},
                  .output = {.data = output, .stride = {B * P, P}},
                  .h_n = {.data = h_n, .stride = {0, P}},
                  .keep = GN_KEEP_GATES};
  if (is_lstm) call.c_0 = (gn_input){.data = c_0, .stride = {0, H}};
  if (is_lstm) call.c_n = (gn_output){.data = c_n, .stride = {0, H}};
  CHECK(gn_tape_size, &call, &call.tape_size);
  call.tape = aligned_alloc(64, (call.tape_size + 63) / 64 * 64);
  CHECK(gn_forward, &call);
  SHOW(output), SHOW(h_n), SHOW(c_n);
  CHECK(gn_copy_gate, &call, 0, info.gates - 1, &(gn_output){.data = gate, .stride = {B * H, H}});
  SHOW(gate);

  gn_backward_call backward = {.size = sizeof backward,
                               .forward = &call,
                               .d_output = {.data = d_output, .stride = {B * P, P}},
                               .d_h_n = {.data = d_h_n, .stride = {0, P}},
                               .d_x = {.data = d_x, .stride = {B * I, I}},
                               .d_h_0 = {.data = d_h_0, .stride = {0, P}},
                               .gradients = {gradients},
                               .keep_tape = true};
  if (is_lstm) backward.d_c_n = (gn_input){.data = d_c_n, .stride = {0, H}};
  if (is_lstm) backward.d_c_0 = (gn_output){.data = d_c_0, .stride = {0, H}};
  CHECK(gn_backward, &backward);
  SHOW(d_x), SHOW(d_h_0), SHOW(d_c_0), SHOW(d_w_ih), SHOW(d_w_hh), SHOW(d_b_ih), SHOW(d_b_hh);
  SHOW(d_gamma_ih), SHOW(d_gamma_hh), SHOW(d_peephole), SHOW(d_w_hr);
  backward.keep_tape = false;
  backward.accumulate_d_x = true;
  CHECK(gn_backward, &backward);
  SHOW(d_x);
  CHECK(gn_backward, &backward);
  free(call.tape);
  gn_weights_destroy(weights);
}

static void other_functions(void) {
  float w[H * I], b[H], x[B * I], y[B * H], d_x[B * I], d_w[H * I], d_b[H], d_logits[B * H];
  float p[LARGE], g[LARGE], m[LARGE], v[LARGE], d[LARGE], q[LARGE], new_m[LARGE], new_v[LARGE], new_d[LARGE];
  double losses[B], means[B], variances[B], seconds;
  const int64_t targets[B] = {1, 4};
  gn_linear* linear;
  FILL(w, 1), FILL(b, 2), FILL(x, 3), FILL(p, 4), FILL(g, 5), FILL(m, 6), FILL(v, 7), FILL(d, 8);
  for (int i = 0; i < LARGE; ++i) v[i] = v[i] * v[i] + 2; /* a mean of squares, more than that of the mean */

  CHECK(gn_linear_create, GN_FLOAT32, I, H, w, b, &linear);
  CHECK(gn_linear_forward, linear, B, x, I, y, H, 1);
  SHOW(y);
  CHECK(gn_cross_entropy, GN_FLOAT32, B, H, y, targets, -1, 0.1, losses, d_logits, 1);
  printf("  %.17g %.17g\n", losses[0], losses[1]);
  CHECK(gn_linear_backward, linear, B, x, d_logits, d_x, d_w, d_b, 1);
  SHOW(d_x), SHOW(d_w), SHOW(d_b);
  gn_linear_destroy(linear);
  CHECK(gn_embedding_backward, GN_FLOAT32, B, targets, y, H, H, I, -1, d_w, 1);
  SHOW(d_w);
  CHECK(gn_dropout, GN_FLOAT32, LARGE, p, q, 7, 0.5, 1);
  SHOW(q);
  CHECK(gn_sigmoid, GN_FLOAT32, LARGE, p, q);
  SHOW(q);
  CHECK(gn_tanh, GN_FLOAT32, LARGE, p, q);
  SHOW(q);
  CHECK(gn_moments, GN_FLOAT32, B, I, x, means, variances);
  printf("  %.17g %.17g %.17g %.17g\n", means[0], means[1], variances[0], variances[1]);
  CHECK(gn_read_seconds, 4096, 1, 1, &seconds);

  const gn_sgd sgd = {.size = sizeof sgd,
                      .parameter = p,
                      .gradient = g,
                      .buffer = m,
                      .new_parameter = q,
                      .new_buffer = new_m,
                      .lr = 0.1,
                      .momentum = 0.9,
                      .damped = 0.8,
                      .l2 = 0.01,
                      .is_nesterov = true,
                      .is_first = false};
  CHECK(gn_sgd_step, GN_FLOAT32, LARGE, &sgd);
  SHOW(q), SHOW(new_m);
  const gn_rmsprop rmsprop = {.size = sizeof rmsprop,
                              .parameter = p,
                              .gradient = g,
                              .square = v,
                              .mean = m,
                              .buffer = d,
                              .new_parameter = q,
                              .new_square = new_v,
                              .new_mean = new_m,
                              .new_buffer = new_d,
                              .lr = 0.1,
                              .alpha = 0.9,
                              .eps = 0.001,
                              .l2 = 0.01,
                              .momentum = 0.8};
  CHECK(gn_rmsprop_step, GN_FLOAT32, LARGE, &rmsprop);
  SHOW(q), SHOW(new_v), SHOW(new_m), SHOW(new_d);
  const gn_adam adam = {.size = sizeof adam,
                        .parameter = p,
                        .gradient = g,
                        .mean = m,
                        .square = v,
                        .new_parameter = q,
                        .new_mean = new_m,
                        .new_square = new_v,
                        .beta1 = 0.9,
                        .beta2 = 0.99,
                        .eps = 0.001,
                        .l2 = 0.01,
                        .rate = 0.1,
                        .root = 0.2,
                        .shrink = 0.999};
  CHECK(gn_adam_step, GN_FLOAT32, LARGE, &adam);
  SHOW(q), SHOW(new_m), SHOW(new_v);
}

static void session_and_pool(const gn_model* model, const gn_model_info* info) {
  const size_t out = info->output_size; /* it and the input size are 4 at the most */
  float x[LARGE], y[LARGE], state[B * LARGE];
  unsigned char snapshot[1024];
  const bool second[B] = {false, true};
  gn_session* session;
  size_t bytes;
  FILL(x, 1);

  CHECK(gn_session_create, model, B, &session);
  CHECK(gn_session_step, session, x, y);
  show("y", y, B * out);
  CHECK(gn_session_get, session, 0, state);
  show("state", state, B);
  CHECK(gn_snapshot_size, model, B, &bytes);
  printf("  bytes %zu\n", bytes);
  CHECK(gn_session_snapshot, session, snapshot, sizeof snapshot);
  CHECK(gn_session_reset, session, second);
  CHECK(gn_session_run, session, 2, x, y, 1);
  show("y", y, 2 * B * out);
  CHECK(gn_session_set, session, 0, state);
  CHECK(gn_session_restore, session, snapshot, bytes);
  CHECK(gn_session_update, session, model);
  CHECK(gn_session_step, session, x, y);
  show("y", y, B * out);
  CHECK(gn_session_restore, session, snapshot, bytes - 1);
  gn_session_destroy(session);

  gn_pool* pool;
  gn_pool_info of_pool = {.size = sizeof of_pool};
  uint64_t ids[B + 1];
  CHECK(gn_pool_create, model, B, 4, &pool);
  for (int i = 0; i <= B; ++i) CHECK(gn_pool_open, pool, -1, &ids[i]);
  CHECK(gn_pool_step, pool, B, ids, x, y);
  show("y", y, B * out);
  CHECK(gn_snapshot_size, model, 1, &bytes);
  CHECK(gn_pool_snapshot, pool, ids[1], snapshot, bytes);
  CHECK(gn_pool_close, pool, ids[1]);
  CHECK(gn_pool_close, pool, ids[1]);
  CHECK(gn_pool_restore, pool, snapshot, bytes, 0, &ids[1]);
  CHECK(gn_pool_reset, pool, 1, ids);
  CHECK(gn_pool_grow, pool, B + 1);
  CHECK(gn_pool_update, pool, model);
  CHECK(gn_pool_step, pool, B, ids, x, y);
  show("y", y, B * out);
  CHECK(gn_pool_describe, pool, &of_pool);
  printf("  %zu %zu %zu %d\n", of_pool.capacity, of_pool.open, of_pool.shards, of_pool.bytes > 0);
  gn_pool_destroy(pool);
}

static void file_and_model(const char* path) {
  static unsigned char content[1 << 16];
  gn_file *file, *same;
  gn_model* model;
  gn_model_info info = {.size = sizeof info};
  CHECK(gn_file_load, path, &file);
  FILE* const stream = fopen(path, "rb");
  CHECK(gn_file_read, content, fread(content, 1, sizeof content, stream), &same);
  fclose(stream);
  gn_file_destroy(same);
  for (size_t place = 0; gn_file_name(file, place); ++place) {
    gn_array array = {.size = sizeof array};
    CHECK(gn_file_array, file, gn_file_name(file, place), &array);
    printf("  %s %s %zu %zu\n", gn_file_name(file, place), array.type, array.axes, array.shape[0]);
    show("data", array.data, 2);
  }

  CHECK(gn_model_create, file, &model);
  gn_file_destroy(file);
  CHECK(gn_model_describe, model, &info);
  printf("  %d %zu %zu %zu %zu %zu %02x%02x\n", (int)info.type, info.input_size, info.indices, info.output_size,
         info.states, info.work, info.digest[0], info.digest[31]);
  for (size_t place = 0; place <= info.states; ++place) {
    gn_state state = {.size = sizeof state};
    CHECK(gn_model_state, model, place, &state);
    if (state.name) printf("  %s %zu %d\n", state.name, state.elements, state.is_whole);
  }
  session_and_pool(model, &info);
  gn_model_destroy(model);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  process();
  layer(GN_GRU_RESET_AFTER, H);
  layer(GN_GRU_LAYER_NORM, H);
  layer(GN_LSTM, H - 2);
  other_functions();
  file_and_model(argv[1]);
  return 0;
}
