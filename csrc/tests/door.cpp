// The door: what it refuses and says, and what a tape may go through.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <thread>

#include "check.h"
#include "gru_native.h"
#include "problem.h"

using namespace gru;
using namespace gru::tests;

extern "C" int call_from_c(void);

TEST(a_program_in_c) { CHECK(call_from_c() == 0); }

namespace {

// What a status and its message say of an argument.
bool refuses(gn_status status, const char* argument) {
  return status == GN_INVALID && std::strcmp(error()->argument, argument) == 0 &&
         std::strstr(error()->message, ": expected ") && std::strstr(error()->message, ", got ");
}

}  // namespace

TEST(functions_of_values) {
  const float x[] = {-1, 0, 2}, rows[] = {0, 0, 3, 3};
  float y[4], slope[3];
  gn_activation elu{GN_ELU, 0.5, 0};
  must(gn_activate(GN_FLOAT32, &elu, 3, x, y, slope, error()));
  CHECK(std::abs(y[0] - 0.5f * (std::exp(-1.f) - 1)) < 1e-6f && y[1] == 0 && y[2] == 2);
  CHECK(std::abs(slope[0] - 0.5f * std::exp(-1.f)) < 1e-6f && slope[2] == 1);
  must(gn_softmax(GN_FLOAT32, 2, 2, rows, y, 1, error()));
  CHECK(std::all_of(y, y + 4, [](float share) { return share == 0.5f; }));
  CHECK(refuses(gn_activate(GN_FLOAT32, nullptr, 3, x, y, nullptr, error()), "function"));
  for (const gn_activation wrong : {gn_activation{GN_USUAL, 0, 0},
                                    {static_cast<gn_function>(12), 0, 0},
                                    {GN_ELU, std::nan(""), 0},
                                    {GN_ELU, 1e300, 0}})
    CHECK(refuses(gn_activate(GN_FLOAT32, &wrong, 3, x, y, nullptr, error()), "function"));
  CHECK(refuses(gn_activate(GN_FLOAT32, &elu, 3, nullptr, y, nullptr, error()), "x"));
  CHECK(refuses(gn_softmax(GN_FLOAT32, 2, 2, rows, nullptr, 1, error()), "y"));
  CHECK(refuses(gn_softmax(GN_FLOAT32, 2, 2, rows, y, -1, error()), "threads"));
}

TEST(what_is_wrong_in_a_call_is_named) {
  const Problem<float> problem(by_rows, {.ragged = true, .resets = true});
  const Weights weights = problem.weights();
  Training<float> training(problem, weights, 2);
  const gn_call right = training.call;
  float odd[4];
  const struct {
    const char* argument;
    std::function<void(gn_call&)> spoil;
  } cases[] = {
      {"call.size", [](gn_call& call) { call.size = 3; }},
      {"weights", [](gn_call& call) { call.weights[0] = nullptr; }},
      {"reverse", [](gn_call& call) { call.weights[1] = call.weights[0], call.reverse = true; }},
      {"threads", [](gn_call& call) { call.threads = -1; }},
      {"threads", [](gn_call& call) { call.threads = 257; }},
      {"x", [](gn_call& call) { call.x.data = nullptr; }},
      {"x", [&](gn_call& call) { call.x.data = reinterpret_cast<char*>(odd) + 1; }},
      {"c_0", [](gn_call& call) { call.c_0 = call.h_0; }},
      {"c_n", [](gn_call& call) { call.c_n = call.h_n; }},
      {"output", [](gn_call& call) { call.output.data = nullptr; }},
      {"h_n", [](gn_call& call) { call.h_n.data = nullptr; }},
      {"zoneout", [](gn_call& call) { call.zoneout = 1.5; }},
      {"zoneout", [](gn_call& call) { call.zoneout = std::nan(""); }},
      {"keep", [](gn_call& call) { call.keep = static_cast<gn_keep>(3); }},
      {"tape", [](gn_call& call) { call.tape = nullptr; }},
      {"tape", [](gn_call& call) { call.tape = static_cast<char*>(call.tape) + 8; }},
      {"tape_size", [](gn_call& call) { --call.tape_size; }},
      {"lengths", [](gn_call& call) { call.steps = 1; }},
  };
  for (const auto& [argument, spoil] : cases) {
    gn_call call = right;
    spoil(call);
    CHECK(refuses(gn_forward(&call, error()), argument));
  }
  CHECK(refuses(gn_forward(nullptr, error()), "call"));
  CHECK(gn_forward(&right, error()) == GN_OK);
}

