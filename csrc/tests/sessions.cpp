// Models, sessions and pools through the door: their bits, what they refuse, and what they do to threads.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "gru_native.h"
#include "isas.h"
#include "models.h"

using namespace gru::tests;

namespace {

constexpr size_t inputs = 5;

// Whether a call was refused, naming an argument.
bool refuses(gn_status status, const char* argument) {
  return status == GN_INVALID && std::strcmp(error()->argument, argument) == 0 &&
         std::strstr(error()->message, ": expected ");
}

template <class T>
std::vector<std::string> all_models() {
  return {ModelFile<T>(inputs).gru(17).content(), ModelFile<T>(inputs).lstm(33).content(),
          ModelFile<T>(inputs).linear(8).norm().gru(16).lstm(9).mean().linear(3).content()};
}

gn_model_info info_of(const ModelHandle& model) {
  gn_model_info info{};
  info.size = sizeof info;
  must(gn_model_describe(model.get(), &info, error()));
  return info;
}

template <class T>
std::vector<T> run(const SessionHandle& session, const ModelHandle& model, const std::vector<T>& x, size_t steps,
                   size_t batch, int threads) {
  std::vector<T> y(steps * batch * info_of(model).output_size);
  must(gn_session_run(session.get(), steps, x.data(), y.data(), threads, error()));
  return y;
}

std::string snapshot(gn_session* session, const ModelHandle& model, size_t batch) {
  size_t bytes = 0;
  must(gn_snapshot_size(model.get(), batch, &bytes, error()));
  std::string kept(bytes, '\0');
  must(gn_session_snapshot(session, kept.data(), kept.size(), error()));
  return kept;
}

template <class T>
void check_steps(const std::string& content) {
  constexpr size_t steps = 6, batch = 70;
  const ModelHandle model = model_of(content);
  const size_t outputs = info_of(model).output_size;
  const auto x = draw<T>(steps * batch * inputs, 9);
  const SessionHandle whole = session_of(model, batch), stepped = session_of(model, batch);
  const std::vector<T> expected = run(whole, model, x, steps, batch, 1);
  std::vector<T> y(expected.size());
  for (size_t t = 0; t < steps; ++t)
    must(gn_session_step(stepped.get(), x.data() + t * batch * inputs, y.data() + t * batch * outputs, error()));
  CHECK(same_bits(y, expected));
  CHECK(snapshot(whole.get(), model, batch) == snapshot(stepped.get(), model, batch));
  must(gn_session_reset(whole.get(), nullptr, error()));
  CHECK(same_bits(run(whole, model, x, steps, batch, 3), expected));

  const PoolHandle pool = pool_of(model, batch, 3);
  std::vector<uint64_t> ids(batch);
  for (uint64_t& id : ids) must(gn_pool_open(pool.get(), -1, &id, error()));
  std::reverse(ids.begin(), ids.end());
  for (size_t t = 0; t < steps; ++t)
    must(gn_pool_step(pool.get(), batch, ids.data(), x.data() + t * batch * inputs, y.data() + t * batch * outputs,
                      error()));
  CHECK(same_bits(y, expected));
}

}  // namespace

TEST(steps_runs_and_pools_have_the_same_bits) {
  for_every_isa([] {
    for (const std::string& content : all_models<float>()) check_steps<float>(content);
    for (const std::string& content : all_models<double>()) check_steps<double>(content);
  });
}

TEST(a_model_may_go_before_its_sessions) {
  ModelHandle model = model_of(ModelFile<float>(inputs).gru(17).content()),
              next = model_of(ModelFile<float>(inputs, 0, 7).gru(17).content());
  const SessionHandle session = session_of(model, 1);
  const PoolHandle pool = pool_of(model, 1, 1);
  uint64_t id = 0;
  must(gn_pool_open(pool.get(), 0, &id, error()));
  const auto x = draw<float>(inputs, 1);
  std::vector<float> y(17), of_pool(17);
  for (int turn = 0; turn < 2; ++turn) {
    model.reset();
    must(gn_session_step(session.get(), x.data(), y.data(), error()));
    must(gn_pool_step(pool.get(), 1, &id, x.data(), of_pool.data(), error()));
    CHECK(same_bits(y, of_pool));
    if (turn > 0) break;
    must(gn_session_update(session.get(), next.get(), error()));
    must(gn_pool_update(pool.get(), next.get(), error()));
    next.reset();
  }
  gn_model_destroy(nullptr);
  gn_session_destroy(nullptr);
  gn_pool_destroy(nullptr);
}

