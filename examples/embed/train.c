/* Trains a classifier of sequences: a GRU, and a linear layer behind its last state. It prints the loss of each step.

       train start.safetensors 100

   The file holds the parameters at the beginning, under PyTorch's names, x (T, B, I) and targets (B). */
#include <gru_native.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static gn_error error = {.size = sizeof error};

static void check(gn_status status) {
  if (status == GN_OK) return;
  fprintf(stderr, "%s\n", error.message);
  exit(1);
}

static void* zeros(size_t count, size_t size) {
  void* memory = calloc(count, size);
  if (!memory) exit(1);
  return memory;
}

static gn_array array(const gn_file* file, const char* name, const char* type) {
  gn_array found = {.size = sizeof found};
  check(gn_file_array(file, name, &found, &error));
  if (strcmp(found.type, type) == 0) return found;
  fprintf(stderr, "%s: expected %s, got %s\n", name, type, found.type);
  exit(1);
}

/* A parameter with its gradient, what Adam remembers, and room for the next of them. */
typedef struct parameter {
  size_t size;
  float *memory, *value, *gradient, *mean, *square, *next_value, *next_mean, *next_square;
} parameter;

static parameter make_parameter(const gn_file* file, const char* name) {
  const gn_array start = array(file, name, "F32");
  size_t n = 1;
  for (size_t axis = 0; axis < start.axes; ++axis) n *= start.shape[axis];
  float* room = zeros(7 * n, sizeof *room);
  memcpy(room, start.data, n * sizeof *room);
  return (parameter){.size = n,
                     .memory = room,
                     .value = room,
                     .gradient = room + n,
                     .mean = room + 2 * n,
                     .square = room + 3 * n,
                     .next_value = room + 4 * n,
                     .next_mean = room + 5 * n,
                     .next_square = room + 6 * n};
}

static void swap(float** a, float** b) {
  float* const kept = *a;
  *a = *b;
  *b = kept;
}

static void adam(parameter* p, int step) {
  const double lr = 0.01, beta1 = 0.9, beta2 = 0.999;
  const gn_adam call = {.size = sizeof call,
                        .parameter = p->value,
                        .gradient = p->gradient,
                        .mean = p->mean,
                        .square = p->square,
                        .new_parameter = p->next_value,
                        .new_mean = p->next_mean,
                        .new_square = p->next_square,
                        .beta1 = beta1,
                        .beta2 = beta2,
                        .eps = 1e-8,
                        .rate = lr / (1 - pow(beta1, step)),
                        .root = sqrt(1 - pow(beta2, step)),
                        .shrink = 1};
  check(gn_adam_step(GN_FLOAT32, p->size, &call, &error));
  swap(&p->value, &p->next_value);
  swap(&p->mean, &p->next_mean);
  swap(&p->square, &p->next_square);
}

int main(int argc, char** argv) {
  gn_file* file;
  if (argc != 3) return fprintf(stderr, "usage: train START STEPS\n"), 2;
  check(gn_file_load(argv[1], &file, &error));
  enum { W_IH, W_HH, B_IH, B_HH, W, B, PARAMETERS };
  const char* const names[] = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight", "bias"};
  parameter p[PARAMETERS];
  for (int i = 0; i < PARAMETERS; ++i) p[i] = make_parameter(file, names[i]);

  const gn_array x = array(file, "x", "F32"), targets = array(file, "targets", "I64");
  const size_t steps = x.shape[0], batch = x.shape[1], inputs = x.shape[2];
  const size_t hidden = p[B_HH].size / 3, classes = p[B].size;
  float* output = zeros(steps * batch * hidden, sizeof *output);
  float* h_n = zeros(batch * hidden, sizeof *h_n);
  float* d_h_n = zeros(batch * hidden, sizeof *d_h_n);
  float* logits = zeros(batch * classes, sizeof *logits);
  float* d_logits = zeros(batch * classes, sizeof *d_logits);
  double* losses = zeros(batch, sizeof *losses);
  void* tape = NULL;

  for (int step = 1; step <= atoi(argv[2]); ++step) {
    /* Weights are made anew for each step: what they were made of changes. */
    const gn_weights_options options = {
        .size = sizeof options,
        .cell = GN_GRU_RESET_AFTER,
        .type = GN_FLOAT32,
        .input_size = inputs,
        .hidden_size = hidden,
        .parameters = {p[W_IH].value, p[W_HH].value, .bias_ih = p[B_IH].value, .bias_hh = p[B_HH].value}};
    gn_weights* weights;
    gn_linear* linear;
    check(gn_weights_create(&options, &weights, &error));
    check(gn_linear_create(GN_FLOAT32, hidden, classes, p[W].value, p[B].value, &linear, &error));

    gn_call call = {.size = sizeof call,
                    .weights = {weights},
                    .steps = steps,
                    .batch = batch,
                    .x = {x.data, {(ptrdiff_t)(batch * inputs), (ptrdiff_t)inputs}},
                    .output = {output, {(ptrdiff_t)(batch * hidden), (ptrdiff_t)hidden}},
                    .h_n = {h_n, {0, (ptrdiff_t)hidden}},
                    .keep = GN_KEEP_GATES};
    check(gn_tape_size(&call, &call.tape_size, &error));
    if (!tape) tape = aligned_alloc(64, (call.tape_size + 63) / 64 * 64);
    call.tape = tape;
    check(gn_forward(&call, &error));
    check(gn_linear_forward(linear, batch, h_n, (ptrdiff_t)hidden, logits, (ptrdiff_t)classes, 0, &error));
    check(gn_cross_entropy(GN_FLOAT32, batch, classes, logits, targets.data, -1, 0, losses, d_logits, 0, &error));

    double loss = 0;
    for (size_t row = 0; row < batch; ++row) loss += losses[row];
    for (size_t i = 0; i < batch * classes; ++i) d_logits[i] *= (float)(1.0 / (double)batch);
    check(gn_linear_backward(linear, batch, h_n, d_logits, d_h_n, p[W].gradient, p[B].gradient, 0, &error));
    const gn_backward_call backward = {
        .size = sizeof backward,
        .forward = &call,
        .d_h_n = {d_h_n, {0, (ptrdiff_t)hidden}},
        .gradients = {{p[W_IH].gradient, p[W_HH].gradient, p[B_IH].gradient, p[B_HH].gradient}}};
    check(gn_backward(&backward, &error));
    gn_linear_destroy(linear);
    gn_weights_destroy(weights);
    for (int i = 0; i < PARAMETERS; ++i) adam(&p[i], step);
    printf("%.17g\n", loss / (double)batch);
  }
  free(tape);
  free(losses);
  free(d_logits);
  free(logits);
  free(d_h_n);
  free(h_n);
  free(output);
  for (int i = 0; i < PARAMETERS; ++i) free(p[i].memory);
  gn_file_destroy(file);
  return 0;
}
