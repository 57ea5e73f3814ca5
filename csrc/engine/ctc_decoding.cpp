#include "engine/ctc_decoding.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "engine/plan.h"
#include "kernels/dispatch.h"
#include "runtime/buffer.h"
#include "runtime/team.h"

namespace gru {

namespace {

constexpr double impossible = -std::numeric_limits<double>::infinity();
constexpr size_t nowhere = std::numeric_limits<size_t>::max();

// log(exp(a) + exp(b)).
double log_sum(double a, double b) {
  const double more = std::max(a, b), less = std::min(a, b);
  return less == impossible ? more : more + std::log1p(std::exp(less - more));
}

size_t longest(const CtcSteps& steps) {
  size_t most = 0;
  for (const int64_t length : std::span(steps.lengths, steps.batch)) most = std::max(most, static_cast<size_t>(length));
  return most;
}

// The logarithms of the probabilities of a row's classes, step by step.
template <class T>
class Logarithms {
 public:
  Logarithms(const CtcSteps& steps, const T* logits)
      : steps_(steps),
        logits_(logits),
        kernels_(kernels_of<T>(active_isa())),
        exponentials_(steps.classes),
        of_step_(steps.classes) {}

  const double* data() const { return of_step_.data(); }
  // Returns false where there are no probabilities.
  bool read(size_t row, size_t t) {
    const T* const x = logits_ + (t * steps_.batch + row) * steps_.classes;
    const T shift = kernels_.max(steps_.classes, x);
    const T sum = kernels_.exp_sum(steps_.classes, x, shift, exponentials_.data());
    if (!std::isfinite(sum)) return false;
    const double total = static_cast<double>(shift) + std::log(static_cast<double>(sum));
    for (size_t c = 0; c < steps_.classes; ++c) {
      const double logarithm = static_cast<double>(x[c]) - total;
      of_step_.data()[c] = logarithm < 0 ? logarithm : logarithm == logarithm ? 0 : impossible;
    }
    return true;
  }

 private:
  const CtcSteps& steps_;
  const T* const logits_;
  const Kernels<T>& kernels_;
  Buffer<T> exponentials_;
  Buffer<double> of_step_;
};

// The search through the prefixes of one sequence. All memory is there from the beginning.
class Prefixes {
 public:
  Prefixes(size_t steps, size_t classes, const CtcSearch& search)
      : classes_(classes),
        search_(search),
        nodes_(product(steps, search.width) + 1),
        kept_(search.width),
        next_(search.width),
        totals_(search.width),
        stays_(search.width),
        candidates_(product(search.width, classes + 1)),
        scores_(search.scorer ? product(search.width, classes) : 0),
        next_scores_(scores_.size()) {}

  void begin() {
    node(0) = {nowhere, 0, nowhere, nowhere, 0};
    used_ = count_ = 1;
    kept_.data()[0] = {0, 0, impossible, 0, false};
  }

  // A step by the logarithms of its classes' probabilities.
  void advance(const double* logarithms, size_t blank) {
    stay(logarithms, blank);
    const size_t found = choose(logarithms, blank);
    for (size_t i = 0; i < count_; ++i) node(kept(i).node).place = nowhere;
    for (size_t i = 0; i < found; ++i) take(i, logarithms);
    std::swap(kept_, next_);
    std::swap(scores_, next_scores_);
    count_ = found;
    for (size_t i = 0; i < count_; ++i) node(kept(i).node).place = i;
  }

  // Candidates that the last step looked at.
  size_t seen() const { return seen_; }

  // Of the prefixes that have no scores yet, adds the labels and their end.
  void ask(std::vector<int64_t>& labels, std::vector<size_t>& ends) const {
    for (size_t i = 0; i < count_; ++i) {
      if (kept(i).scored) continue;
      const size_t begin = labels.size();
      for (size_t at = kept(i).node; at != 0; at = node(at).parent) labels.push_back(node(at).label);
      std::reverse(labels.begin() + static_cast<ptrdiff_t>(begin), labels.end());
      ends.push_back(labels.size());
    }
  }
  // Takes the scores that were asked for; returns those of the next sequence.
  const double* answer(const double* scores) {
    for (size_t i = 0; i < count_; ++i) {
      if (kept(i).scored) continue;
      kept(i).scored = true;
      std::copy_n(scores, classes_, scores_.data() + i * classes_);
      scores += classes_;
    }
    return scores;
  }

