// Files of arrays in the safetensors format: a header of JSON, and behind it the arrays' bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "files/json.h"
#include "runtime/buffer.h"

namespace gru {

// One array of a file. Its bytes begin at a multiple of their size.
struct FileArray {
  std::string type;  // as the format calls it: F32, F64, I64 and so on
  std::vector<size_t> shape;
  const unsigned char* data;
  size_t bytes;
};

class Safetensors {
 public:
  // Of a file's content, which is copied. Throws std::invalid_argument when it is not in the format, or when arrays
  // overlap, leave gaps or reach beyond its end.
  explicit Safetensors(std::span<const unsigned char> content);
  // Of a file; throws std::runtime_error when it cannot be read.
  static Safetensors load(const char* path);

  const std::map<std::string, FileArray, std::less<>>& arrays() const { return arrays_; }
  // A string of the file's metadata, or null.
  const std::string* metadata(std::string_view name) const;
  // The bytes of all arrays.
  std::span<const unsigned char> data() const { return {data_.data(), data_.size()}; }

 private:
  void read_header(std::string_view header);

  Buffer<unsigned char> data_;
  std::map<std::string, FileArray, std::less<>> arrays_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

}  // namespace gru
