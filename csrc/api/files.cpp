#include <iterator>

#include "checks.h"
#include "models.h"

using namespace gru::api;

namespace {

const gn_file& checked(const gn_file* file) {
  if (!file) refuse("file", "what gn_file_load made", "NULL");
  return *file;
}

}  // namespace

gn_status gn_file_load(const char* path, gn_file** file, gn_error* error) {
  return guarded(error, [&] {
    if (!path) refuse("path", "a file", "NULL");
    if (!file) refuse("file", "where to put it", "NULL");
    *file = new gn_file{gru::Safetensors::load(path)};
  });
}

gn_status gn_file_read(const void* content, size_t bytes, gn_file** file, gn_error* error) {
  return guarded(error, [&] {
    if (!content) refuse("content", "bytes", "NULL");
    if (!file) refuse("file", "where to put it", "NULL");
    *file = new gn_file{gru::Safetensors({static_cast<const unsigned char*>(content), bytes})};
  });
}

void gn_file_destroy(gn_file* file) { delete file; }

gn_status gn_file_array(const gn_file* file, const char* name, gn_array* array, gn_error* error) {
  return guarded(error, [&] {
    gn_array own;
    own = taken(array, "array", own);
    const auto& arrays = checked(file).of.arrays();
    const auto found = arrays.find(std::string_view(name ? name : ""));
    if (found == arrays.end()) refuse("name", "that of an array", name ? name : "NULL");
    const gru::FileArray& from = found->second;
    if (from.shape.size() > GN_MAX_AXES) refuse("array", "at most 8 axes", std::to_string(from.shape.size()));
    own.type = from.type.c_str();
    own.data = from.data;
    own.axes = from.shape.size();
    std::copy(from.shape.begin(), from.shape.end(), own.shape);
    std::memcpy(array, &own, std::min(own.size, sizeof own));
  });
}

const char* gn_file_name(const gn_file* file, size_t place) {
  if (!file || place >= file->of.arrays().size()) return nullptr;
  return std::next(file->of.arrays().begin(), static_cast<ptrdiff_t>(place))->first.c_str();
}