TEST(a_model_says_what_it_is) {
  const std::string content = ModelFile<double>(4, 9).gru(6).lstm(7).mean().linear(3).content();
  const ModelHandle model = model_of(content), same = model_of(content);
  gn_model_info info = info_of(model);
  CHECK(info.type == GN_FLOAT64 && info.input_size == 4 && info.indices == 9 && info.output_size == 3);
  CHECK(info.states == 5 && info.work > 3 * 6 * (4 + 6) + 4 * 7 * (6 + 7) + 7 * 3);
  CHECK(std::memcmp(info.digest, info_of(same).digest, sizeof info.digest) == 0);
  const char* const names[] = {"1.l0.h", "2.l0.h", "2.l0.c", "3.sum", "3.count"};
  const size_t sizes[] = {6, 7, 7, 7, 1};
  gn_state state{};
  state.size = sizeof state;
  for (size_t place = 0; place < 5; ++place) {
    must(gn_model_state(model.get(), place, &state, error()));
    CHECK(std::strcmp(state.name, names[place]) == 0 && state.elements == sizes[place] &&
          state.is_whole == (place == 4));
  }
  CHECK(refuses(gn_model_state(model.get(), 5, &state, error()), "place"));
  CHECK(refuses(gn_model_state(model.get(), 0, nullptr, error()), "state"));
  CHECK(refuses(gn_model_state(nullptr, 0, &state, error()), "model"));
  state.size = 3;
  CHECK(refuses(gn_model_state(model.get(), 0, &state, error()), "state.size"));
  info = {};
  info.size = offsetof(gn_model_info, states);
  info.states = 77;
  must(gn_model_describe(model.get(), &info, error()));
  CHECK(info.output_size == 3 && info.states == 77);
  CHECK(refuses(gn_model_describe(model.get(), nullptr, error()), "info"));
  CHECK(refuses(gn_model_describe(nullptr, &info, error()), "model"));
}

TEST(what_is_no_model_is_refused) {
  const std::string content = ModelFile<float>(inputs).gru(3).linear(2).content();
  const auto refused = [&](std::string wrong, const std::string& from, const std::string& to) {
    const size_t at = wrong.find(from);
    CHECK(at != std::string::npos);
    if (at == std::string::npos) return;
    wrong.replace(at, from.size(), to);
    const uint64_t length = wrong.size() - content.size();  // of the header, which grew
    uint64_t before = 0;
    std::memcpy(&before, content.data(), sizeof before);
    const uint64_t now = before + length;
    std::memcpy(wrong.data(), &now, sizeof now);
    gn_model* model = nullptr;
    CHECK(gn_model_create(read(wrong).get(), &model, error()) == GN_INVALID && !model);
    CHECK(std::strncmp(error()->message, "model: ", 7) == 0 || std::strncmp(error()->message, "JSON: ", 6) == 0);
  };
  for (const auto& [from, to] : std::initializer_list<std::pair<const char*, const char*>>{
           {"gru_native", "gru_other"},
           {R"(\"format\":1)", R"(\"format\":2)"},
           {R"(\"format\":1)", R"(\"format\":null)"},
           {R"({\"format\")", R"([\"format\")"},
           {R"(\"config\")", R"(\"konfig\")"},
           {R"(\"layers\")", R"(\"lagers\")"},
           {R"(\"Sequential\")", R"(\"Parallel\")"},
           {R"(\"GRU\")", R"(\"GRV\")"},
           {R"(\"GRU\")", R"(\"LSTM\")"},
           {R"(\"GRU\")", "3"},
           {R"(\"0\":)", R"(\"2\":)"},
           {R"(\"1\":)", R"(\"x\":)"},
           {R"(\"input_size\":5)", R"(\"input_size\":6)"},
           {R"(\"input_size\":5)", R"(\"input_size\":0)"},
           {R"(\"input_size\":5)", R"(\"input_size\":-5)"},
           {R"(\"input_size\":5)", R"(\"input_size\":9007199254740992)"},
           {R"(\"hidden_size\":3)", R"(\"hidden_size\":4)"},
           {R"(\"hidden_size\":3)", R"(\"hidden_size\":9007199254740992)"},
           {R"(\"hidden_size\":3)", R"(\"hidden_size\":[3,3])"},
           {R"(\"hidden_size\":3)", R"(\"hidden_size\":[])"},
           {R"(\"hidden_size\":3)", R"(\"hidden_size\":\"3\")"},
           {R"(\"num_layers\":1)", R"(\"num_layers\":2)"},
           {R"(\"num_layers\":1)", R"(\"num_layers\":0)"},
           {R"(\"num_layers\":1)", R"(\"num_layers\":9007199254740992)"},
           {R"(\"bias\":true)", R"(\"bias\":false)"},
           {R"(\"bias\":true)", R"(\"bias\":1)"},
           {R"(\"bidirectional\":false)", R"(\"bidirectional\":true)"},
           {R"(\"forward\")", R"(\"reverse\")"},
           {R"(\"zoneout\":0)", R"(\"zoneout\":1.5)"},
           {R"(\"zoneout\":0)", R"(\"zoneout\":-1)"},
           {R"(\"layer_norm\":false)", R"(\"layer_norm\":true)"},
           {R"(\"tanh\")", R"(\"tan\")"},
           {R"(\"tanh\")", R"([])"},
           {R"(\"tanh\")", R"([\"elu\",1,0,0])"},
           {R"(\"tanh\")", R"([\"elu\",\"1\"])"},
           {R"(\"tanh\")", R"([\"elu\",1e300])"},
           {R"(\"clip\":null)", R"(\"clip\":-1)"},
           {R"(\"clip\":null)", R"(\"clip\":1e-60)"},
           {R"(\"clip\":null)", R"(\"clip\":\"1\")"},
           {R"(\"float32\")", R"(\"float64\")"},
           {R"(\"float32\")", R"(\"float16\")"},
           {R"(\"float32\")", R"(null)"},
           {R"(\"in_features\":3)", R"(\"in_features\":2)"},
           {R"(\"out_features\":2)", R"(\"out_features\":3)"},
           {R"("0.bias_hh_l0")", R"("0.bias_hh_l1")"},
           {R"("0.bias_hh_l0")", R"("bias_hh_l0")"},
           {R"(}}})", R"(}})"},
       })
    refused(content, from, to);
  gn_model* model = nullptr;
  CHECK(refuses(gn_model_create(read(ModelFile<float>(inputs).gru(0).content()).get(), &model, error()), "model") &&
        !model);
}

