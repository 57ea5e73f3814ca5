#include "runtime/bandwidth.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <vector>

#include "kernels/dispatch.h"
#include "runtime/buffer.h"
#include "runtime/team.h"

namespace gru {

double read_seconds(size_t bytes, size_t repeats, int threads) {
  using Clock = std::chrono::steady_clock;
  const Kernels<float>& kernels = *active_isa().float32;
  const size_t size = bytes / sizeof(float);
  std::vector<Buffer<float>> buffers;
  for (int member = 0; member < threads; ++member) buffers.emplace_back(size);
  std::vector<double> seconds(buffers.size());
  const Interruption interruption;
  Barrier barrier(threads, interruption);

  auto work = [&](int member) {
    // The thread that reads a page is the first to write to it, which places it near.
    float* data = buffers[static_cast<size_t>(member)].data();
    std::fill_n(data, size, 1.0f);
    volatile float sum = kernels.read(size, data, 1);
    barrier.wait(member);
    const auto start = Clock::now();
    sum = kernels.read(size, data, repeats);
    seconds[static_cast<size_t>(member)] = std::chrono::duration<double>(Clock::now() - start).count();
    static_cast<void>(sum);
  };
  if (usable_threads(threads) < threads || !run_team(threads, work))
    throw std::runtime_error("read_seconds: the run time gives fewer threads");
  return *std::max_element(seconds.begin(), seconds.end());
}

}  // namespace gru
