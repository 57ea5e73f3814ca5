#include "models/builder.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>

#include "api/activations.h"
#include "api/weights.h"

namespace gru {

namespace {

constexpr std::string_view entry_name = "gru_native";

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument("model: " + what); }

const Json& member(const Json::Object& object, const std::string& name, const std::string& of) {
  const auto found = object.find(name);
  if (found == object.end()) refuse("expected " + name + " of " + of + ", got none");
  return found->second;
}

// One option of a layer, with what stands for it in messages.
class Option {
 public:
  Option(const Json::Object& options, const std::string& name, const std::string& of)
      : json_(member(options, name, of)), what_("model: " + of + name) {}
  bool flag() const { return json_.flag(what_); }
  double number() const { return json_.number(what_); }
  size_t whole() const { return json_.whole(what_); }
  const std::string& text() const { return json_.text(what_); }
  const Json::Array& array() const { return json_.array(what_); }
  bool is_array() const { return json_.is_array(); }
  bool is_text() const { return json_.is_text(); }
  bool is_null() const { return json_.is_null(); }
  const Json& json() const { return json_; }
  const std::string& what() const { return what_; }

 private:
  const Json& json_;
  const std::string what_;
};

const Json* find_dtype(const Json& layer) {
  const Json::Object& options = layer.object("model: layer");
  if (const auto found = options.find("dtype"); found != options.end()) return &found->second;
  const auto layers = options.find("layers");
  if (layers == options.end()) return nullptr;
  for (const auto& [name, inner] : layers->second.object("model: layers"))
    if (const Json* found = find_dtype(inner)) return found;
  return nullptr;
}

// In the order of gn_function, behind GN_USUAL. Numbers that are as here are not written.
constexpr struct {
  std::string_view name;
  double alpha, beta;
} functions[] = {
    {"sigmoid", 0, 0},         {"tanh", 0, 0}, {"relu", 0, 0},     {"linear", 1, 0},   {"hard_sigmoid", 1.0 / 6, 0.5},
    {"leaky_relu", 0.01, 0},   {"elu", 1, 0},  {"softsign", 0, 0}, {"softplus", 0, 0}, {"scaled_tanh", 1, 1},
    {"thresholded_relu", 1, 0}};

gn_activation activation_of(const Option& option) {
  const Json::Array alone{option.json()}, &parts = option.is_array() ? option.array() : alone;
  if (parts.empty() || parts.size() > 3) refuse("expected a name and up to two numbers as an activation");
  const std::string& name = parts[0].text(option.what());
  const auto* const found = std::ranges::find(functions, name, [](const auto& each) { return each.name; });
  if (found == std::end(functions)) refuse("expected a known activation, got " + name);
  gn_activation made{static_cast<gn_function>(found - std::begin(functions) + 1), found->alpha, found->beta};
  if (parts.size() > 1) made.alpha = parts[1].number(option.what());
  if (parts.size() > 2) made.beta = parts[2].number(option.what());
  return made;
}

// Layers stand in an object by their numbers.
std::vector<std::pair<std::string, const Json*>> in_order(const Json::Object& layers) {
  std::vector<std::pair<std::string, const Json*>> all;
  for (size_t i = 0; i < layers.size(); ++i)
    all.emplace_back(std::to_string(i), &member(layers, std::to_string(i), "layers"));
  return all;
}

void check(gn_status status, const gn_error& error) {
  if (status == GN_NO_MEMORY) throw std::bad_alloc();
  if (status != GN_OK) refuse(error.message);
}

}  // namespace

ModelConfig::ModelConfig(const Safetensors& file) {
  const std::string* const entry = file.metadata(entry_name);
  if (!entry) refuse("expected a file that gru_native.save wrote, got one without a configuration");
  entry_ = Json::read(*entry);
  const Json::Object& header = entry_.object("model: header");
  if (const size_t format = member(header, "format", "header").whole("model: format"); format != 1)
    refuse("expected format 1, got " + std::to_string(format));
  config_ = &member(header, "config", "header");
}

const std::string& ModelConfig::dtype() const {
  const Json* const found = find_dtype(*config_);
  if (!found) refuse("expected a layer with weights, got none");
  return found->text("model: dtype");
}

