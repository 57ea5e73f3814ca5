/* Runs a model that Python saved, step by step: for each line of numbers that comes in, a line goes out.

       stream model.safetensors < rows.txt */
#include <gru_native.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static gn_error error = {.size = sizeof error};

static void check(gn_status status) {
  if (status == GN_OK) return;
  fprintf(stderr, "%s\n", error.message);
  exit(1);
}

static bool read_row(float* x, size_t size) {
  for (size_t i = 0; i < size; ++i)
    if (scanf("%f", &x[i]) != 1) return false;
  return true;
}

int main(int argc, char** argv) {
  gn_file* file;
  gn_model* model;
  gn_model_info info = {.size = sizeof info};
  gn_session* session;

  if (argc != 2) return fprintf(stderr, "usage: stream MODEL < ROWS\n"), 2;
  check(gn_file_load(argv[1], &file, &error));
  check(gn_model_create(file, &model, &error));
  check(gn_model_describe(model, &info, &error));
  check(gn_session_create(model, 1, &session, &error));
  gn_model_destroy(model); /* the session keeps what it needs */
  gn_file_destroy(file);
  if (info.type != GN_FLOAT32 || info.indices) return fprintf(stderr, "expected a model of float32 numbers\n"), 1;

  float* x = malloc(info.input_size * sizeof *x);
  float* y = malloc(info.output_size * sizeof *y);
  if (!x || !y) return 1;
  while (read_row(x, info.input_size)) {
    check(gn_session_step(session, x, y, &error));
    for (size_t i = 0; i < info.output_size; ++i) printf("%.9g ", (double)y[i]); /* nine digits are all its bits */
    printf("\n");
  }
  free(x);
  free(y);
  gn_session_destroy(session);
  return 0;
}
