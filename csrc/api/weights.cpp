#include "weights.h"

#include <cstdint>
#include <string>
#include <utility>

#include "checks.h"
#include "kernels/dispatch.h"

namespace gru::api {

namespace {

template <class T>
std::unique_ptr<const RecurrentWeights<T>> created(const gn_weights_options& options) {
  const auto kind = static_cast<size_t>(options.cell);
  const Cell<T>& cell = kernels_of<T>(active_isa()).cells[kind];
  const size_t rows = product(cell.gates, options.hidden_size);
  const bool has_input = product(rows, options.input_size) > 0, has_hidden = product(rows, options.hidden_size) > 0;
  const gn_parameters& given = options.parameters;
  const bool normalized = cell.normalized;
  for (const auto& [gain, name] : {std::pair{given.gamma_ih, "gamma_ih"}, std::pair{given.gamma_hh, "gamma_hh"}})
    if (gain && !normalized) refuse(name, "NULL for this cell", "an array");
  const RecurrentParameters<const T> parameters{
      typed<const T>(given.weight_ih, "weight_ih", has_input), typed<const T>(given.weight_hh, "weight_hh", has_hidden),
      typed<const T>(given.bias_ih, "bias_ih", false),         typed<const T>(given.bias_hh, "bias_hh", false),
      typed<const T>(given.gamma_ih, "gamma_ih", normalized),  typed<const T>(given.gamma_hh, "gamma_hh", normalized)};
  return std::make_unique<const RecurrentWeights<T>>(kind, options.input_size, options.hidden_size, parameters);
}

template <class T>
void describe(const RecurrentWeights<T>& weights, gn_weights_info& info) {
  info.cell = static_cast<gn_cell>(weights.kind);
  info.input_size = weights.input_size;
  info.hidden_size = weights.hidden_size;
  info.gates = weights.cell.gates;
  info.states = weights.cell.states;
  info.bias_ih = weights.has_bias_ih;
  info.bias_hh = weights.has_bias_hh;
  info.gains = weights.cell.normalized;
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
