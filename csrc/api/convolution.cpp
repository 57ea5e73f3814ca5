#include "engine/convolution.h"

#include <algorithm>
#include <vector>

#include "linear.h"

namespace gru::api {

namespace {

size_t checked_size(size_t size, const char* name, size_t least) {
  constexpr size_t most = 0x7fffffff;  // so that places never overflow
  if (size < least || size > most)
    refuse(name, std::to_string(least) + " to " + std::to_string(most), std::to_string(size));
  return size;
}

Windows windows_of(const gn_convolution& call) {
  const WindowShape shape{checked_size(call.kernel, "kernel", 1),
                          std::max<size_t>(checked_size(call.stride, "stride", 0), 1),
                          std::max<size_t>(checked_size(call.dilation, "dilation", 0), 1),
                          checked_size(call.left, "left", 0), checked_size(call.right, "right", 0)};
  checked_size(call.steps, "steps", 0);
  if (!call.lengths) return {shape, call.steps, call.batch, nullptr};
  // A copy: others may write to the caller's array meanwhile.
  const std::vector<int64_t> lengths(call.lengths, call.lengths + call.batch);
  for (const int64_t length : lengths)
    if (length < 0 || static_cast<size_t>(length) > call.steps)
      refuse("lengths", "0 to " + std::to_string(call.steps), std::to_string(length));
  return {shape, call.steps, call.batch, lengths.data()};
}

template <class E, class Array>
Sequence<E> view(const Array* array, const char* name, size_t elements) {
  if (!array) return {typed<E>(static_cast<E*>(nullptr), name, elements > 0)};
  return {typed<E>(array->data, name, elements > 0), array->stride[0], array->stride[1]};
}

// Calls function(weights, windows, x), checked.
template <class Function>
void with(const gn_convolution* given, Function function) {
  gn_convolution room;
  const gn_convolution& call = taken(given, "call", room);
  const Windows windows = windows_of(call);
  std::visit(
      [&]<class T>(const std::unique_ptr<const LinearWeights<T>>& weights) {
        if (weights->input_size % call.kernel)
          refuse("kernel", "a divisor of the linear layer's input size", std::to_string(call.kernel));
        const size_t read = product(windows.size(), weights->input_size);
        function(*weights, windows, view<const T>(&call.x, "x", read), checked_threads(call.threads));
      },
      checked(call.linear).of);
}

}  // namespace

}  // namespace gru::api

using namespace gru::api;

gn_status gn_convolution_forward(const gn_convolution* call, const gn_output* y, gn_error* error) {
  return guarded(error, [&] {
    with(call, [&]<class T>(const gru::LinearWeights<T>& weights, const gru::Windows& windows,
                            const gru::Sequence<const T>& x, int threads) {
      const size_t written = gru::product(gru::product(windows.batch, windows.output_times), weights.output_size);
      convolution_forward(weights, windows, x, view<T>(y, "y", written), threads);
    });
  });
}

gn_status gn_convolution_backward(const gn_convolution* call, const gn_input* d_y, const gn_output* d_x, void* d_weight,
                                  void* d_bias, gn_error* error) {
  return guarded(error, [&] {
    with(call, [&]<class T>(const gru::LinearWeights<T>& weights, const gru::Windows& windows,
                            const gru::Sequence<const T>& x, int threads) {
      const auto gradients = view<const T>(d_y, "d_y", gru::product(windows.size(), weights.output_size));
      convolution_backward(weights, windows, x, gradients, view<T>(d_x, "d_x", 0),
                           typed<T>(d_weight, "d_weight", false), typed<T>(d_bias, "d_bias", false), threads);
    });
  });
}
