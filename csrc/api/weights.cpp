#include "weights.h"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "activations.h"
#include "checks.h"
#include "kernels/dispatch.h"

namespace gru::api {

namespace {

// What is chosen, if anything is not as usual.
template <class T>
std::optional<Choices<T>> choices_of(const gn_weights_options& options, const Kernels<T>& kernels) {
  const auto kind = static_cast<size_t>(options.cell);
  const Cell<T>& cell = kernels.cells[kind];
  Choices<T> choices{};
  if (!(options.clip >= 0) || (options.clip > 0 && static_cast<T>(options.clip) < std::numeric_limits<T>::min()))
    refuse("clip", "a number above 0 in the type of the weights, or 0 for none", shown(options.clip));
  choices.clip = options.clip > 0 ? static_cast<T>(options.clip) : std::numeric_limits<T>::infinity();
  choices.input_forget = options.input_forget;
  choices.projects = options.projection_size > 0;
  bool any = options.clip > 0 || options.input_forget || options.parameters.peephole || choices.projects;
  for (size_t i = 0; i < 3; ++i) {
    if (i >= cell.functions && options.activations[i].function != GN_USUAL)
      refuse("activations", std::to_string(cell.functions) + " for this cell", std::to_string(i + 1));
    choices.of[i] = checked_activation<T>(options.activations[i], "activations", cell.usual[i]);
    any = any || choices.of[i].function != cell.usual[i];
  }
  if (options.input_forget && !cell.has_peepholes) refuse("input_forget", "false for this cell", "true");
  if (!any) return std::nullopt;
  if (kernels.chosen[kind].gates == 0) refuse(options.clip > 0 ? "clip" : "activations", "none for this cell", "some");
  return choices;
}

template <class T>
std::unique_ptr<const RecurrentWeights<T>> created(const gn_weights_options& options) {
  const auto kind = static_cast<size_t>(options.cell);
  const Kernels<T>& kernels = kernels_of<T>(active_isa());
  const Cell<T>& cell = kernels.cells[kind];
  const size_t rows = product(cell.gates, options.hidden_size);
  if (options.projection_size > options.hidden_size)
    refuse("projection_size", "at most hidden_size", std::to_string(options.projection_size));
  const size_t output_size = options.projection_size > 0 ? options.projection_size : options.hidden_size;
  const bool has_input = product(rows, options.input_size) > 0, has_hidden = product(rows, output_size) > 0;
  const gn_parameters& given = options.parameters;
  const auto only_if = [](bool exists, const void* array, const char* name) {
    if (array && !exists) refuse(name, "NULL for this cell", "an array");
  };
  only_if(cell.normalized, given.gamma_ih, "gamma_ih");
  only_if(cell.normalized, given.gamma_hh, "gamma_hh");
  only_if(cell.has_peepholes, given.peephole, "peephole");
  const bool has_projection = options.projection_size > 0;
  only_if(has_projection, given.weight_hr, "weight_hr");
  if (has_projection && kernels.chosen[kind].projected == 0)
    refuse("projection_size", "0 for this cell", std::to_string(options.projection_size));
  const RecurrentParameters<const T> parameters{typed<const T>(given.weight_ih, "weight_ih", has_input),
                                                typed<const T>(given.weight_hh, "weight_hh", has_hidden),
                                                typed<const T>(given.bias_ih, "bias_ih", false),
                                                typed<const T>(given.bias_hh, "bias_hh", false),
                                                typed<const T>(given.gamma_ih, "gamma_ih", cell.normalized),
                                                typed<const T>(given.gamma_hh, "gamma_hh", cell.normalized),
                                                typed<const T>(given.peephole, "peephole", false),
                                                typed<const T>(given.weight_hr, "weight_hr", has_projection)};
  const auto choices = choices_of<T>(options, kernels);
  return std::make_unique<const RecurrentWeights<T>>(kind, options.input_size, options.hidden_size, output_size,
                                                     parameters, choices ? &*choices : nullptr);
}

template <class T>
void describe(const RecurrentWeights<T>& weights, gn_weights_info& info) {
  info.cell = static_cast<gn_cell>(weights.kind);
  info.input_size = weights.input_size;
  info.hidden_size = weights.hidden_size;
  info.output_size = weights.output_size;
  info.gates = weights.cell.gates;
  info.states = weights.cell.states;
  info.bias_ih = weights.has_bias_ih;
  info.bias_hh = weights.has_bias_hh;
  info.gains = weights.cell.normalized;
  info.peepholes = weights.has_peepholes;
  info.isa = weights.isa.name;
}

}  // namespace

}  // namespace gru::api

using namespace gru::api;

size_t gn_cell_gates(gn_cell cell) {
  const auto kind = static_cast<size_t>(cell);
  return kind < gru::cell_kinds ? gru::lowest_isa().float32->cells[kind].gates : 0;
}

gn_status gn_weights_create(const gn_weights_options* options, gn_weights** weights, gn_error* error) {
  return guarded(error, [&] {
    gn_weights_options room;
    const gn_weights_options& own = taken(options, "options", room);
    if (!weights) refuse("weights", "where to put them", "NULL");
    if (own.cell < 0 || static_cast<size_t>(own.cell) >= gru::cell_kinds)
      refuse("cell", "one of gn_cell", std::to_string(own.cell));
    auto made = std::make_unique<gn_weights>();
    for_type(own.type, [&](auto zero) { made->of = created<decltype(zero)>(own); });
    *weights = made.release();
  });
}

void gn_weights_destroy(gn_weights* weights) { delete weights; }

gn_status gn_weights_describe(const gn_weights* weights, gn_weights_info* info, gn_error* error) {
  return guarded(error, [&] {
    if (!weights) refuse("weights", "what gn_weights_create made", "NULL");
    gn_weights_info own;
    own = taken(info, "info", own);
    own.type = weights->type();
    for_type(own.type, [&](auto zero) { describe(weights->as<decltype(zero)>(), own); });
    std::memcpy(info, &own, std::min(own.size, sizeof own));
  });
}
