#include "models.h"

#include "checks.h"
#include "models/builder.h"

namespace gru::api {

const gn_model& checked_model(const gn_model* model) {
  if (!model) refuse("model", "what gn_model_create made", "NULL");
  return *model;
}

}  // namespace gru::api

using namespace gru::api;

gn_status gn_model_create(const gn_file* file, gn_model** model, gn_error* error) {
  return guarded(error, [&] {
    if (!file) refuse("file", "what gn_file_load made", "NULL");
    if (!model) refuse("model", "where to put it", "NULL");
    const std::string dtype = gru::ModelConfig(file->of).dtype();
    if (dtype != "float32" && dtype != "float64") refuse("model", "dtype float32 or float64", dtype);
    auto made = std::make_unique<gn_model>();
    for_type(dtype == "float32" ? GN_FLOAT32 : GN_FLOAT64,
             [&](auto zero) { made->of = std::make_shared<const gru::Model<decltype(zero)>>(file->of); });
    *model = made.release();
  });
}

void gn_model_destroy(gn_model* model) { delete model; }

gn_status gn_model_describe(const gn_model* model, gn_model_info* info, gn_error* error) {
  return guarded(error, [&] {
    gn_model_info own;
    own = taken(info, "info", own);
    own.type = checked_model(model).of.index() == 0 ? GN_FLOAT32 : GN_FLOAT64;
    std::visit(
        [&](const auto& of) {
          const gru::ModelShape& shape = *of->shape();
          own.input_size = shape.input_size;
          own.indices = shape.indices;
          own.output_size = shape.output_size;
          own.states = shape.state_parts.size();
          own.work = shape.work;
          std::copy(of->digest().begin(), of->digest().end(), own.digest);
        },
        model->of);
    std::memcpy(info, &own, std::min(own.size, sizeof own));
  });
}

gn_status gn_model_state(const gn_model* model, size_t place, gn_state* state, gn_error* error) {
  return guarded(error, [&] {
    gn_state own;
    own = taken(state, "state", own);
    std::visit(
        [&](const auto& of) {
          const gru::StatePart& part = checked_part(*of->shape(), place);
          own.name = part.name.c_str();
          own.elements = part.size;
          own.is_whole = part.whole;
        },
        checked_model(model).of);
    std::memcpy(state, &own, std::min(own.size, sizeof own));
  });
}
