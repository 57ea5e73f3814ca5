#include "models.h"
#include "models/session.h"
#include "models/snapshot.h"

struct gn_session {
  template <class T>
  using Owned = std::unique_ptr<gru::Session<T>>;

  std::variant<Owned<float>, Owned<double>> of;
};

namespace gru::api {

namespace {

// Runs function(session) for a session of its type.
template <class Function>
gn_status of_session(gn_session* session, gn_error* error, Function function) {
  return guarded(error, [&] {
    if (!session) refuse("session", "what gn_session_create made", "NULL");
    std::visit([&](const auto& of) { function(*of); }, session->of);
  });
}

}  // namespace

}  // namespace gru::api

using namespace gru::api;

gn_status gn_session_create(const gn_model* model, size_t batch, gn_session** session, gn_error* error) {
  return guarded(error, [&] {
    if (!session) refuse("session", "where to put it", "NULL");
    if (batch == 0) refuse("batch", "at least 1", "0");
    auto made = std::make_unique<gn_session>();
    std::visit(
        [&]<class T>(const std::shared_ptr<const gru::Model<T>>& of) {
          made->of = std::make_unique<gru::Session<T>>(of, batch);
        },
        checked_model(model).of);
    *session = made.release();
  });
}

void gn_session_destroy(gn_session* session) { delete session; }

gn_status gn_session_step(gn_session* session, const void* x, void* y, gn_error* error) {
  return of_session(session, error, [&]<class T>(gru::Session<T>& of) {
    of.step(checked_x<T>(of.shape(), of.batch(), x), checked_y<T>(of.shape(), of.batch(), y));
  });
}

gn_status gn_session_run(gn_session* session, size_t steps, const void* x, void* y, int threads, gn_error* error) {
  return of_session(session, error, [&]<class T>(gru::Session<T>& of) {
    const size_t rows = gru::product(steps, of.batch());
    of.run(steps, checked_x<T>(of.shape(), rows, x), checked_y<T>(of.shape(), rows, y), checked_threads(threads));
  });
}

gn_status gn_session_reset(gn_session* session, const bool* rows, gn_error* error) {
  return of_session(session, error, [&](auto& of) { of.reset(reinterpret_cast<const unsigned char*>(rows)); });
}

gn_status gn_session_get(gn_session* session, size_t place, void* to, gn_error* error) {
  return of_session(session, error, [&](auto& of) {
    const gru::StatePart& part = checked_part(of.shape(), place);
    if (!to && part.size > 0) refuse("to", "an array", "NULL");
    of.get_state(part, to);
  });
}

gn_status gn_session_set(gn_session* session, size_t place, const void* from, gn_error* error) {
  return of_session(session, error, [&](auto& of) {
    const gru::StatePart& part = checked_part(of.shape(), place);
    if (!from && part.size > 0) refuse("from", "an array", "NULL");
    of.set_state(part, from);
  });
}

gn_status gn_session_update(gn_session* session, const gn_model* model, gn_error* error) {
  return of_session(session, error, [&]<class T>(gru::Session<T>& of) { of.update(model_of_type<T>(model)); });
}

gn_status gn_snapshot_size(const gn_model* model, size_t rows, size_t* bytes, gn_error* error) {
  return guarded(error, [&] {
    if (!bytes) refuse("bytes", "where to put them", "NULL");
    std::visit([&](const auto& of) { *bytes = gru::snapshot_size(*of->shape(), rows); }, checked_model(model).of);
  });
}

gn_status gn_session_snapshot(gn_session* session, void* to, size_t bytes, gn_error* error) {
  return of_session(session, error, [&](auto& of) {
    const size_t needed = gru::snapshot_size(of.shape(), of.batch());
    if (!to) refuse("to", "where to put it", "NULL");
    if (bytes < needed) refuse("bytes", "at least " + std::to_string(needed), std::to_string(bytes));
    of.snapshot(static_cast<unsigned char*>(to));
  });
}

gn_status gn_session_restore(gn_session* session, const void* from, size_t bytes, gn_error* error) {
  return of_session(session, error, [&](auto& of) {
    if (!from) refuse("from", "a snapshot", "NULL");
    of.restore({static_cast<const unsigned char*>(from), bytes});
  });
}