namespace {

const std::string model_path = GRU_NATIVE_VECTORS "/model.safetensors";

std::string file_at(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

gn_array array_of(const FileHandle& file, const char* name) {
  gn_array array{};
  array.size = sizeof array;
  must(gn_file_array(file.get(), name, &array, error()));
  return array;
}

}  // namespace

// Written by tests/vectors/write.py.
TEST(a_model_that_python_saved) {
  const std::string path = GRU_NATIVE_VECTORS "/model_steps.safetensors";
  gn_file* opened = nullptr;
  must(gn_file_load(path.c_str(), &opened, error()));
  const FileHandle steps(opened);
  const gn_array x = array_of(steps, "x"), expected = array_of(steps, "y");
  CHECK(std::strcmp(x.type, "I64") == 0 && std::strcmp(expected.type, "F64") == 0 && expected.axes == 3);
  const size_t count = x.shape[0], batch = x.shape[1], outputs = expected.shape[2];
  for_every_isa([&] {
    must(gn_file_load(model_path.c_str(), &opened, error()));
    const FileHandle file(opened);
    gn_model* made = nullptr;
    must(gn_model_create(file.get(), &made, error()));
    const ModelHandle model(made);
    CHECK(info_of(model).output_size == outputs && info_of(model).type == GN_FLOAT64);
    const SessionHandle session = session_of(model, batch);
    std::vector<double> y(count * batch * outputs);
    for (size_t t = 0; t < count; ++t)
      must(gn_session_step(session.get(), static_cast<const int64_t*>(x.data) + t * batch,
                           y.data() + t * batch * outputs, error()));
    CHECK(std::equal(y.begin(), y.end(), static_cast<const double*>(expected.data),
                     [](double a, double b) { return std::abs(a - b) < 1e-12; }));
  });
}

namespace {

// Reads a model, and takes what is taken some steps further: whatever the bytes are, no other memory is touched.
void try_content(const std::string& content, const std::string& state) {
  const std::vector<char> exact(content.begin(), content.end());
  const char none = 0;
  gn_file* opened = nullptr;
  const gn_status status = gn_file_read(exact.empty() ? &none : exact.data(), exact.size(), &opened, error());
  CHECK((status == GN_OK) == (opened != nullptr));
  CHECK(status == GN_OK || status == GN_INVALID || status == GN_NO_MEMORY);
  const FileHandle file(opened);
  if (!file) return;
  gn_model* made = nullptr;
  const gn_status built = gn_model_create(file.get(), &made, error());
  CHECK((built == GN_OK) == (made != nullptr));
  CHECK(built == GN_OK || built == GN_INVALID || built == GN_NO_MEMORY);
  const ModelHandle model(made);
  if (!model) return;
  const gn_model_info info = info_of(model);
  gn_session* begun = nullptr;
  must(gn_session_create(model.get(), 2, &begun, error()));
  const SessionHandle session(begun);
  const gn_status restored = gn_session_restore(session.get(), state.data(), state.size(), error());
  CHECK(restored == GN_OK || restored == GN_INVALID);
  const std::vector<double> x(2 * (info.input_size + 1));
  std::vector<double> y(2 * info.output_size + 1);
  const PoolHandle pool = pool_of(model, 2, 2);
  uint64_t ids[2];
  for (uint64_t& id : ids) must(gn_pool_open(pool.get(), -1, &id, error()));
  for (int step = 0; step < 2; ++step) {
    must(gn_session_step(session.get(), x.data(), y.data(), error()));
    must(gn_pool_step(pool.get(), 2, ids, x.data(), y.data(), error()));
  }
  must(gn_session_run(session.get(), 1, x.data(), y.data(), 2, error()));
  for (size_t place = 0; place < info.states; ++place) {
    std::vector<double> part(2 * (info.work + 1));  // which is more than it has
    must(gn_session_get(session.get(), place, part.data(), error()));
    must(gn_session_set(session.get(), place, part.data(), error()));
  }
}

void change(std::string& content, size_t within, std::mt19937& generator) {
  const auto draw_below = [&](size_t end) { return static_cast<size_t>(generator()) % end; };
  const std::string odd[] = {"-1", "0",   "1e9", "9007199254740992", "null", "{}", "[]", "\\\"", "]", "}",
                             ",",  "0.5", "true"};
  const size_t at = draw_below(within);
  switch (generator() % 4) {
    case 0:
      content[at] = static_cast<char>(generator());
      break;
    case 1:
      content[at] = static_cast<char>(content[at] ^ (1 << generator() % 8));
      break;
    case 2: {
      const std::string& other = odd[draw_below(std::size(odd))];
      content.replace(at, std::min(other.size(), within - at), other.substr(0, within - at));
      break;
    }
    default: {  // what stands elsewhere
      const size_t size = std::min<size_t>(1 + draw_below(12), within - at), from = draw_below(within - size + 1);
      content.replace(at, size, content.substr(from, size));
    }
  }
}

}  // namespace

TEST(sizes_of_zero_and_one_do_no_harm) {
  for (const size_t first : {size_t{0}, size_t{1}})
    for (const size_t second : {size_t{0}, size_t{1}}) {
      try_content(ModelFile<float>(first).gru(second).lstm(first).mean().linear(second).content(), "");
      try_content(ModelFile<double>(first).linear(second).norm().mean().linear(first).content(), "");
      try_content(ModelFile<float>(first, second).gru(second).content(), "");
    }
}

TEST(a_damaged_model_does_no_harm) {
  const std::string whole = file_at(model_path);
  CHECK(whole.size() > 1000);
  uint64_t header = 0;
  std::memcpy(&header, whole.data(), sizeof header);
  const ModelHandle model = model_of(whole);
  const SessionHandle session = session_of(model, 2);
  const std::string state = snapshot(session.get(), model, 2);
  try_content(whole, state);
  for (size_t size = 0; size < whole.size(); ++size) try_content(whole.substr(0, size), state);
  std::mt19937 generator(1);
  for (int turn = 0; turn < 6000; ++turn) {
    std::string damaged = whole, damaged_state = state;
    for (auto times = 1 + generator() % 3; times > 0; --times) {
      change(damaged, turn % 2 == 0 ? 8 + static_cast<size_t>(header) : damaged.size(), generator);
      change(damaged_state, damaged_state.size(), generator);
    }
    try_content(damaged, turn % 3 == 0 ? state : damaged_state);
  }
}

TEST(snapshots_are_checked_byte_by_byte) {
  const ModelHandle model = model_of(ModelFile<float>(inputs).lstm(3).mean().content()),
                    other = model_of(ModelFile<float>(inputs, 0, 2).lstm(3).mean().content());
  const SessionHandle session = session_of(model, 2), larger = session_of(model, 3), of_other = session_of(other, 2);
  const PoolHandle pool = pool_of(model, 4, 1);
  const auto x = draw<float>(2 * inputs, 1);
  std::vector<float> y(6);
  must(gn_session_step(session.get(), x.data(), y.data(), error()));
  const std::string kept = snapshot(session.get(), model, 2);
  must(gn_session_step(session.get(), x.data(), y.data(), error()));
  const std::string before = snapshot(session.get(), model, 2);
  uint64_t id = 7;
  const auto check_refused = [&](const std::vector<char>& wrong) {
    CHECK(refuses(gn_session_restore(session.get(), wrong.data(), wrong.size(), error()), "snapshot"));
    CHECK(refuses(gn_pool_restore(pool.get(), wrong.data(), wrong.size(), 0, &id, error()), "snapshot") && id == 7);
  };
  for (size_t place = 0; place < kept.size(); ++place)
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<char> wrong(kept.begin(), kept.end());
      wrong[place] = static_cast<char>(wrong[place] ^ (1 << bit));
      check_refused(wrong);
    }
  for (size_t size = 1; size < kept.size(); ++size)
    check_refused({kept.begin(), kept.begin() + static_cast<ptrdiff_t>(size)});
  check_refused(std::vector<char>(kept.size() + 1));
  for (const SessionHandle* const wrong : {&larger, &of_other})
    CHECK(refuses(gn_session_restore(wrong->get(), kept.data(), kept.size(), error()), "snapshot"));
  CHECK(snapshot(session.get(), model, 2) == before);
  must(gn_session_restore(session.get(), kept.data(), kept.size(), error()));
  CHECK(snapshot(session.get(), model, 2) == kept);
}