TEST(more_memory_than_there_can_be_is_refused) {
  for (const size_t bytes : {SIZE_MAX, SIZE_MAX / 2 + 1, SIZE_MAX / 2}) CHECK(!gn_allocate(bytes));
}

TEST(fields_of_a_later_version_must_be_zero) {
  const Problem<float> problem(by_rows);
  const Weights weights = problem.weights();
  Training<float> training(problem, weights, 1);
  struct {
    gn_call call;
    int64_t later = 0;
  } longer{training.call};
  longer.call.size = sizeof longer;
  CHECK(gn_forward(&longer.call, error()) == GN_OK);
  longer.later = 1;
  CHECK(refuses(gn_forward(&longer.call, error()), "call.size"));
  longer.call.size = ~size_t{0};
  CHECK(refuses(gn_forward(&longer.call, error()), "call.size"));
  // An older program knows fewer fields, and means what is usual by the others.
  gn_call shorter = training.call;
  shorter.size = offsetof(gn_call, keep);
  CHECK(gn_forward(&shorter, error()) == GN_OK);
}

namespace {

template <class T>
void check_tapes(const Sizes& sizes, const Kind& kind) {
  const Problem<T> problem(sizes, kind);
  const Weights weights = problem.weights();
  const std::vector<T> expected = problem.train(weights, 1);
  Training<T> training(problem, weights, 2);
  CHECK(gn_forward(&training.call, error()) == GN_OK);
  // It may be moved, and kept for more than one backward pass.
  const Memory elsewhere(training.call.tape_size);
  std::memcpy(elsewhere.get(), training.call.tape, training.call.tape_size);
  std::memset(training.call.tape, 0xff, training.call.tape_size);
  training.call.tape = elsewhere.get();
  training.backward.keep_tape = true;
  for (int i = 0; i < 2; ++i) {
    CHECK(gn_backward(&training.backward, error()) == GN_OK);
    CHECK(same_bits(training.results, expected));
    std::fill(training.gradients(), training.results.data() + training.results.size(), T(-1));
  }
  training.backward.keep_tape = false;
  CHECK(gn_backward(&training.backward, error()) == GN_OK);
  CHECK(same_bits(training.results, expected));
  CHECK(gn_backward(&training.backward, error()) == GN_USED);
  training.backward.keep_tape = true;
  CHECK(gn_backward(&training.backward, error()) == GN_USED);
}

}  // namespace

TEST(a_tape_may_be_moved_and_kept) {
  for (const gn_cell cell : {GN_GRU_RESET_AFTER, GN_GRU_RESET_BEFORE, GN_GRU_LAYER_NORM, GN_LSTM, GN_RNN_RELU})
    for (const gn_keep keep : {GN_KEEP_GATES, GN_KEEP_STATES}) {
      Sizes sizes = by_rows;
      sizes.cell = cell;
      check_tapes<float>(sizes, {.keep = keep});
      check_tapes<double>(sizes, {.ragged = true, .resets = true, .reverse = true, .keep = keep});
    }
}

