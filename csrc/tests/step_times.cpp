// gru_native_step_times FILE...: what a step of a model of one GRU takes through the door, and in the kernels alone.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "api/weights.h"
#include "engine/layer_step.h"
#include "gru_native.h"
#include "runtime/team.h"

namespace {

using Clock = std::chrono::steady_clock;

void expect(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

// The least nanoseconds of a call, of many blocks of calls.
template <class Call>
double least(Call call) {
  constexpr int blocks = 400;
  int calls = 1;
  double best = 1e18;
  for (int block = 0; block < blocks; ++block) {
    const auto begin = Clock::now();
    for (int i = 0; i < calls; ++i) call();
    const double elapsed = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
    best = std::min(best, elapsed / calls);
    calls = std::max(1, static_cast<int>(2e5 / best));
  }
  return best;
}

void time(const char* path) {
  gn_error error{};
  error.size = sizeof error;
  gn_file* file = nullptr;
  gn_model* model = nullptr;
  gn_session* session = nullptr;
  expect(gn_file_load(path, &file, &error) == GN_OK && gn_model_create(file, &model, &error) == GN_OK &&
             gn_session_create(model, 1, &session, &error) == GN_OK,
         error.message);
  const char* const names[] = {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"};
  gn_array arrays[4]{};
  for (size_t i = 0; i < 4; ++i) {
    arrays[i].size = sizeof arrays[i];
    expect(gn_file_array(file, names[i], &arrays[i], &error) == GN_OK, error.message);
  }
  gn_weights_options options{};
  options.size = sizeof options;
  options.input_size = arrays[0].shape[1];
  options.hidden_size = arrays[1].shape[1];
  options.parameters.weight_ih = arrays[0].data;
  options.parameters.weight_hh = arrays[1].data;
  options.parameters.bias_ih = arrays[2].data;
  options.parameters.bias_hh = arrays[3].data;
  gn_weights* weights = nullptr;
  expect(gn_weights_create(&options, &weights, &error) == GN_OK, error.message);

  const size_t H = options.hidden_size;
  const std::vector<float> x(options.input_size, 0.5F);
  std::vector<float> h(H), y(H);
  const float *x_row = x.data(), *h_row = h.data();
  float *y_row = y.data(), *carry = nullptr;
  gru::LayerStep<float> layer(weights->as<float>(), 1, 0);
  auto kernels = [&](int) { layer.step(1, &x_row, &h_row, &carry, &y_row); };
  const double alone = least([&] { gru::run_team(1, kernels); });
  const double door = least([&] { gn_session_step(session, x.data(), y.data(), nullptr); });
  std::printf("%6zu %12.1f %12.1f %12.1f\n", H, alone, door, door - alone);
  gn_session_destroy(session);
  gn_model_destroy(model);
  gn_weights_destroy(weights);
  gn_file_destroy(file);
}

}  // namespace

int main(int count, char** files) {
  std::printf("     H  kernels, ns session, ns  above, ns\n");
  for (int i = 1; i < count; ++i) time(files[i]);
}