TEST(what_is_wrong_in_a_call_of_a_session_is_named) {
  const ModelHandle model = model_of(ModelFile<float>(inputs).gru(3).content());
  const ModelHandle doubles = model_of(ModelFile<double>(inputs).gru(3).content());
  const ModelHandle wider = model_of(ModelFile<float>(inputs).gru(4).content());
  const SessionHandle handle = session_of(model, 2);
  gn_session* const session = handle.get();
  const auto x = draw<float>(2 * inputs + 1, 1);
  std::vector<float> y(7);
  const void* const odd = reinterpret_cast<const char*>(x.data()) + 1;
  void* const odd_y = reinterpret_cast<char*>(y.data()) + 1;
  gn_session* made = nullptr;
  size_t bytes = 0;
  CHECK(refuses(gn_session_create(nullptr, 1, &made, error()), "model"));
  CHECK(refuses(gn_session_create(model.get(), 0, &made, error()), "batch"));
  CHECK(refuses(gn_session_create(model.get(), 1, nullptr, error()), "session"));
  for (const size_t huge : {size_t{1} << 62, std::numeric_limits<size_t>::max()})
    CHECK(gn_session_create(model.get(), huge, &made, error()) == GN_NO_MEMORY && !made);
  CHECK(refuses(gn_session_step(nullptr, x.data(), y.data(), error()), "session"));
  CHECK(refuses(gn_session_step(session, nullptr, y.data(), error()), "x"));
  CHECK(refuses(gn_session_step(session, odd, y.data(), error()), "x"));
  CHECK(refuses(gn_session_step(session, x.data(), nullptr, error()), "y"));
  CHECK(refuses(gn_session_step(session, x.data(), odd_y, error()), "y"));
  CHECK(refuses(gn_session_run(nullptr, 1, x.data(), y.data(), 1, error()), "session"));
  CHECK(refuses(gn_session_run(session, 1, nullptr, y.data(), 1, error()), "x"));
  CHECK(refuses(gn_session_run(session, 1, x.data(), nullptr, 1, error()), "y"));
  for (const int threads : {-1, 257})
    CHECK(refuses(gn_session_run(session, 1, x.data(), y.data(), threads, error()), "threads"));
  CHECK(gn_session_run(session, std::numeric_limits<size_t>::max(), x.data(), y.data(), 1, error()) == GN_NO_MEMORY);
  CHECK(gn_session_run(session, 0, nullptr, nullptr, 0, error()) == GN_OK);
  CHECK(refuses(gn_session_reset(nullptr, nullptr, error()), "session"));
  CHECK(refuses(gn_session_get(nullptr, 0, y.data(), error()), "session"));
  CHECK(refuses(gn_session_get(session, 1, y.data(), error()), "place"));
  CHECK(refuses(gn_session_get(session, 0, nullptr, error()), "to"));
  CHECK(refuses(gn_session_set(session, 1, x.data(), error()), "place"));
  CHECK(refuses(gn_session_set(session, 0, nullptr, error()), "from"));
  CHECK(refuses(gn_session_update(session, nullptr, error()), "model"));
  CHECK(refuses(gn_session_update(session, doubles.get(), error()), "model"));
  CHECK(refuses(gn_session_update(session, wider.get(), error()), "model"));
  CHECK(refuses(gn_snapshot_size(nullptr, 1, &bytes, error()), "model"));
  CHECK(refuses(gn_snapshot_size(model.get(), 1, nullptr, error()), "bytes"));
  CHECK(gn_snapshot_size(model.get(), std::numeric_limits<size_t>::max(), &bytes, error()) == GN_NO_MEMORY);
  must(gn_snapshot_size(model.get(), 2, &bytes, error()));
  std::vector<char> kept(bytes);
  CHECK(refuses(gn_session_snapshot(session, nullptr, bytes, error()), "to"));
  CHECK(refuses(gn_session_snapshot(session, kept.data(), bytes - 1, error()), "bytes"));
  CHECK(refuses(gn_session_restore(session, nullptr, bytes, error()), "from"));
  CHECK(gn_session_step(session, x.data(), y.data(), nullptr) == GN_OK);
  CHECK(gn_session_step(session, nullptr, y.data(), nullptr) == GN_INVALID);
  gn_model* no_model = nullptr;
  CHECK(refuses(gn_model_create(nullptr, &no_model, error()), "file"));
  CHECK(refuses(gn_model_create(read(file_of("{}")).get(), nullptr, error()), "model"));
}

