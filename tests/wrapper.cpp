// Everything of gru_native.hpp: ends with the number of the line of what is wrong.
//
//     wrapper model.safetensors
#include <array>
#include <cstdio>
#include <gru_native.hpp>
#include <string>
#include <utility>

namespace gn = gru_native;

static_assert(!std::is_copy_constructible_v<gn::Session> && std::is_nothrow_move_constructible_v<gn::Session>);

#define CHECK(right) \
  if (!(right)) return std::printf("line %d: %s\n", __LINE__, #right), 1

template <class Function>
std::string message(Function function) {
  try {
    function();
  } catch (const gn::Error& error) {
    return error.what();
  }
  return "";
}

int main(int, char** argv) {
  const gn::File file(argv[1]);
  const gn::Model model(file);
  const size_t in = model.info().input_size, out = model.info().output_size;
  std::vector<float> x(2 * 3 * in), y(2 * 3 * out), again(y.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) / 4;
  CHECK(std::string(file.array("0.weight_ih_l0").type) == "F32");
  CHECK(std::string(model.state(0).name) == "0.l0.h");

  gn::Session session(model, 2);
  const gn::Bytes first = session.snapshot();
  session.run(3, x, y);
  session.restore(first);
  session.run(3, x, again, 1);
  CHECK(y == again);
  session.reset();
  session.run(3, x, again);
  CHECK(y == again);
  session.reset(std::array{true, false});
  session.update(model);
  gn::Session moved(std::move(session));
  moved.reset();
  moved.step(std::span(x).first(2 * in), std::span(again).first(2 * out));
  CHECK(again[out] == y[out]);

  gn::Pool pool(model, 1, 2);
  std::vector ids{pool.open(1)};
  pool.step(ids, std::span(x).first(in), std::span(again).first(out));
  CHECK(again[0] == y[0]);
  const gn::Bytes kept = pool.snapshot(ids[0]);
  pool.close(ids[0]);
  ids[0] = pool.restore(kept);
  pool.reset(ids);
  pool.grow(2);
  pool.update(model);
  CHECK(pool.open() != ids[0]);

  const std::vector<float> matrix(12);
  auto options = gn::sized<gn_weights_options>();
  options.input_size = 1, options.hidden_size = 2;
  options.parameters.weight_ih = options.parameters.weight_hh = matrix.data();
  CHECK(gn::Weights(options).get());
  CHECK(gn::Linear(GN_FLOAT32, 3, 4, matrix.data(), nullptr).get());

  y.resize(2 * out);
  CHECK(message([&] { session.step(std::span(x).first(2 * in), y); }).starts_with("session:"));
  CHECK(message([&] { moved.step(x, y); }).starts_with("x: expected " + std::to_string(2 * in) + " elements, got "));
  CHECK(message([&] { moved.step(std::vector<double>(2 * in), y); }) == "x: expected another type of element");
  CHECK(message([&] { gn::File("no such file"); }).find("no such file") != std::string::npos);
  CHECK(message([&] { pool.open(), pool.open(); }).starts_with("pool:"));
  return 0;
}