  // Writes the best labels; returns how many, and their score.
  size_t best(int64_t* labels, double& score) const {
    score = impossible;
    if (count_ == 0) return 0;
    score = log_sum(kept(0).blank, kept(0).label) + kept(0).bonus;
    size_t size = 0;
    for (size_t at = kept(0).node; at != 0; at = node(at).parent) labels[size++] = node(at).label;
    std::reverse(labels, labels + size);
    return size;
  }

 private:
  struct Node {
    size_t parent;
    int64_t label;
    size_t child, sibling;  // the first child, and the next child of the parent
    size_t place;           // among those that are kept
  };
  struct Kept {
    size_t node;
    double blank, label;  // of the ways that end with a blank, and with the last label
    double bonus;         // by the scorer, and for the number of labels
    bool scored;
  };
  struct Candidate {
    double score;
    size_t place;  // a prefix that is kept, or behind these one and a class

    // The same on every machine: those that are alike go by their place.
    bool operator<(const Candidate& other) const {
      return score != other.score ? score > other.score : place < other.place;
    }
  };

  Node& node(size_t i) { return nodes_.data()[i]; }
  const Node& node(size_t i) const { return nodes_.data()[i]; }
  Kept& kept(size_t i) { return kept_.data()[i]; }
  const Kept& kept(size_t i) const { return kept_.data()[i]; }

  double bonus(size_t i, size_t c) const {
    const double score = search_.scorer ? scores_.data()[i * classes_ + c] : 0;
    return kept(i).bonus + search_.beta + (score == impossible ? impossible : search_.alpha * score);
  }
  // Of the ways by which a prefix gets one label more.
  double extended(size_t i, size_t c, const double* logarithms) const {
    const bool again = kept(i).node != 0 && static_cast<size_t>(node(kept(i).node).label) == c;
    return (again ? kept(i).blank : totals_.data()[i]) + logarithms[c];
  }

  // The ways that leave a prefix as it is, and those that come to it from one that is kept, too.
  void stay(const double* logarithms, size_t blank) {
    for (size_t i = 0; i < count_; ++i) totals_.data()[i] = log_sum(kept(i).blank, kept(i).label);
    for (size_t i = 0; i < count_; ++i) {
      const Node& own = node(kept(i).node);
      double label = impossible;
      if (kept(i).node != 0) {
        const auto last = static_cast<size_t>(own.label);
        const size_t before = node(own.parent).place;
        label = kept(i).label + logarithms[last];
        if (before != nowhere) label = log_sum(label, extended(before, last, logarithms));
      }
      stays_.data()[i] = {totals_.data()[i] + logarithms[blank], label};
    }
  }

  // Puts the best candidates to the front, and returns how many there are.
  size_t choose(const double* logarithms, size_t blank) {
    Candidate* const all = candidates_.data();
    size_t found = 0;
    double least = count_ == search_.width ? std::numeric_limits<double>::infinity() : impossible;
    for (size_t i = 0; i < count_; ++i) {
      const double score = log_sum(stays_.data()[i].blank, stays_.data()[i].label) + kept(i).bonus;
      least = std::min(least, score);  // when all places are taken, what is below is not among the best
      if (score > impossible) all[found++] = {score, i};
    }
    for (size_t i = 0; i < count_; ++i)
      for (size_t c = 0; c < classes_; ++c) {
        if (c == blank) continue;
        const double score = extended(i, c, logarithms) + bonus(i, c);
        if (score > impossible && score >= least && !is_kept(i, c)) all[found++] = {score, count_ + i * classes_ + c};
      }
    seen_ = count_ * classes_ + found;
    const size_t best = std::min(found, search_.width);
    std::partial_sort(all, all + best, all + found);
    return best;
  }