TEST(indices_of_no_entry_are_refused) {
  const ModelHandle model = model_of(ModelFile<float>(4, 9).gru(3).content());
  const SessionHandle session = session_of(model, 3);
  const PoolHandle pool = pool_of(model, 3, 2);
  uint64_t ids[3];
  for (uint64_t& id : ids) must(gn_pool_open(pool.get(), -1, &id, error()));
  std::vector<float> y(18);
  const std::string before = snapshot(session.get(), model, 3);
  for (const int64_t wrong :
       {int64_t{-1}, int64_t{9}, std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min()}) {
    const int64_t x[] = {0, 8, 4, 0, 1, wrong};
    CHECK(refuses(gn_session_step(session.get(), x + 3, y.data(), error()), "x"));
    CHECK(refuses(gn_session_run(session.get(), 2, x, y.data(), 1, error()), "x"));
    CHECK(refuses(gn_pool_step(pool.get(), 3, ids, x + 3, y.data(), error()), "x"));
  }
  CHECK(snapshot(session.get(), model, 3) == before);
  const int64_t x[] = {0, 8, 4};
  std::vector<float> of_pool(9), of_session(9);
  must(gn_session_step(session.get(), x, of_session.data(), error()));
  must(gn_pool_step(pool.get(), 3, ids, x, of_pool.data(), error()));
  CHECK(same_bits(of_pool, of_session));
}