template <class T>
Layers<T> ModelBuilder<T>::build() {
  const ModelConfig config(file_);
  add(config.layers(), "");
  if (made_.stages.empty()) refuse("expected a layer behind the embedding, got none");
  if (arrays_used_ != file_.arrays().size()) refuse("expected arrays of its layers alone, got others");
  const std::string_view source = config.layers().source();
  // The arrays in the order of their names: where they lie in the file says nothing.
  Sha256 sum;
  sum.add({reinterpret_cast<const unsigned char*>(source.data()), source.size()});
  for (const auto& [name, array] : file_.arrays()) sum.add({array.data, array.bytes});
  made_.digest = sum.digest();
  return std::move(made_);
}

template <class T>
void ModelBuilder<T>::add(const Json& layer, const std::string& name) {
  const Options& options = layer.object("model: " + name);
  const std::string& type = Option(options, "type", name).text();
  if (type == "Sequential") {
    for (const auto& [place, inner] : in_order(member(options, "layers", name).object("model: layers")))
      add(*inner, name + place + ".");
    return;
  }
  if (options.contains("dtype")) {
    const std::string& dtype = Option(options, "dtype", name).text();
    if (dtype != (sizeof(T) == 4 ? "float32" : "float64")) refuse("expected layers of one dtype, got " + dtype);
  }
  const auto is = [&](const char* known) { return type == known; };
  if (is("Embedding")) return add_embedding(options, name);
  if (is("GRU") || is("LSTM") || is("RNN") || is("GRUCell") || is("LSTMCell") || is("RNNCell"))
    return add_recurrent(type, options, name);
  if (is("Linear")) return add_linear(options, name);
  if (is("Conv1d")) return add_convolution(options, name);
  if (is("LayerNorm")) return add_layer_norm(options, name);
  if (is("BatchNorm1d")) return add_batch_norm(options, name);
  const auto behind_another = [&] {
    if (made_.stages.empty() && made_.indices == 0) refuse("expected another layer before " + type + ", got none");
    return features();
  };
  pooled_ |= is("MeanPooling") || is("LastPooling");
  if (is("MeanPooling")) return add_stage(std::make_unique<MeanStage<T>>(behind_another(), name), name);
  if (is("Softmax")) return add_stage(std::make_unique<SoftmaxStage<T>>(behind_another()), name);
  if (is("Activation")) {
    const auto f = api::checked_activation<T>(activation_of(Option(options, "function", name)), "function");
    return add_stage(std::make_unique<ActivationStage<T>>(behind_another(), f), name);
  }
  if (is("Dropout")) return;
  if (is("LastPooling")) {
    if (Option(options, "bidirectional", name).flag()) refuse(name + "bidirectional: expected false, got true");
    return;
  }
  refuse("expected layers that go step by step, got " + type);
}

template <class T>
const T* ModelBuilder<T>::array(const std::string& name, const std::vector<size_t>& shape) {
  const auto found = file_.arrays().find(name);
  if (found == file_.arrays().end()) refuse("expected an array " + name + ", got none");
  const FileArray& own = found->second;
  if (own.type != (sizeof(T) == 4 ? "F32" : "F64"))
    refuse("expected the layer's dtype of " + name + ", got " + own.type);
  if (own.shape != shape) refuse("expected another shape of " + name);
  ++arrays_used_;
  return reinterpret_cast<const T*>(own.data);
}

template <class T>
std::vector<T> ModelBuilder<T>::values(const std::string& name, size_t size) {
  const T* const from = array(name, {size});
  return {from, from + size};
}

template <class T>
void ModelBuilder<T>::add_stage(std::unique_ptr<const Stage<T>> stage, const std::string& name) {
  if (const size_t given = features(); (!made_.stages.empty() || made_.indices > 0) && stage->input_size != given)
    refuse(name + " expected features of size " + std::to_string(given) + ", got " + std::to_string(stage->input_size));
  made_.stages.push_back(std::move(stage));
}

template <class T>
size_t ModelBuilder<T>::features() const {
  if (!made_.stages.empty()) return made_.stages.back()->output_size;
  return made_.indices > 0 ? made_.table.size() / made_.indices : 0;
}

template <class T>
void ModelBuilder<T>::add_embedding(const Options& options, const std::string& name) {
  if (!made_.stages.empty() || made_.indices > 0) refuse("expected an Embedding in the first place only");
  const size_t entries = Option(options, "num_embeddings", name).whole();
  const size_t size = Option(options, "embedding_dim", name).whole();
  if (entries == 0 || size == 0) refuse("expected an Embedding with entries, got none");
  const T* const from = array(name + "weight", {entries, size});
  made_.indices = entries;
  made_.table = Buffer<T>(product(entries, size));
  std::copy_n(from, made_.table.size(), made_.table.data());
}

