// Labels out of what connectionist temporal classification was trained on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gru {

// B sequences of up to T steps, each of C classes, of which one is no label.
struct CtcSteps {
  size_t steps, batch, classes;
  const int64_t* lengths;  // (B), 0 to T
  size_t blank;
};

// What is found: the labels of each sequence, how many, and the logarithm of their probability. It is NaN, and there
// are no labels, where a logit is NaN or +inf, or all of a step are -inf.
struct CtcLabels {
  int64_t* labels;   // (B, T), of which the first ones count
  int64_t* lengths;  // (B)
  double* scores;    // (B)
};

// What is thought of labels before anything is heard.
class CtcScorer {
 public:
  virtual ~CtcScorer() = default;
  // scores (count, C): logarithms of the probabilities of each label behind each prefix, none of them NaN or +inf.
  // Prefix i ends at labels + ends[i], where the next one begins. Called by the thread that made the call.
  virtual void score(size_t count, const int64_t* labels, const size_t* ends, double* scores) = 0;
};

struct CtcSearch {
  size_t width;       // prefixes that are kept at each step
  CtcScorer* scorer;  // may be null
  double alpha;       // how much the scorer counts
  double beta;        // what each label adds
};

// The best class of each step, the lowest of those that are alike, without repeats and blanks; its probability.
template <class T>
void ctc_greedy(const CtcSteps& steps, const T* logits, const CtcLabels& found, int threads);

// The best labels by a search through prefixes (Hannun et al. 2014, arXiv:1408.2873): by the sum over all ways to write
// them, as far as these stayed in the search, log P + alpha * the scorer's + beta * the number of labels.
template <class T>
void ctc_search(const CtcSteps& steps, const T* logits, const CtcSearch& search, const CtcLabels& found, int threads);

}  // namespace gru