TEST(what_is_wrong_in_a_call_of_a_pool_is_named) {
  const ModelHandle model = model_of(ModelFile<float>(inputs).gru(3).content());
  const ModelHandle doubles = model_of(ModelFile<double>(inputs).gru(3).content());
  const PoolHandle handle = pool_of(model, 2, 2);
  gn_pool* const pool = handle.get();
  gn_pool* made = nullptr;
  CHECK(refuses(gn_pool_create(nullptr, 1, 1, &made, error()), "model"));
  CHECK(refuses(gn_pool_create(model.get(), 1, 1, nullptr, error()), "pool"));
  for (const size_t shards : {size_t{0}, size_t{257}, std::numeric_limits<size_t>::max()})
    CHECK(refuses(gn_pool_create(model.get(), 1, shards, &made, error()), "shards") && !made);
  uint64_t id = 0, other = 0;
  CHECK(refuses(gn_pool_open(nullptr, 0, &id, error()), "pool"));
  CHECK(refuses(gn_pool_open(pool, 2, &id, error()), "shard"));
  CHECK(refuses(gn_pool_open(pool, 0, nullptr, error()), "id"));
  must(gn_pool_open(pool, 1, &id, error()));
  must(gn_pool_open(pool, -1, &other, error()));
  CHECK(id != 0 && other != 0 && id != other);
  uint64_t third = 5;
  CHECK(gn_pool_open(pool, -1, &third, error()) == GN_FULL && third == 5 &&
        std::strncmp(error()->message, "pool: ", 6) == 0);
  const auto x = draw<float>(2 * inputs, 1);
  std::vector<float> y(6);
  const uint64_t ids[] = {id, other}, twice[] = {id, id}, none[] = {id, 0};
  CHECK(refuses(gn_pool_step(pool, 2, nullptr, x.data(), y.data(), error()), "ids"));
  CHECK(refuses(gn_pool_step(pool, 2, twice, x.data(), y.data(), error()), "ids"));
  CHECK(refuses(gn_pool_step(pool, 2, none, x.data(), y.data(), error()), "ids"));
  CHECK(refuses(gn_pool_step(pool, 2, ids, nullptr, y.data(), error()), "x"));
  CHECK(refuses(gn_pool_step(pool, 2, ids, x.data(), nullptr, error()), "y"));
  CHECK(refuses(gn_pool_step(pool, size_t{1} << 32, ids, x.data(), y.data(), error()), "n"));
  CHECK(gn_pool_step(pool, 0, nullptr, nullptr, nullptr, error()) == GN_OK);
  CHECK(refuses(gn_pool_reset(pool, 2, nullptr, error()), "ids"));
  CHECK(refuses(gn_pool_reset(pool, 2, none, error()), "ids"));
  CHECK(refuses(gn_pool_close(pool, 0, error()), "id"));
  size_t bytes = 0;
  must(gn_snapshot_size(model.get(), 1, &bytes, error()));
  std::vector<char> kept(bytes);
  CHECK(refuses(gn_pool_snapshot(pool, id, nullptr, bytes, error()), "to"));
  CHECK(refuses(gn_pool_snapshot(pool, id, kept.data(), bytes - 1, error()), "bytes"));
  CHECK(refuses(gn_pool_snapshot(pool, 0, kept.data(), bytes, error()), "id"));
  CHECK(refuses(gn_pool_snapshot(pool, 0, nullptr, bytes, error()), "to"));
  must(gn_pool_snapshot(pool, id, kept.data(), bytes, error()));
  CHECK(refuses(gn_pool_restore(pool, nullptr, bytes, 0, &third, error()), "from"));
  CHECK(refuses(gn_pool_restore(pool, kept.data(), bytes, 0, nullptr, error()), "id"));
  CHECK(gn_pool_restore(pool, kept.data(), bytes, 0, &third, error()) == GN_FULL);
  CHECK(refuses(gn_pool_update(pool, nullptr, error()), "model"));
  CHECK(refuses(gn_pool_update(pool, doubles.get(), error()), "model"));
  CHECK(refuses(gn_pool_grow(pool, 1, error()), "capacity"));
  gn_pool_info info{};
  CHECK(refuses(gn_pool_describe(pool, nullptr, error()), "info"));
  CHECK(refuses(gn_pool_describe(pool, &info, error()), "info.size"));
  info.size = sizeof info;
  must(gn_pool_grow(pool, 3, error()));
  must(gn_pool_restore(pool, kept.data(), bytes, 0, &third, error()));
  must(gn_pool_describe(pool, &info, error()));
  CHECK(info.capacity == 3 && info.open == 3 && info.shards == 2 && info.bytes > 0);
  info = {};
  info.size = offsetof(gn_pool_info, shards);
  info.shards = 77;
  must(gn_pool_describe(pool, &info, error()));
  CHECK(info.open == 3 && info.shards == 77);
}

// ---- Who comes meanwhile, and who gives up -------------------------------------------------------------------------