template <class T>
void ModelBuilder<T>::add_recurrent(const std::string& type, const Options& options, const std::string& name) {
  const bool is_cell = type.ends_with("Cell"), is_lstm = type.starts_with("LSTM"), is_gru = type.starts_with("GRU");
  const auto option = [&](const char* which) { return Option(options, which, name); };
  if (!is_cell && (option("bidirectional").flag() || option("direction").text() != "forward"))
    refuse(name + "direction: expected forward, because a step knows nothing of later ones");
  gn_weights_options layer{};
  layer.size = sizeof layer;
  layer.type = sizeof(T) == 4 ? GN_FLOAT32 : GN_FLOAT64;
  if (is_gru) {
    layer.cell = option("layer_norm").flag()    ? GN_GRU_LAYER_NORM
                 : option("reset_after").flag() ? GN_GRU_RESET_AFTER
                                                : GN_GRU_RESET_BEFORE;
  } else if (is_lstm) {
    layer.cell = GN_LSTM;
    layer.input_forget = option("input_forget").flag();
  } else {
    const gn_activation own = activation_of(option("nonlinearity"));
    layer.cell = own.function == GN_RELU ? GN_RNN_RELU : GN_RNN_TANH;
    if (own.function != GN_RELU && own.function != GN_TANH) layer.activations[0] = own;
  }
  if ((is_gru || is_lstm) && layer.cell != GN_GRU_LAYER_NORM) {
    const gn_activation candidate = activation_of(option("activation"));
    layer.activations[0] = activation_of(option("recurrent_activation"));
    layer.activations[1] = candidate;
    if (is_lstm)
      layer.activations[2] = options.contains("cell_activation") ? activation_of(option("cell_activation")) : candidate;
  }
  if (!option("clip").is_null()) layer.clip = option("clip").number();
  const bool has_bias = option("bias").flag(), peepholes = is_lstm && option("peepholes").flag();
  const double zoneout = options.contains("zoneout") ? option("zoneout").number() : 0;
  if (!(zoneout >= 0 && zoneout <= 1)) refuse(name + "zoneout: expected 0 to 1");
  const Option sizes = option("hidden_size");
  const size_t layers = is_cell ? 1 : option("num_layers").whole();
  if (sizes.is_array() && sizes.array().size() != layers) refuse(name + "hidden_size: expected a size for each layer");
  const size_t projection = is_lstm && !is_cell ? option("proj_size").whole() : 0, gates = gn_cell_gates(layer.cell);
  layer.input_size = option("input_size").whole();
  for (size_t l = 0; l < layers; ++l) {
    const std::string place = std::to_string(l);
    const std::string end = is_cell ? std::string() : std::string("_l").append(place);
    layer.hidden_size = sizes.is_array() ? sizes.array()[l].whole(sizes.what()) : sizes.whole();
    if (layer.hidden_size == 0) refuse(name + "hidden_size: expected at least 1, got 0");
    layer.projection_size = projection;
    const size_t H = layer.hidden_size, P = projection > 0 ? projection : H, rows = product(gates, H);
    const auto own = [&](const char* which, const std::vector<size_t>& shape) -> const void* {
      return array(name + which + end, shape);
    };
    gn_parameters& of = layer.parameters;
    of = {own("weight_ih", {rows, layer.input_size}),
          own("weight_hh", {rows, P}),
          nullptr,
          nullptr,
          nullptr,
          nullptr,
          nullptr,
          nullptr};
    if (has_bias) {
      of.bias_ih = own("bias_ih", {rows});
      of.bias_hh = own("bias_hh", {rows});
    }
    if (layer.cell == GN_GRU_LAYER_NORM) {
      of.gamma_ih = own("gamma_ih", {rows});
      of.gamma_hh = own("gamma_hh", {rows});
    }
    if (peepholes) of.peephole = own("peephole", {3, H});
    if (projection > 0) of.weight_hr = own("weight_hr", {P, H});
    gn_weights* made = nullptr;
    gn_error error{};
    error.size = sizeof error;
    check(gn_weights_create(&layer, &made, &error), error);
    const std::shared_ptr<const gn_weights> weights(made, gn_weights_destroy);
    for (const Pack<T>* pack :
         {&weights->as<T>().forward().hidden, &weights->as<T>().forward().second, &weights->as<T>().forward().input})
      pack->whole(1);  // the file's arrays go
    add_stage(std::make_unique<RecurrentStage<T>>(weights, weights->as<T>(), zoneout,
                                                  is_cell ? name : name + "l" + place + "."),
              name);
    layer.input_size = P;
  }
}

