// From C++ to C: what a call throws becomes its status, and structures are taken over in the size of the caller's.
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "gru_native.h"
#include "models/errors.h"
#include "runtime/team.h"

namespace gru::api {

// A tape that an earlier backward pass overwrote.
struct UsedTape : std::logic_error {
  using std::logic_error::logic_error;
};

[[noreturn]] inline void refuse(const std::string& argument, const std::string& expected, const std::string& got) {
  throw std::invalid_argument(argument + ": expected " + expected + ", got " + got);
}

// Messages begin with the name of an argument and a colon.
inline gn_status fail(gn_status status, const char* message, gn_error* error) noexcept {
  if (!error || error->size < sizeof(gn_error)) return status;
  std::strncpy(error->message, message, sizeof error->message - 1);
  error->message[sizeof error->message - 1] = '\0';
  const size_t name = status == GN_INVALID ? std::strcspn(message, ":") : 0;
  const size_t length = std::min(name, sizeof error->argument - 1);
  std::memcpy(error->argument, message, length);
  error->argument[length] = '\0';
  return status;
}

template <class Function>
gn_status guarded(gn_error* error, Function function) noexcept {
  try {
    function();
    return GN_OK;
  } catch (const Interrupted&) {
    return fail(GN_INTERRUPTED, "the call was interrupted", error);
  } catch (const std::bad_alloc&) {
    return fail(GN_NO_MEMORY, "there is not enough memory", error);
  } catch (const std::length_error&) {  // more than a std::vector can ever hold
    return fail(GN_NO_MEMORY, "there is not enough memory", error);
  } catch (const std::invalid_argument& wrong) {
    return fail(GN_INVALID, wrong.what(), error);
  } catch (const UsedTape& used) {
    return fail(GN_USED, used.what(), error);
  } catch (const Busy& busy) {
    return fail(GN_BUSY, busy.what(), error);
  } catch (const Full& full) {
    return fail(GN_FULL, full.what(), error);
  } catch (const std::exception& other) {
    return fail(GN_FAILED, other.what(), error);
  }
}

// More bytes than any structure will have: a size that was never set most often says more.
constexpr size_t most_bytes = 4096;

// A structure of the caller's, or in `room` what it means in the size that is known here. Fields that are not known
// here must be zero.
template <class Structure>
const Structure& taken(const Structure* given, const char* name, Structure& room) {
  if (!given) refuse(name, "a structure", "NULL");
  if (given->size == sizeof(Structure)) return *given;
  if (given->size < sizeof given->size || given->size > most_bytes)
    refuse(std::string(name) + ".size", "its size", std::to_string(given->size));
  const auto* const bytes = reinterpret_cast<const unsigned char*>(given);
  if (given->size > sizeof(Structure) &&
      std::any_of(bytes + sizeof(Structure), bytes + given->size, [](unsigned char byte) { return byte != 0; }))
    refuse(std::string(name) + ".size", "fields that this version knows", "others");
  room = {};
  std::memcpy(&room, given, std::min(given->size, sizeof(Structure)));
  return room;
}

}  // namespace gru::api
