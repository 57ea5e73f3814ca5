#include "files/safetensors.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>

namespace gru {

namespace {

constexpr size_t longest_header = 100'000'000;  // of the format

struct Type {
  std::string_view name;
  size_t bytes;
};
constexpr Type types[] = {{"F32", 4}, {"F64", 8}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"U64", 8},  {"I32", 4},
                          {"U32", 4}, {"I16", 2}, {"U16", 2}, {"I8", 1},   {"U8", 1},  {"BOOL", 1}, {"C64", 8}};

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument("content: expected " + what); }

size_t element_bytes(const std::string& name, const std::string& type) {
  for (const Type& known : types)
    if (known.name == type) return known.bytes;
  refuse("a known dtype of " + name + ", got " + type);
}

FileArray described(const std::string& name, const Json& json, size_t available, const unsigned char* data,
                    size_t& begin) {
  const Json::Object& fields = json.object(name);
  const auto field = [&](const char* which) -> const Json& {
    const auto found = fields.find(which);
    if (found == fields.end()) refuse(std::string(which) + " of " + name);
    return found->second;
  };
  FileArray made{field("dtype").text(name + ".dtype"), {}, nullptr, 0};
  made.bytes = element_bytes(name, made.type);
  const size_t element = made.bytes;
  for (const Json& size : field("shape").array(name + ".shape")) {
    made.shape.push_back(size.whole(name + ".shape"));
    if (__builtin_mul_overflow(made.bytes, made.shape.back(), &made.bytes)) refuse("a smaller " + name);
  }
  const Json::Array& offsets = field("data_offsets").array(name + ".data_offsets");
  if (offsets.size() != 2) refuse("two offsets of " + name);
  begin = offsets[0].whole(name + ".data_offsets");
  const size_t end = offsets[1].whole(name + ".data_offsets");
  if (begin > end || end > available || end - begin != made.bytes) refuse("bytes of " + name + " that fit its shape");
  if (begin % element) refuse(name + " at a multiple of its elements' size");
  made.data = data + begin;
  return made;
}

}  // namespace

Safetensors::Safetensors(std::span<const unsigned char> content) {
  uint64_t length = 0;
  if (content.size() < sizeof length) refuse("a safetensors file, got " + std::to_string(content.size()) + " bytes");
  for (size_t i = 0; i < sizeof length; ++i) length |= uint64_t{content[i]} << 8 * i;
  if (length > longest_header || length > content.size() - sizeof length)
    refuse("a safetensors file whose header is whole");
  const auto header = content.subspan(sizeof length, static_cast<size_t>(length));
  const auto data = content.subspan(sizeof length + header.size());
  data_ = Buffer<unsigned char>(data.size());
  std::copy(data.begin(), data.end(), data_.data());
  read_header({reinterpret_cast<const char*>(header.data()), header.size()});
}

void Safetensors::read_header(std::string_view header) {
  const Json json = Json::read(header);
  std::vector<std::pair<size_t, size_t>> places;
  for (const auto& [name, value] : json.object("header")) {
    if (name == "__metadata__") {
      for (const auto& [key, text] : value.object(name)) metadata_.emplace(key, text.text(name));
      continue;
    }
    size_t begin = 0;
    const auto [place, added] = arrays_.emplace(name, described(name, value, data_.size(), data_.data(), begin));
    places.emplace_back(begin, begin + place->second.bytes);
  }
  std::sort(places.begin(), places.end());
  size_t end = 0;
  for (const auto& [begin, next] : places) {
    if (begin != end) refuse("arrays that follow each other without a gap");
    end = next;
  }
  if (end != data_.size()) refuse("nothing behind the arrays");
}

Safetensors Safetensors::load(const char* path) {
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path, "rb"));
  const auto check = [&](bool good) {
    if (!good) throw std::runtime_error(std::string(path) + ": " + std::strerror(errno));
  };
  check(file != nullptr);
  std::vector<unsigned char> content;
  unsigned char piece[1 << 16];
  errno = 0;
  for (size_t n; (n = std::fread(piece, 1, sizeof piece, file.get())) > 0;)
    content.insert(content.end(), piece, piece + n);
  check(!std::ferror(file.get()));
  return Safetensors(content);
}

const std::string* Safetensors::metadata(std::string_view name) const {
  const auto found = metadata_.find(name);
  return found == metadata_.end() ? nullptr : &found->second;
}

}  // namespace gru
