#include "models.h"
#include "models/pool.h"
#include "models/snapshot.h"

struct gn_pool {
  template <class T>
  using Owned = std::unique_ptr<gru::Pool<T>>;

  std::variant<Owned<float>, Owned<double>> of;
};

namespace gru::api {

namespace {

// Runs function(pool) for a pool of its type.
template <class Function>
gn_status of_pool(gn_pool* pool, gn_error* error, Function function) {
  return guarded(error, [&] {
    if (!pool) refuse("pool", "what gn_pool_create made", "NULL");
    std::visit([&](const auto& of) { function(*of); }, pool->of);
  });
}

std::span<const uint64_t> checked_ids(size_t n, const uint64_t* ids) {
  if (n > 0xffffffff) refuse("n", "fewer sequences", std::to_string(n));
  return {typed<const uint64_t>(ids, "ids", n > 0), n};
}

}  // namespace

}  // namespace gru::api

using namespace gru::api;

gn_status gn_pool_create(const gn_model* model, size_t capacity, size_t shards, gn_pool** pool, gn_error* error) {
  return guarded(error, [&] {
    if (!pool) refuse("pool", "where to put it", "NULL");
    auto made = std::make_unique<gn_pool>();
    std::visit(
        [&]<class T>(const std::shared_ptr<const gru::Model<T>>& of) {
          made->of = std::make_unique<gru::Pool<T>>(of, capacity, shards);
        },
        checked_model(model).of);
    *pool = made.release();
  });
}

void gn_pool_destroy(gn_pool* pool) { delete pool; }

gn_status gn_pool_open(gn_pool* pool, int shard, uint64_t* id, gn_error* error) {
  return of_pool(pool, error, [&](auto& of) {
    if (!id) refuse("id", "where to put it", "NULL");
    *id = of.open_one(shard);
  });
}

gn_status gn_pool_close(gn_pool* pool, uint64_t id, gn_error* error) {
  return of_pool(pool, error, [&](auto& of) { of.close(id); });
}

gn_status gn_pool_step(gn_pool* pool, size_t n, const uint64_t* ids, const void* x, void* y, gn_error* error) {
  return of_pool(pool, error, [&]<class T>(gru::Pool<T>& of) {
    of.step(checked_ids(n, ids), checked_x<T>(of.shape(), n, x), checked_y<T>(of.shape(), n, y), gn_default_threads);
  });
}

gn_status gn_pool_reset(gn_pool* pool, size_t n, const uint64_t* ids, gn_error* error) {
  return of_pool(pool, error, [&](auto& of) { of.reset(checked_ids(n, ids)); });
}

gn_status gn_pool_snapshot(gn_pool* pool, uint64_t id, void* to, size_t bytes, gn_error* error) {
  return of_pool(pool, error, [&](auto& of) {
    const size_t needed = gru::snapshot_size(of.shape(), 1);
    if (!to) refuse("to", "where to put it", "NULL");
    if (bytes < needed) refuse("bytes", "at least " + std::to_string(needed), std::to_string(bytes));
    of.snapshot(id, static_cast<unsigned char*>(to));
  });
}

gn_status gn_pool_restore(gn_pool* pool, const void* from, size_t bytes, int shard, uint64_t* id, gn_error* error) {
  return of_pool(pool, error, [&](auto& of) {
    if (!from) refuse("from", "a snapshot", "NULL");
    if (!id) refuse("id", "where to put it", "NULL");
    *id = of.restore({static_cast<const unsigned char*>(from), bytes}, shard);
  });
}

gn_status gn_pool_grow(gn_pool* pool, size_t capacity, gn_error* error) {
  return of_pool(pool, error, [&](auto& of) { of.grow(capacity); });
}

gn_status gn_pool_update(gn_pool* pool, const gn_model* model, gn_error* error) {
  return of_pool(pool, error, [&]<class T>(gru::Pool<T>& of) { of.update(model_of_type<T>(model)); });
}

gn_status gn_pool_describe(gn_pool* pool, gn_pool_info* info, gn_error* error) {
  return of_pool(pool, error, [&](auto& of) {
    gn_pool_info own;
    own = taken(info, "info", own);
    own.capacity = of.capacity();
    own.open = of.open();
    own.shards = of.shards();
    own.bytes = of.bytes();
    std::memcpy(info, &own, std::min(own.size, sizeof own));
  });
}
