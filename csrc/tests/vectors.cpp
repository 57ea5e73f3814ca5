// Layers whose results were written by the reference in Python: tests/vectors. The tolerances in the files are those of
// tests/tolerances.py, where their reasons stand.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "check.h"
#include "gru_native.h"
#include "isas.h"
#include "problem.h"

using namespace gru;
using namespace gru::tests;

namespace {

using Arrays = std::map<std::string, std::vector<double>>;

struct File {
  Arrays tolerances;
  std::map<std::string, Arrays> cases;
};

File read(const std::string& path) {
  std::ifstream text(path);
  File file;
  Arrays* arrays = &file.tolerances;
  for (std::string word; text >> word;) {
    if (word[0] == '#') {
      text.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    } else if (word == "case") {
      text >> word;
      arrays = &file.cases[word];
    } else {
      size_t count = 0;
      text >> count;
      std::vector<double>& numbers = (*arrays)[word];
      numbers.resize(count);
      for (double& number : numbers) text >> number;
      if (!text) throw std::runtime_error(path + ": expected " + std::to_string(count) + " numbers of " + word);
    }
  }
  if (file.cases.empty()) throw std::runtime_error(path + ": expected cases");
  return file;
}

// A layer in one or two directions as a case has it: what is not in the file is not given, and not asked for.
template <class T>
class Layer {
 public:
  Layer(gn_cell cell, const Arrays& arrays, gn_keep keep) : arrays_(arrays) {
    const auto size = [&](size_t place) { return static_cast<size_t>(arrays.at("sizes").at(place)); };
    const size_t steps = size(0), batch = size(1), inputs = size(2), hidden = size(3), directions = size(4);
    const size_t outputs = size(5);
    const Strides of_states{batch * outputs, outputs}, of_c{batch * hidden, hidden};
    const Strides of_output{batch * directions * outputs, directions * outputs}, of_x{batch * inputs, inputs};

    call_.size = sizeof call_;
    backward_.size = sizeof backward_;
    backward_.forward = &call_;
    for (size_t d = 0; d < directions; ++d) {
      const std::string side = d ? "_reverse" : "";
      weights_[d] = pack(cell, inputs, hidden, side);
      call_.weights[d] = weights_[d].get();
      backward_.gradients[d] = {result("d_weight_ih" + side), result("d_weight_hh" + side), result("d_bias_ih" + side),
                                result("d_bias_hh" + side),   result("d_gamma_ih" + side),  result("d_gamma_hh" + side),
                                result("d_peephole" + side),  result("d_weight_hr" + side)};
    }
    call_.reverse = arrays.at("reverse")[0] != 0;
    call_.zoneout = arrays.at("zoneout")[0];
    call_.threads = 1;
    call_.steps = steps;
    call_.batch = batch;
    call_.lengths = given<int64_t>("lengths");
    call_.reset = {given<unsigned char>("reset"), {stride(batch), 1}};
    call_.x = input("x", of_x);
    call_.h_0 = input("h_0", of_states);
    call_.c_0 = input("c_0", of_c);
    call_.mask = input("mask", of_states);
    call_.output = output("output", of_output);
    call_.h_n = output("h_n", of_states);
    call_.c_n = output("c_n", of_c);
    call_.keep = keep;
    backward_.d_output = input("d_output", of_output);
    backward_.d_h_n = input("d_h_n", of_states);
    backward_.d_c_n = input("d_c_n", of_c);
    backward_.d_x = output("d_x", of_x);
    backward_.d_h_0 = output("d_h_0", of_states);
    backward_.d_c_0 = output("d_c_0", of_c);
  }
  Layer(const Layer&) = delete;

  // All that the calls write, under the names of the file.
  const std::map<std::string, std::vector<T>>& train() {
    must(gn_tape_size(&call_, &call_.tape_size, error()));
    const Memory tape(call_.tape_size);
    call_.tape = tape.get();
    must(gn_forward(&call_, error()));
    must(gn_backward(&backward_, error()));
    return results_;
  }

  // Whether every array of the case took part, beside those that are not pointers.
  bool is_whole() const { return taken_.size() + 6 == arrays_.size(); }
  std::string isa() const {
    gn_weights_info info{};
    info.size = sizeof info;
    must(gn_weights_describe(weights_[0].get(), &info, error()));
    return info.isa;
  }

 private:
  struct Strides {
    size_t outer, row;
  };

  static ptrdiff_t stride(size_t elements) { return static_cast<ptrdiff_t>(elements); }

  const std::vector<double>* find(const std::string& name) {
    const auto found = arrays_.find(name);
    if (found == arrays_.end()) return nullptr;
    taken_.insert(name);
    return &found->second;
  }

  // What the file gives; not NULL when it is empty, which would be none.
  template <class Element>
  const Element* given(const std::string& name) {
    const std::vector<double>* const numbers = find(name);
    if (!numbers) return nullptr;
    const auto data = std::make_shared<Element[]>(numbers->size());
    std::transform(numbers->begin(), numbers->end(), data.get(), [](double a) { return static_cast<Element>(a); });
    given_.push_back(data);
    return data.get();
  }