TEST(a_tape_of_another_call_is_refused) {
  const Problem<float> problem(by_rows, {.ragged = true, .resets = true});
  const Weights weights = problem.weights();
  Training<float> training(problem, weights, 1);
  CHECK(gn_forward(&training.call, error()) == GN_OK);
  const gn_call right = training.call;
  Sizes lstm = by_rows, wider = by_rows;
  lstm.cell = GN_LSTM;
  ++wider.inputs;
  const Problem<float> of_lstm(lstm), of_wider(wider);
  const Weights others[] = {of_lstm.weights(), of_wider.weights()};
  for (const Weights& other : others) {
    training.call.weights[0] = other.get();
    CHECK(gn_backward(&training.backward, error()) == GN_INVALID);
  }
  training.call = right;
  training.call.keep = GN_KEEP_STATES;
  CHECK(refuses(gn_backward(&training.backward, error()), "tape"));
  training.call = right;
  training.call.reverse = true;
  CHECK(refuses(gn_backward(&training.backward, error()), "tape"));
  for (size_t gn_call::*field : {&gn_call::steps, &gn_call::batch}) {
    training.call = right;
    ++(training.call.*field);
    CHECK(gn_backward(&training.backward, error()) == GN_INVALID);
  }
  training.call = right;
  CHECK(gn_backward(&training.backward, error()) == GN_OK);
}

// Whatever stands in a tape, no other memory is touched: it ends well or is refused.
TEST(a_damaged_tape_does_no_harm) {
  const Problem<float> problem(by_rows, {.ragged = true, .resets = true});
  const Weights weights = problem.weights();
  Training<float> training(problem, weights, 2);
  std::mt19937 generator(1);
  CHECK(gn_forward(&training.call, error()) == GN_OK);
  const std::string whole(static_cast<char*>(training.call.tape), training.call.tape_size);
  constexpr size_t of_head = 600;
  for (int i = 0; i < 300; ++i) {
    std::memcpy(training.call.tape, whole.data(), whole.size());
    for (int bytes = 0; bytes < 3; ++bytes)
      static_cast<unsigned char*>(training.call.tape)[generator() % of_head] = static_cast<unsigned char>(generator());
    const gn_status status = gn_backward(&training.backward, error());
    CHECK(status == GN_OK || status == GN_INVALID || status == GN_USED);
  }
}

TEST(questions_to_the_process_name_what_is_wrong) {
  size_t width = 0;
  const char* name = nullptr;
  CHECK(refuses(gn_active_isa(nullptr, error()), "name"));
  CHECK(refuses(gn_vector_width(GN_FLOAT32, nullptr, error()), "width"));
  CHECK(refuses(gn_vector_width(static_cast<gn_type>(7), &width, error()), "type"));
  CHECK(gn_active_isa(&name, error()) == GN_OK && gn_vector_width(GN_FLOAT64, &width, error()) == GN_OK);
  CHECK(name && width > 0);
}

TEST(teams_are_chosen_and_refused) {
  const gn_team before = gn_get_team();
  CHECK(refuses(gn_set_team(static_cast<gn_team>(7), nullptr, error()), "team"));
  CHECK(refuses(gn_set_team(GN_EXECUTOR, nullptr, error()), "executor"));
  const gn_executor empty{sizeof empty, nullptr, nullptr, nullptr};
  CHECK(refuses(gn_set_team(GN_EXECUTOR, &empty, error()), "executor"));
  CHECK(refuses(gn_set_team(GN_THREADS, &empty, error()), "executor"));
  const Problem<float> problem(by_rows);
  const std::vector<float> expected = problem.train(1);
  const gn_executor in_turns{sizeof in_turns, [](void*, int) { return 1; },
                             [](void*, int, void (*task)(void*, int), void* data) { return task(data, 0), true; },
                             nullptr};
  CHECK(gn_set_team(GN_EXECUTOR, &in_turns, error()) == GN_OK && gn_get_team() == GN_EXECUTOR);
  CHECK(same_bits(problem.train(4), expected));
  CHECK(gn_set_team(before, nullptr, error()) == GN_OK && gn_get_team() == before);
}

