#include "models/snapshot.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

#include "files/sha256.h"

namespace gru {

namespace {

constexpr std::string_view magic = "GRUSTATE";
constexpr uint32_t version = 1;

// What a snapshot begins with. Behind it stand the rows, part by part, and then a digest of all before.
struct Header {
  char magic[8];
  uint32_t version, value_bytes;
  uint64_t rows, row_bytes;
  Digest model;
};
static_assert(sizeof(Header) == 64);

size_t row_bytes(const ModelShape& shape) {
  size_t sum = 0;
  for (const StatePart& part : shape.state_parts) sum += part.bytes(shape.value_bytes);
  return sum;
}

template <class T>
Header header_of(const Model<T>& model, size_t rows) {
  Header made{{}, version, sizeof(T), rows, row_bytes(*model.shape()), model.digest()};
  std::copy(magic.begin(), magic.end(), made.magic);
  return made;
}

[[noreturn]] void refuse(const std::string& expected, const std::string& got) {
  throw std::invalid_argument("snapshot: expected " + expected + ", got " + got);
}

std::string sequences(uint64_t rows) { return std::to_string(rows) + (rows == 1 ? " sequence" : " sequences"); }

}  // namespace

size_t snapshot_size(const ModelShape& shape, size_t rows) {
  return product(rows, row_bytes(shape)) + sizeof(Header) + sizeof(Digest);
}

template <class T>
void write_snapshot(const Model<T>& model, std::span<T* const> states, unsigned char* to) {
  const Header header = header_of(model, states.size());
  unsigned char* at = to;
  const auto put = [&](const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(at, from, bytes);
    at += bytes;
  };
  put(&header, sizeof header);
  for (const T* const row : states)
    for (const StatePart& part : model.shape()->state_parts) put(row + part.offset, part.bytes(sizeof(T)));
  const Digest digest = Sha256().add({to, at}).digest();
  put(digest.data(), digest.size());
}

template <class T>
void read_snapshot(const Model<T>& model, std::span<const unsigned char> from, std::span<T* const> states) {
  const Header expected = header_of(model, states.size());
  Header header;
  if (from.size() < sizeof header + sizeof(Digest)) refuse("a snapshot", std::to_string(from.size()) + " bytes");
  std::memcpy(&header, from.data(), sizeof header);
  if (std::string_view(header.magic, sizeof header.magic) != magic) refuse("a snapshot", "something else");
  if (header.version != version) refuse("version " + std::to_string(version), std::to_string(header.version));
  const auto content = from.first(from.size() - sizeof(Digest)), digest = from.last(sizeof(Digest));
  const Digest own = Sha256().add(content).digest();
  if (!std::equal(own.begin(), own.end(), digest.begin())) refuse("a whole snapshot", "a damaged one");
  if (header.model != expected.model) refuse("one of this model's weights", "one of others");
  if (header.rows != expected.rows) refuse("one of " + sequences(expected.rows), sequences(header.rows));
  if (from.size() != snapshot_size(*model.shape(), states.size())) refuse("a whole snapshot", "another size");
  const unsigned char* at = from.data() + sizeof header;
  for (T* const row : states)
    for (const StatePart& part : model.shape()->state_parts) {
      const size_t bytes = part.bytes(sizeof(T));
      if (bytes > 0) std::memcpy(row + part.offset, at, bytes);
      at += bytes;
    }
}

template void write_snapshot(const Model<float>&, std::span<float* const>, unsigned char*);
template void write_snapshot(const Model<double>&, std::span<double* const>, unsigned char*);
template void read_snapshot(const Model<float>&, std::span<const unsigned char>, std::span<float* const>);
template void read_snapshot(const Model<double>&, std::span<const unsigned char>, std::span<double* const>);

}  // namespace gru