  size_t child(size_t i, size_t c) const {
    size_t at = node(kept(i).node).child;
    while (at != nowhere && static_cast<size_t>(node(at).label) != c) at = node(at).sibling;
    return at;
  }
  bool is_kept(size_t i, size_t c) const {
    const size_t at = child(i, c);
    return at != nowhere && node(at).place != nowhere;
  }

  // Makes a candidate the prefix in this place. Its node may be there from a time when it was kept.
  void take(size_t to, const double* logarithms) {
    const size_t place = candidates_.data()[to].place;
    Kept& own = next_.data()[to];
    if (place < count_) {
      own = kept(place);
      own.blank = stays_.data()[place].blank;
      own.label = stays_.data()[place].label;
      if (search_.scorer) std::copy_n(scores_.data() + place * classes_, classes_, next_scores_.data() + to * classes_);
      return;
    }
    const size_t i = (place - count_) / classes_, c = (place - count_) % classes_;
    size_t at = child(i, c);
    if (at == nowhere) {
      Node& parent = node(kept(i).node);
      at = used_++;
      node(at) = {kept(i).node, static_cast<int64_t>(c), nowhere, parent.child, nowhere};
      parent.child = at;
    }
    own = {at, impossible, extended(i, c, logarithms), bonus(i, c), false};
  }

  struct Stay {
    double blank, label;
  };