namespace {

constexpr size_t long_steps = 4000, long_batch = 16;

struct Asked {
  gn_session* session = nullptr;
  gn_model* model = nullptr;
  bool gives_up = false;
  int refused = 0;
};

bool ask(void* user) {
  Asked& asked = *static_cast<Asked*>(user);
  std::vector<float> x(long_batch * 64), y(long_batch * 256);
  std::vector<char> kept(1 << 20);
  gn_session* const session = asked.session;
  for (const gn_status status :
       {gn_session_step(session, x.data(), y.data(), error()),
        gn_session_run(session, 1, x.data(), y.data(), 1, error()), gn_session_reset(session, nullptr, error()),
        gn_session_get(session, 0, y.data(), error()), gn_session_set(session, 0, y.data(), error()),
        gn_session_update(session, asked.model, error()),
        gn_session_snapshot(session, kept.data(), kept.size(), error()),
        gn_session_restore(session, kept.data(), kept.size(), error())}) {
    CHECK(status == GN_BUSY && std::strncmp(error()->message, "session: ", 9) == 0 && error()->argument[0] == '\0');
    ++asked.refused;
  }
  return asked.gives_up;
}

}  // namespace

TEST(who_comes_during_a_run_is_refused_and_who_gives_up_changes_nothing) {
  const ModelHandle model = model_of(ModelFile<float>(64).gru(256).gru(32).content());
  const SessionHandle session = session_of(model, long_batch);
  const auto x = draw<float>(long_steps * long_batch * 64, 1);
  std::vector<float> y(long_steps * long_batch * 32);
  must(gn_session_run(session.get(), 3, x.data(), y.data(), 1, error()));
  const std::string before = snapshot(session.get(), model, long_batch);
  Asked asked{session.get(), model.get(), true};
  const gn_context_options options{sizeof options, GN_THREADS, nullptr, ask, &asked};
  gn_context* context = nullptr;
  must(gn_context_create(&options, &context, error()));
  for (const int threads : {1, 2}) {
    asked.refused = 0;
    gn_use_context(context);
    const gn_status status = gn_session_run(session.get(), long_steps, x.data(), y.data(), threads, error());
    gn_use_context(nullptr);
    CHECK(status == GN_INTERRUPTED && asked.refused == 8);
    CHECK(snapshot(session.get(), model, long_batch) == before);
  }
  gn_context_destroy(context);
}

namespace {

// Tries a pool before it runs a team, which it may refuse.
struct PoolAsked {
  gn_pool* pool = nullptr;
  gn_model* model = nullptr;
  uint64_t id = 0, other = 0;  // of a shard that is in use, and of one that is not
  bool runs = true;
  int asked = 0;
};

bool run_pool_team(void* user, int members, void (*task)(void*, int), void* data) {
  PoolAsked& of = *static_cast<PoolAsked*>(user);
  ++of.asked;
  std::vector<float> x(64), y(256);
  std::vector<char> kept(1 << 16);
  uint64_t id = 0;
  for (const gn_status status :
       {gn_pool_step(of.pool, 1, &of.id, x.data(), y.data(), error()), gn_pool_close(of.pool, of.id, error()),
        gn_pool_reset(of.pool, 1, &of.id, error()), gn_pool_open(of.pool, 0, &id, error()),
        gn_pool_snapshot(of.pool, of.id, kept.data(), kept.size(), error()),
        gn_pool_restore(of.pool, kept.data(), kept.size(), 0, &id, error()),
        gn_pool_update(of.pool, of.model, error())})
    CHECK(status == GN_BUSY && std::strncmp(error()->message, "shard: ", 7) == 0);
  gn_pool_info info{};
  info.size = sizeof info;
  CHECK(gn_pool_describe(of.pool, &info, error()) == GN_OK && info.open > 0 && info.bytes > 0);
  CHECK(gn_pool_step(of.pool, 1, &of.other, x.data(), y.data(), error()) == GN_OK);
  if (!of.runs) return false;
  std::vector<std::thread> threads;
  for (int member = 1; member < members; ++member) threads.emplace_back(task, data, member);
  task(data, 0);
  for (std::thread& thread : threads) thread.join();
  return true;
}

}  // namespace

TEST(who_comes_during_a_step_of_a_pool_is_refused) {
  const ModelHandle model = model_of(ModelFile<float>(64).gru(256).content());
  const PoolHandle pool = pool_of(model, 301, 4), same = pool_of(model, 300, 1);
  std::vector<uint64_t> ids(300), of_same(300);
  for (size_t i = 0; i < 300; ++i) {
    must(gn_pool_open(pool.get(), static_cast<int>(i % 3), &ids[i], error()));
    must(gn_pool_open(same.get(), 0, &of_same[i], error()));
  }
  PoolAsked asked{pool.get(), model.get(), ids[0]};
  must(gn_pool_open(pool.get(), 3, &asked.other, error()));
  const gn_executor executor{sizeof executor, [](void*, int wanted) { return wanted; }, run_pool_team, &asked};
  const gn_context_options options{sizeof options, GN_EXECUTOR, &executor, nullptr, nullptr};
  gn_context* context = nullptr;
  must(gn_context_create(&options, &context, error()));
  const auto x = draw<float>(300 * 64, 1);
  std::vector<float> y(300 * 256), expected(300 * 256);
  for (const bool runs : {true, false}) {
    asked.runs = runs;
    gn_use_context(context);
    must(gn_pool_step(pool.get(), 300, ids.data(), x.data(), y.data(), error()));
    gn_use_context(nullptr);
    must(gn_pool_step(same.get(), 300, of_same.data(), x.data(), expected.data(), error()));
    CHECK(same_bits(y, expected));
  }
  CHECK(asked.asked == 2);
  gn_context_destroy(context);
}