  // Where what the file expects is to be written; nor is that NULL.
  T* result(const std::string& name) {
    const std::vector<double>* const expected = find(name);
    if (!expected) return nullptr;
    std::vector<T>& numbers = results_[name];
    numbers.reserve(expected->size() + 1);
    numbers.assign(expected->size(), std::numeric_limits<T>::quiet_NaN());
    return numbers.data();
  }

  gn_input input(const char* name, Strides strides) {
    return {given<T>(name), {stride(strides.outer), stride(strides.row)}};
  }
  gn_output output(const char* name, Strides strides) {
    return {result(name), {stride(strides.outer), stride(strides.row)}};
  }

  Weights pack(gn_cell cell, size_t inputs, size_t hidden, const std::string& side) {
    gn_weights_options options{};
    options.size = sizeof options;
    options.cell = cell;
    options.type = std::is_same_v<T, float> ? GN_FLOAT32 : GN_FLOAT64;
    options.input_size = inputs;
    options.hidden_size = hidden;
    options.parameters = {given<T>("weight_ih" + side), given<T>("weight_hh" + side), given<T>("bias_ih" + side),
                          given<T>("bias_hh" + side),   given<T>("gamma_ih" + side),  given<T>("gamma_hh" + side),
                          given<T>("peephole" + side),  given<T>("weight_hr" + side)};
    options.projection_size = options.parameters.weight_hr ? static_cast<size_t>(arrays_.at("sizes")[5]) : 0;
    options.clip = arrays_.at("clip")[0];
    options.input_forget = arrays_.at("input_forget")[0] != 0;
    const std::vector<double>& activations = arrays_.at("activations");
    for (size_t i = 0; i < activations.size() / 3; ++i)
      options.activations[i] = {static_cast<gn_function>(activations[3 * i]), activations[3 * i + 1],
                                activations[3 * i + 2]};
    gn_weights* made = nullptr;
    must(gn_weights_create(&options, &made, error()));
    return Weights(made);
  }

  const Arrays& arrays_;
  std::set<std::string> taken_;
  std::vector<std::shared_ptr<const void>> given_;
  std::map<std::string, std::vector<T>> results_;
  Weights weights_[2];
  gn_call call_{};
  gn_backward_call backward_{};
};

// Within absolute + relative * the largest magnitude, and a number.
template <class T>
bool is_near(const std::vector<T>& actual, const std::vector<double>& expected, const std::vector<double>& tolerance) {
  double largest = 0;
  for (const double number : expected) largest = std::max(largest, std::abs(number));
  const double bound = tolerance.at(0) + tolerance.at(1) * largest;
  return std::equal(actual.begin(), actual.end(), expected.begin(), expected.end(), [=](T a, double b) {
    return std::abs(static_cast<double>(a) - b) <= bound;  // not so of NaN
  });
}

template <class T>
void check_case(gn_cell cell, const std::string& where, const Arrays& arrays, const Arrays& tolerances) {
  const std::string type = std::is_same_v<T, float> ? "float32" : "float64";
  for (const gn_keep keep : {GN_KEEP_GATES, GN_KEEP_STATES}) {
    Layer<T> layer(cell, arrays, keep);
    CHECK(layer.is_whole());
    CHECK(layer.isa() == std::getenv("GRU_NATIVE_ISA"));
    for (const auto& [name, actual] : layer.train()) {
      const bool is_gradient = name.starts_with("d_");
      const std::vector<double>& tolerance = tolerances.at(type + (is_gradient ? "_gradient" : "_forward"));
      if (is_near(actual, arrays.at(name), tolerance)) continue;
      const std::string what = where + " " + name + " in " + type + " by " + layer.isa() + " to be as in the file";
      failed(__FILE__, __LINE__, what.c_str());
    }
  }
}

void check_cell(gn_cell cell, const std::string& name) {
  const File file = read(GRU_NATIVE_VECTORS "/" + name + ".txt");
  for_every_isa([&] {
    for (const auto& [title, arrays] : file.cases) {
      check_case<float>(cell, name + " " + title, arrays, file.tolerances);
      check_case<double>(cell, name + " " + title, arrays, file.tolerances);
    }
  });
}

}  // namespace

TEST(vectors_of_every_cell_by_every_instruction_set) {
  check_cell(GN_GRU_RESET_AFTER, "gru_reset_after");
  check_cell(GN_GRU_RESET_BEFORE, "gru_reset_before");
  check_cell(GN_GRU_LAYER_NORM, "gru_layer_norm");
  check_cell(GN_LSTM, "lstm");
  check_cell(GN_RNN_TANH, "rnn_tanh");
  check_cell(GN_RNN_RELU, "rnn_relu");
}