TEST(a_context_is_of_the_thread_that_uses_it) {
  struct Counts {
    std::atomic<int> teams{0};
    std::atomic<bool> is_given_up{false};
  };
  static Counts counts;
  const gn_executor asked{sizeof asked, [](void*, int) { return ++counts.teams, 1; },
                          [](void*, int, void (*task)(void*, int), void* data) { return task(data, 0), true; },
                          nullptr};
  gn_context_options options{sizeof options, GN_EXECUTOR, &asked, [](void*) { return counts.is_given_up.load(); },
                             nullptr};
  gn_context* context = nullptr;
  CHECK(refuses(gn_context_create(&options, nullptr, error()), "context"));
  CHECK(gn_context_create(&options, &context, error()) == GN_OK);
  const Problem<float> problem(by_rows), large({GN_GRU_RESET_AFTER, 4000, 64, 64, 256});
  const std::vector<float> expected = problem.train(1);
  gn_use_context(context);
  CHECK(same_bits(problem.train(4), expected) && counts.teams > 0);
  counts.is_given_up = true;
  bool is_interrupted = false;
  try {
    large.train(1);
  } catch (const gru::Interrupted&) {
    is_interrupted = true;
  }
  CHECK(is_interrupted);
  // Of the others nobody asks it.
  const int teams = counts.teams;
  std::thread([&] { CHECK(same_bits(problem.train(4), expected)); }).join();
  gn_use_context(nullptr);
  CHECK(same_bits(problem.train(4), expected) && counts.teams == teams);
  gn_context_destroy(context);
  options.team = GN_THREADS;
  CHECK(refuses(gn_context_create(&options, &context, error()), "executor"));
}

TEST(a_tape_of_other_choices_is_refused) {
  const std::vector<float> numbers(64, 0.5f);
  std::vector<float> output(4), last(4), gradients(64);
  gn_weights_options options{};
  options.size = sizeof options;
  options.cell = GN_RNN_TANH;
  options.input_size = options.hidden_size = 2;
  options.parameters.weight_ih = options.parameters.weight_hh = numbers.data();
  const auto weights_of = [&](gn_function function, double clip) {
    options.activations[0] = {function, 1, 0};
    options.clip = clip;
    gn_weights* made = nullptr;
    must(gn_weights_create(&options, &made, error()));
    return Weights(made);
  };
  const Weights own = weights_of(GN_ELU, 1), same = weights_of(GN_ELU, 1), other = weights_of(GN_LEAKY_RELU, 1),
                clipped = weights_of(GN_ELU, 2);
  gn_call call{};
  call.size = sizeof call;
  call.weights[0] = own.get();
  call.steps = 2;
  call.batch = 1;
  call.x = {numbers.data(), {2, 2}};
  call.output = {output.data(), {2, 2}};
  call.h_n = {last.data(), {2, 2}};
  call.keep = GN_KEEP_GATES;
  must(gn_tape_size(&call, &call.tape_size, error()));
  const Memory tape(call.tape_size);
  call.tape = tape.get();
  must(gn_forward(&call, error()));
  gn_backward_call backward{};
  backward.size = sizeof backward;
  backward.forward = &call;
  backward.gradients[0].weight_ih = backward.gradients[0].weight_hh = gradients.data();
  for (const Weights* const wrong : {&other, &clipped}) {
    call.weights[0] = wrong->get();
    CHECK(refuses(gn_backward(&backward, error()), "tape"));
  }
  call.weights[0] = same.get();
  backward.gradients[0].weight_hh = gradients.data() + 32;
  CHECK(gn_backward(&backward, error()) == GN_OK);
  options.activations[0] = {GN_ELU, 1e300, 0};
  gn_weights* made = nullptr;
  CHECK(refuses(gn_weights_create(&options, &made, error()), "activations"));
  options.activations[0] = {};
  options.clip = 1e-60;
  CHECK(refuses(gn_weights_create(&options, &made, error()), "clip"));
}