// ---- Threads at will: for ThreadSanitizer above all ----------------------------------------------------------------

TEST(a_pool_of_many_threads) {
  constexpr int shards = 3, turns = 300;
  const ModelHandle model = model_of(ModelFile<float>(4).lstm(9).mean().content()),
                    next = model_of(ModelFile<float>(4, 0, 5).lstm(9).mean().content());
  const PoolHandle pool = pool_of(model, 60, shards);
  const auto good = [](gn_status status) {
    CHECK(status == GN_OK || status == GN_BUSY || status == GN_FULL);
    return status == GN_OK;
  };
  const auto work = [&](unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<uint64_t> own;
    std::vector<float> x(100, 0.5f), y(300);
    size_t bytes = 0;
    must(gn_snapshot_size(model.get(), 1, &bytes, error()));
    std::vector<char> kept(bytes);
    for (int turn = 0; turn < turns; ++turn) {
      uint64_t id = 0;
      switch (generator() % 8) {
        case 0:
          if (good(gn_pool_open(pool.get(), static_cast<int>(generator() % (shards + 1)) - 1, &id, error())))
            own.push_back(id);
          break;
        case 1:
          if (!own.empty() && good(gn_pool_close(pool.get(), own.back(), error()))) own.pop_back();
          break;
        case 2:
          good(gn_pool_grow(pool.get(), 60, error()));
          break;
        case 3:
          if (seed == 1) good(gn_pool_update(pool.get(), turn % 2 ? next.get() : model.get(), error()));
          break;
        case 4: {
          gn_pool_info info{};
          info.size = sizeof info;
          CHECK(gn_pool_describe(pool.get(), &info, error()) == GN_OK && info.open <= 64);
          break;
        }
        case 5:
          if (!own.empty()) good(gn_pool_snapshot(pool.get(), own[0], kept.data(), bytes, error()));
          break;
        default:
          good(gn_pool_step(pool.get(), own.size(), own.data(), x.data(), y.data(), error()));
      }
    }
    for (const uint64_t id : own)
      while (gn_pool_close(pool.get(), id, error()) == GN_BUSY) std::this_thread::yield();
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  gn_pool_info info{};
  info.size = sizeof info;
  must(gn_pool_describe(pool.get(), &info, error()));
  CHECK(info.open == 0);
}

TEST(capacities_only_grow) {
  const ModelHandle model = model_of(ModelFile<float>(1).linear(1).content());
  const PoolHandle pool = pool_of(model, 1, 1);
  std::atomic<size_t> largest{1};
  const auto work = [&](size_t first) {
    for (size_t capacity = first; capacity < 20'000; capacity += 2)
      if (gn_pool_grow(pool.get(), capacity, error()) == GN_OK) {
        gn_pool_info info{};
        info.size = sizeof info;
        must(gn_pool_describe(pool.get(), &info, error()));
        CHECK(info.capacity >= capacity);
      }
  };
  std::thread other(work, 1);
  work(2);
  other.join();
}

TEST(a_session_of_many_threads) {
  const ModelHandle model = model_of(ModelFile<float>(4).gru(9).content());
  const SessionHandle session = session_of(model, 2);
  std::atomic<size_t> done{0};
  const auto work = [&] {
    const std::vector<float> x(8, 0.5f);
    std::vector<float> y(18);
    for (int turn = 0; turn < 2000; ++turn) {
      const gn_status status = gn_session_step(session.get(), x.data(), y.data(), error());
      CHECK(status == GN_OK || status == GN_BUSY);
      if (status == GN_OK) done.fetch_add(1);
    }
  };
  std::thread others[] = {std::thread(work), std::thread(work)};
  work();
  for (std::thread& other : others) other.join();
  // As many steps as were taken, and no half ones.
  const SessionHandle alone = session_of(model, 2);
  const std::vector<float> x(8, 0.5f);
  std::vector<float> y(18);
  for (size_t step = 0; step < done; ++step) must(gn_session_step(alone.get(), x.data(), y.data(), error()));
  CHECK(snapshot(session.get(), model, 2) == snapshot(alone.get(), model, 2));
}

TEST(identifiers_are_never_used_again) {
  const ModelHandle model = model_of(ModelFile<float>(1).linear(1).content());
  const PoolHandle pool = pool_of(model, 100, 2);
  std::set<uint64_t> seen;
  std::vector<uint64_t> present;
  std::mt19937 generator(1);
  for (int turn = 0; turn < 20'000; ++turn) {
    if (present.size() == 100 || (!present.empty() && generator() % 2 == 0)) {
      std::swap(present[generator() % present.size()], present.back());
      must(gn_pool_close(pool.get(), present.back(), error()));
      CHECK(refuses(gn_pool_close(pool.get(), present.back(), error()), "id"));
      present.pop_back();
    } else {
      uint64_t id = 0;
      must(gn_pool_open(pool.get(), -1, &id, error()));
      CHECK(id != 0 && seen.insert(id).second);
      present.push_back(id);
    }
  }
}
