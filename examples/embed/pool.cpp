// Takes many sequences through a model that Python saved. A line of the input is the name of a sequence and a row of
// numbers. At an empty line, all sequences that were named since the last one take a step together.
//
//     pool model.safetensors < rows.txt
#include <cstdio>
#include <gru_native.hpp>
#include <iostream>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

namespace gn = gru_native;

int main(int argc, char** argv) try {
  if (argc != 2) return std::fprintf(stderr, "usage: pool MODEL < ROWS\n"), 2;
  const gn::Model model(gn::File{argv[1]});
  const size_t outputs = model.info().output_size;
  gn::Pool pool(model, 1000);

  std::unordered_map<std::string, uint64_t> id_of;
  std::vector<std::string> names;
  std::vector<uint64_t> ids;
  std::vector<float> x, y;
  for (std::string line, name; std::getline(std::cin, line);) {
    std::istringstream words(line);
    if (words >> name) {
      if (!id_of.contains(name)) id_of[name] = pool.open();
      names.push_back(name);
      ids.push_back(id_of[name]);
      for (float value; words >> value;) x.push_back(value);
      continue;
    }
    y.resize(ids.size() * outputs);
    pool.step(ids, x, y);
    for (size_t row = 0; row < ids.size(); ++row) {
      std::printf("%s", names[row].c_str());
      for (size_t i = 0; i < outputs; ++i) std::printf(" %.9g", static_cast<double>(y[row * outputs + i]));
      std::printf("\n");
    }
    names.clear(), ids.clear(), x.clear();
  }
} catch (const gn::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
