// Connectionist temporal classification (Graves et al. 2006).
#pragma once

#include <cstddef>
#include <cstdint>

namespace gru {

// What is labelled: B sequences of up to T steps by up to S labels, each 0 to C - 1 and not `blank`.
struct CtcTargets {
  size_t steps, batch, classes, size;
  const int64_t* labels;         // (B, S)
  const int64_t* input_lengths;  // (B), 0 to T
  const int64_t* label_lengths;  // (B), 0 to S
  size_t blank;
};

// losses (B): -log of the sum, over all ways to write the labels with repeats and blanks, of their probabilities by
// softmax(logits), logits (T, B, C); infinite where the steps are too few. `gradient`, of the same shape, may be null;
// it is zero behind the last step, and NaN where the loss is not finite.
template <class T>
void ctc(const CtcTargets& targets, const T* logits, double* losses, T* gradient, int threads);

}  // namespace gru