template <class T>
void ModelBuilder<T>::add_linear(const Options& options, const std::string& name) {
  const size_t in = Option(options, "in_features", name).whole(), out = Option(options, "out_features", name).whole();
  const T* const weight = array(name + "weight", {out, in});
  const T* const bias = Option(options, "bias", name).flag() ? array(name + "bias", {out}) : nullptr;
  const auto weights = std::make_shared<const LinearWeights<T>>(in, out, weight, bias);
  weights->forward().whole(1);
  add_stage(std::make_unique<LinearStage<T>>(weights, *weights), name);
}

template <class T>
void ModelBuilder<T>::add_convolution(const Options& options, const std::string& name) {
  const auto whole = [&](const char* which) {
    const size_t found = Option(options, which, name).whole();
    if (found == 0) refuse(name + which + ": expected at least 1, got 0");
    return found;
  };
  const Option padding(options, "padding", name);
  if (!padding.is_text() || padding.text() != "causal")
    refuse(name + "padding: expected causal, because a step knows nothing of later ones");
  if (const size_t stride = whole("stride"); stride != 1)
    refuse(name + "stride: expected 1, because each step gives an output, got " + std::to_string(stride));
  const size_t in = whole("in_channels"), out = whole("out_channels"), kernel = whole("kernel_size");
  const T* const weight = array(name + "weight", {out, in, kernel});
  const T* const bias = Option(options, "bias", name).flag() ? array(name + "bias", {out}) : nullptr;
  const Buffer<T> laid(product(product(out, in), kernel));  // the steps of a window one behind the other
  for (size_t o = 0; o < out; ++o)
    for (size_t c = 0; c < in; ++c)
      for (size_t k = 0; k < kernel; ++k) laid.data()[(o * kernel + k) * in + c] = weight[(o * in + c) * kernel + k];
  const auto weights = std::make_shared<const LinearWeights<T>>(product(kernel, in), out, laid.data(), bias);
  weights->forward().whole(1);
  add_stage(std::make_unique<ConvolutionStage<T>>(weights, *weights, kernel, whole("dilation"), name), name);
}

template <class T>
void ModelBuilder<T>::add_layer_norm(const Options& options, const std::string& name) {
  const Json::Array& shape = Option(options, "normalized_shape", name).array();
  if (shape.size() != 1) refuse(name + "normalized_shape: expected one axis");
  const size_t size = shape[0].whole("model: normalized_shape");
  typename NormStage<T>::Parameters own{};
  own.eps = Option(options, "eps", name).number();
  if (Option(options, "elementwise_affine", name).flag()) own.weight = values(name + "weight", size);
  if (Option(options, "bias", name).flag()) own.bias = values(name + "bias", size);
  add_stage(std::make_unique<NormStage<T>>(size, std::move(own)), name);
}

template <class T>
void ModelBuilder<T>::add_batch_norm(const Options& options, const std::string& name) {
  const size_t size = Option(options, "num_features", name).whole();
  if (!Option(options, "track_running_stats", name).flag())
    refuse(name + "track_running_stats: expected true, because a step has no batch of its own");
  if (!pooled_ && !(options.contains("channels_last") && Option(options, "channels_last", name).flag()))
    refuse(name + "channels_last: expected true before a layer that pools, got false");
  typename NormStage<T>::Parameters own{};
  const auto eps = static_cast<T>(Option(options, "eps", name).number());
  own.mean = values(name + "running_mean", size);
  for (const T variance : values(name + "running_var", size)) own.scale.push_back(T(1) / std::sqrt(variance + eps));
  if (Option(options, "affine", name).flag()) {
    own.weight = values(name + "weight", size);
    own.bias = values(name + "bias", size);
  }
  if (has(name + "num_batches_tracked")) ++arrays_used_;
  add_stage(std::make_unique<NormStage<T>>(size, std::move(own)), name);
}

template class ModelBuilder<float>;
template class ModelBuilder<double>;

}  // namespace gru