  const size_t classes_;
  const CtcSearch search_;
  Buffer<Node> nodes_;
  Buffer<Kept> kept_, next_;  // the best one first
  Buffer<double> totals_;
  Buffer<Stay> stays_;
  Buffer<Candidate> candidates_;
  Buffer<double> scores_, next_scores_;  // (width, C) of the prefixes that are kept
  size_t used_ = 0, count_ = 0, seen_ = 0;
};

// Writes what was found in a row; nothing where it has numbers that are none.
void write(const Prefixes& prefixes, bool finite, size_t row, size_t steps, const CtcLabels& found) {
  double score = std::numeric_limits<double>::quiet_NaN();
  const size_t size = finite ? prefixes.best(found.labels + row * steps, score) : 0;
  found.lengths[row] = static_cast<int64_t>(size);
  found.scores[row] = score;
}

// Runs each(member, row, progress) for all rows, as many members as there can be.
template <class Each>
void for_rows(size_t rows, int& members, Interruption& interruption, Each each) {
  auto compute = [&](int member) {
    Progress progress(interruption, member);
    const Part part = part_of(rows, member, members);
    for (size_t row = part.first; row < part.last; ++row) each(static_cast<size_t>(member), row, progress);
  };
  if (!run_team(members, compute)) run_team(members = 1, compute);
}

template <class T>
std::vector<Logarithms<T>> readers(const CtcSteps& steps, const T* logits, int members) {
  std::vector<Logarithms<T>> all;
  for (int member = 0; member < members; ++member) all.emplace_back(steps, logits);
  return all;
}

// Sequence by sequence.
template <class T>
void search_alone(const CtcSteps& steps, const T* logits, const CtcSearch& search, const CtcLabels& found,
                  int members) {
  auto logarithms = readers(steps, logits, members);
  std::vector<Prefixes> prefixes;
  for (int member = 0; member < members; ++member) prefixes.emplace_back(longest(steps), steps.classes, search);
  Interruption interruption;
  for_rows(steps.batch, members, interruption, [&](size_t member, size_t row, Progress& progress) {
    Prefixes& own = prefixes[member];
    bool finite = true;
    own.begin();
    for (size_t t = 0; finite && t < static_cast<size_t>(steps.lengths[row]); ++t) {
      finite = logarithms[member].read(row, t);
      if (finite) own.advance(logarithms[member].data(), steps.blank);
      progress.add((steps.classes + own.seen()) * activation_work);
    }
    write(own, finite, row, steps.steps, found);
  });
}

// Step by step, so that the scorer is asked by one thread, and for all sequences at once.
template <class T>
void search_scored(const CtcSteps& steps, const T* logits, const CtcSearch& search, const CtcLabels& found,
                   int members) {
  auto logarithms = readers(steps, logits, members);
  std::vector<Prefixes> prefixes;
  for (size_t row = 0; row < steps.batch; ++row) {
    prefixes.emplace_back(static_cast<size_t>(steps.lengths[row]), steps.classes, search);
    prefixes.back().begin();
  }
  std::vector<unsigned char> finite(steps.batch, 1);
  std::vector<int64_t> labels;
  std::vector<size_t> ends;
  std::vector<double> scores;
  Interruption interruption;
  const size_t last = longest(steps);
  for (size_t t = 0; t < last; ++t) {
    auto alive = [&](size_t row) { return finite[row] && t < static_cast<size_t>(steps.lengths[row]); };
    labels.clear();
    ends.clear();
    for (size_t row = 0; row < steps.batch; ++row)
      if (alive(row)) prefixes[row].ask(labels, ends);
    scores.resize(product(ends.size(), steps.classes));
    if (!ends.empty()) search.scorer->score(ends.size(), labels.data(), ends.data(), scores.data());
    const double* answers = scores.data();
    for (size_t row = 0; row < steps.batch; ++row)
      if (alive(row)) answers = prefixes[row].answer(answers);
    for_rows(steps.batch, members, interruption, [&](size_t member, size_t row, Progress& progress) {
      if (!alive(row)) return;
      finite[row] = logarithms[member].read(row, t);
      if (finite[row]) prefixes[row].advance(logarithms[member].data(), steps.blank);
      progress.add((steps.classes + prefixes[row].seen()) * activation_work);
    });
  }
  for (size_t row = 0; row < steps.batch; ++row) write(prefixes[row], finite[row], row, steps.steps, found);
}

}  // namespace

template <class T>
void ctc_greedy(const CtcSteps& steps, const T* logits, const CtcLabels& found, int threads) {
  const Call mark;
  const size_t work = product(steps.batch, product(longest(steps), steps.classes)) * activation_work;
  int members = plan_members(work, steps.batch, threads);
  auto logarithms = readers(steps, logits, members);
  Interruption interruption;
  for_rows(steps.batch, members, interruption, [&](size_t member, size_t row, Progress& progress) {
    double score = 0;
    size_t size = 0, before = steps.blank;
    for (size_t t = 0; t < static_cast<size_t>(steps.lengths[row]); ++t) {
      if (!logarithms[member].read(row, t)) {
        score = std::numeric_limits<double>::quiet_NaN();
        size = 0;
        break;
      }
      const double* const own = logarithms[member].data();
      const auto best = static_cast<size_t>(std::max_element(own, own + steps.classes) - own);
      score += own[best];
      if (best != steps.blank && best != before) found.labels[row * steps.steps + size++] = static_cast<int64_t>(best);
      before = best;
      progress.add(steps.classes * activation_work);
    }
    found.lengths[row] = static_cast<int64_t>(size);
    found.scores[row] = score;
  });
}

template <class T>
void ctc_search(const CtcSteps& steps, const T* logits, const CtcSearch& search, const CtcLabels& found, int threads) {
  const Call mark;
  const size_t of_step = product(search.width + 1, steps.classes);
  const size_t work = product(steps.batch, product(longest(steps), of_step)) * activation_work;
  const int members = plan_members(work, steps.batch, threads);
  if (search.scorer)
    search_scored(steps, logits, search, found, members);
  else
    search_alone(steps, logits, search, found, members);
}

template void ctc_greedy(const CtcSteps&, const float*, const CtcLabels&, int);
template void ctc_greedy(const CtcSteps&, const double*, const CtcLabels&, int);
template void ctc_search(const CtcSteps&, const float*, const CtcSearch&, const CtcLabels&, int);
template void ctc_search(const CtcSteps&, const double*, const CtcSearch&, const CtcLabels&, int);

}  // namespace gru
