#include "engine/ctc.h"

#include <cmath>
#include <limits>
#include <vector>

#include "checks.h"
#include "engine/ctc_decoding.h"
#include "runtime/buffer.h"

namespace gru::api {

namespace {

// A copy, whose numbers are 0 to `most`: others may write to the caller's array meanwhile.
std::vector<int64_t> copied(const int64_t* numbers, size_t count, size_t most, const char* name) {
  typed<const int64_t>(numbers, name, count > 0);
  std::vector<int64_t> own(numbers, numbers + count);
  for (const int64_t number : own)
    if (number < 0 || static_cast<size_t>(number) > most)
      refuse(name, "0 to " + std::to_string(most), std::to_string(number));
  return own;
}

// A copy of the labels in use; the others may be anything.
std::vector<int64_t> copied_labels(const int64_t* targets, size_t size, const std::vector<int64_t>& lengths,
                                   size_t classes, int64_t blank) {
  std::vector<int64_t> own(product(lengths.size(), size));
  typed<const int64_t>(targets, "targets", !own.empty());
  for (size_t row = 0; row < lengths.size(); ++row)
    for (size_t i = row * size; i < row * size + static_cast<size_t>(lengths[row]); ++i) {
      own[i] = targets[i];
      if (own[i] < 0 || static_cast<size_t>(own[i]) >= classes || own[i] == blank)
        refuse("targets",
               "0 to " + std::to_string(classes) + " (exclusive), but for the blank, up to target_lengths in each row",
               std::to_string(own[i]));
    }
  return own;
}

void check_blank(int64_t blank, size_t classes) {
  if (blank < 0 || static_cast<size_t>(blank) >= classes)
    refuse("blank", "0 to " + std::to_string(classes) + " (exclusive)", std::to_string(blank));
}

// A function of the caller's.
class CallersScorer : public CtcScorer {
 public:
  CallersScorer(const gn_ctc_scorer& own, size_t classes) : own_(own), classes_(classes) {}
  void score(size_t count, const int64_t* labels, const size_t* ends, double* scores) override {
    if (!own_.score(own_.user, count, labels, ends, scores)) throw Interrupted{};
    for (size_t i = 0; i < count * classes_; ++i)
      if (!(scores[i] < std::numeric_limits<double>::infinity()))
        refuse("scorer", "logarithms of probabilities", std::to_string(scores[i]));
  }

 private:
  const gn_ctc_scorer& own_;
  const size_t classes_;
};

}  // namespace

}  // namespace gru::api

using namespace gru::api;

gn_status gn_ctc(gn_type type, size_t steps, size_t batch, size_t classes, const void* logits, const int64_t* targets,
                 size_t size, const int64_t* input_lengths, const int64_t* target_lengths, int64_t blank,
                 double* losses, void* gradient, int threads, gn_error* error) {
  return guarded(error, [&] {
    check_blank(blank, classes);
    const auto lengths = copied(input_lengths, batch, steps, "input_lengths");
    const auto sizes = copied(target_lengths, batch, size, "target_lengths");
    const auto labels = copied_labels(targets, size, sizes, classes, blank);
    const gru::CtcTargets own{steps,         batch,          classes,      size,
                              labels.data(), lengths.data(), sizes.data(), static_cast<size_t>(blank)};
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      const bool needed = gru::product(gru::product(steps, batch), classes) > 0;
      gru::ctc(own, typed<const T>(logits, "logits", needed), typed<double>(losses, "losses", batch > 0),
               typed<T>(gradient, "gradient", false), checked_threads(threads));
    });
  });
}

gn_status gn_ctc_decode(gn_type type, size_t steps, size_t batch, size_t classes, const void* logits,
                        const int64_t* input_lengths, int64_t blank, size_t width, const gn_ctc_scorer* scorer,
                        int64_t* labels, int64_t* label_lengths, double* scores, int threads, gn_error* error) {
  return guarded(error, [&] {
    check_blank(blank, classes);
    const auto lengths = copied(input_lengths, batch, steps, "input_lengths");
    gn_ctc_scorer room{};
    const gn_ctc_scorer own = scorer ? taken(scorer, "scorer", room) : room;
    if (!std::isfinite(own.alpha) || own.alpha < 0) refuse("alpha", "a number from 0 up", std::to_string(own.alpha));
    if (!std::isfinite(own.beta)) refuse("beta", "a finite number", std::to_string(own.beta));
    CallersScorer callers(own, classes);
    const gru::CtcSteps given{steps, batch, classes, lengths.data(), static_cast<size_t>(blank)};
    const bool any = gru::product(steps, batch) > 0;
    const gru::CtcLabels found{typed<int64_t>(labels, "labels", any),
                               typed<int64_t>(label_lengths, "label_lengths", batch > 0),
                               typed<double>(scores, "scores", batch > 0)};
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      const auto* const from = typed<const T>(logits, "logits", any);
      if (width == 0) return gru::ctc_greedy(given, from, found, checked_threads(threads));
      const gru::CtcSearch search{width, own.score ? &callers : nullptr, own.alpha, own.beta};
      gru::ctc_search(given, from, search, found, checked_threads(threads));
    });
  });
}
