"""Pools: any sequences take a step together, to the bits that each has alone."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from cases import Array, assert_same_bits
from processes import python
from test_stream import CELLS, MODELS, both_dtypes, embedded, f4
from test_stream import isa as isa

from gru_native import nn
from gru_native.stream import BusyError, FullError, StreamPool


def inputs(rng: np.random.Generator, n: int, dtype: str = "float32") -> Array:
    return rng.standard_normal((n, 3)).astype(dtype)


# ---- Bits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*MODELS, *(f"{name} cell" for name in CELLS), "embedding"])
@both_dtypes
def test_any_subset_in_any_order(rng: np.random.Generator, isa: str, dtype: str, name: str) -> None:
    if name == "embedding":
        model: nn.Module = embedded(dtype)
    elif name.endswith(" cell"):
        model = CELLS[name.removesuffix(" cell")](3, 18, dtype)
    else:
        model = MODELS[name](3, 18, dtype=dtype)
    pool = model.pool(100, shards=3)
    ids = [pool.open() for _ in range(70)]
    alone = {id: model.stream() for id in ids}
    for n in (70, 0, 1, 2, 63, 64, 65, 5):
        if n == 5:  # some end, others come
            for id in ids[:20]:
                pool.close(id)
            ids = ids[20:] + [pool.open() for _ in range(30)]
            alone |= {id: model.stream() for id in ids[50:]}
        chosen = rng.permutation(ids)[:n]
        x = rng.integers(0, 11, n) if name == "embedding" else inputs(rng, n, dtype)
        y = pool.step(chosen, x)
        assert y.shape[0] == n
        assert y.dtype == dtype
        for row, id in enumerate(chosen.tolist()):
            assert_same_bits(y[row], alone[id].step(x[row : row + 1])[0], f"{n} sequences")
    assert len(pool) == len(ids) == 80


def test_many_sequences_of_several_shards_on_a_team(rng: np.random.Generator) -> None:
    model = nn.GRU(3, 200, seed=0)
    one, several = model.pool(300), model.pool(300, shards=4)
    ids, others = ([pool.open() for _ in range(300)] for pool in (one, several))
    for _ in range(3):
        x, order = inputs(rng, 300), rng.permutation(300)
        assert_same_bits(several.step(np.array(others)[order], x), one.step(np.array(ids)[order], x))


def test_results_go_where_they_are_wanted(rng: np.random.Generator) -> None:
    pool, same = (nn.GRU(3, 4, seed=0).pool(3) for _ in range(2))
    ids, others = ([each.open() for _ in range(3)] for each in (pool, same))
    x, out = inputs(rng, 3), np.full((3, 4), 7, f4)
    assert pool.step(ids, x, out) is out
    assert_same_bits(out, same.step(others, x))


def test_resets(rng: np.random.Generator) -> None:
    pool = MODELS["chain that pools"](3, 5, dtype="float32").pool(4, shards=2)
    ids, x = [pool.open() for _ in range(4)], inputs(rng, 4)
    first, second = pool.step(ids, x), pool.step(ids, x)
    pool.reset(ids[1:3])
    third = pool.step(ids, x)
    assert_same_bits(third[1:3], first[1:3])
    assert not np.array_equal(third[[0, 3]], second[[0, 3]])
    pool.reset([])
    pool.reset(ids)
    assert_same_bits(pool.step(ids, x), first)


def test_a_new_sequence_begins_with_zeros(rng: np.random.Generator) -> None:
    pool = nn.LSTM(3, 4, seed=0).pool(1)
    x, first = inputs(rng, 1), None
    for _ in range(5):
        id = pool.open()
        y = pool.step([id], x)
        first = y if first is None else first
        assert_same_bits(y, first)
        pool.step([id], x)
        pool.close(id)


# ---- Identifiers and places -----------------------------------------------------------------------------------------


def test_identifiers_are_never_used_again(rng: np.random.Generator) -> None:
    pool = nn.Linear(3, 2, seed=0).pool(50, shards=3)
    seen: set[int] = set()
    present: list[int] = []
    for _ in range(2000):
        if len(present) == 50 or (present and rng.integers(2)):
            gone = present.pop(int(rng.integers(len(present))))
            pool.close(gone)
            assert_refused(pool, gone)
        else:
            id = pool.open()
            assert id > 0
            assert id not in seen
            seen.add(id)
            present.append(id)
    assert len(pool) == len(present)
    pool.step(present, inputs(rng, len(present)))


def assert_refused(pool: StreamPool, id: int) -> None:
    x = np.zeros((1, 3), f4)
    for call in (lambda: pool.step([id], x), lambda: pool.reset([id])):
        with pytest.raises(ValueError, match="^ids: expected those of open sequences, got another one$"):
            call()
    for call in (lambda: pool.close(id), lambda: pool.export(id)):
        with pytest.raises(ValueError, match="^id: expected that of an open sequence, got another one$"):
            call()


def test_identifiers_of_no_open_sequence_are_refused(rng: np.random.Generator) -> None:
    pool, other = (nn.GRU(3, 4, seed=0).pool(5, shards=2) for _ in range(2))
    ids = [pool.open() for _ in range(4)]
    gone = ids.pop()
    pool.close(gone)
    x, before = inputs(rng, 3), [pool.export(id) for id in ids]
    # Of another place, shard and generation.
    near = [
        ids[0] + 2,
        ids[0] + 2**24 - 1,
        ids[0] + 2**25,
        ids[0] + 255 * 2**24,
        *(ids[0] ^ 1 << bit for bit in range(33, 64)),
    ]
    for id in (gone, gone + 2**32, gone + 2**33, 1, 2**63, 2**64 - 1, *near):
        assert_refused(pool, id)
        with pytest.raises(ValueError, match="^ids: expected those of open sequences, got another one$"):
            pool.step(np.array([ids[0], ids[1], id], np.uint64), x)
        with pytest.raises(ValueError, match="^ids: expected those of open sequences, got another one$"):
            pool.reset(np.array([ids[0], ids[1], id], np.uint64))
    for twice in ([ids[0], ids[1], ids[0]], [ids[2]] * 3):
        with pytest.raises(ValueError, match="^ids: expected each one once, got one again$"):
            pool.step(twice, x)
    assert [pool.export(id) for id in ids] == before
    assert len(pool) == 3
    assert len(other) == 0


def test_a_full_pool_says_so_and_grows(rng: np.random.Generator) -> None:
    model = nn.GRU(3, 300, seed=0)  # a chunk of memory holds some two hundred sequences of these
    pool = model.pool(2)
    ids = [pool.open(), pool.open()]
    with pytest.raises(FullError, match="^pool: expected fewer than 2 open sequences, got as many$"):
        pool.open()
    kept = pool.export(ids[0])
    with pytest.raises(FullError):
        pool.restore(kept)
    pool.close(ids.pop())
    ids.append(pool.open())
    stream, x = model.stream(2), inputs(rng, 2)
    assert_same_bits(pool.step(ids, x), stream.step(x))
    pool.grow(1000)
    assert pool.capacity == 1000
    more = [pool.open() for _ in range(998)]
    with pytest.raises(FullError):
        pool.open()
    assert_same_bits(pool.step(ids, x), stream.step(x))
    assert len({*ids, *more}) == len(pool) == 1000


def test_the_memory_of_a_sequence_is_little_more_than_its_state() -> None:
    for model, state in ((nn.GRU(3, 64, seed=0), 256), (nn.LSTM(3, 64, seed=0), 512), (nn.GRU(3, 250, seed=0), 1000)):
        pool = model.pool(10_000)
        assert pool.nbytes == 0
        for _ in range(10_000):
            pool.open()
        assert 10_000 * state < pool.nbytes < 1.2 * 10_000 * state


def test_shards_share_what_comes() -> None:
    pool = nn.Linear(3, 2).pool(100, shards=4)
    ids = [pool.open() for _ in range(40)]
    of = [id >> 24 & 255 for id in ids]
    assert [of.count(shard) for shard in range(4)] == [10] * 4
    assert [pool.open(shard) >> 24 & 255 for shard in (3, 0, 3)] == [3, 0, 3]
    assert (pool.shards, len(pool)) == (4, 43)


# ---- To and from streams, and new weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_sequence_goes_from_pool_to_pool_and_stream(rng: np.random.Generator, name: str) -> None:
    model = MODELS[name](3, 5, dtype="float32")
    pool, other, stream, whole = model.pool(3), model.pool(9, shards=2), model.stream(), model.stream()
    for _ in range(2):
        pool.open()
    id, x = pool.open(), inputs(rng, 1)

    def stepped(step: Callable[[Array], Array]) -> None:
        assert_same_bits(step(x), whole.step(x))

    stepped(lambda x: pool.step([id], x))
    moved = other.restore(pool.export(id), shard=1)
    assert moved >> 24 & 255 == 1
    stepped(lambda x: other.step([moved], x))
    stream.restore(other.export(moved))
    stepped(stream.step)
    back = other.restore(stream.snapshot())
    stepped(lambda x: other.step([back], x))
    assert other.export(back) == whole.snapshot()


def test_damaged_snapshots_open_nothing() -> None:
    model = nn.GRU(3, 4, seed=0)
    pool = model.pool(2)
    kept = pool.export(pool.open())
    damaged = [bytes([*kept[:place], kept[place] ^ 1, *kept[place + 1 :]]) for place in range(len(kept))]
    damaged += [kept[:size] for size in range(len(kept))]
    damaged += [model.stream(2).snapshot(), nn.GRU(3, 4, seed=1).stream().snapshot(), kept + b"\0"]
    for wrong in damaged:
        with pytest.raises(ValueError, match="^snapshot: expected "):
            pool.restore(wrong)
        assert len(pool) == 1
    pool.restore(kept)


def test_all_go_on_with_new_weights(rng: np.random.Generator) -> None:
    model, new = nn.GRU(3, 17, seed=0), nn.GRU(3, 17, seed=1)
    pool, streams = model.pool(5, shards=2), [model.stream() for _ in range(5)]
    ids, x = [pool.open() for _ in range(5)], inputs(rng, 5)
    pool.step(ids, x)
    kept = pool.export(ids[0])
    pool.update(new)
    for row, stream in enumerate(streams):
        stream.step(x[row : row + 1])
        stream.update(new)
    assert_same_bits(pool.step(ids, x), np.concatenate([s.step(x[i : i + 1]) for i, s in enumerate(streams)]))
    assert pool.export(ids[0]) == streams[0].snapshot()
    pool.close(ids[0])
    with pytest.raises(ValueError, match="^snapshot: expected one of this model's weights, got one of others$"):
        pool.restore(kept)
    before = pool.export(ids[1])
    for other in (nn.GRU(3, 16), nn.GRU(4, 17), nn.LSTM(3, 17), nn.GRU(3, 17, dtype="float64"), nn.Linear(3, 17)):
        with pytest.raises(ValueError, match="^model: expected "):
            pool.update(other)
    assert pool.export(ids[1]) == before


# ---- What is refused ------------------------------------------------------------------------------------------------


def pool_calls() -> dict[str, Callable[[StreamPool, list[int]], Any]]:
    """Return calls of a pool with an argument that is wrong, by its name and what it is."""
    x = np.zeros((2, 3), f4)
    read_only = np.zeros((2, 5), f4)
    read_only.flags.writeable = False
    calls: dict[str, Callable[[StreamPool, list[int]], Any]] = {}
    for what, ids in {
        "None": None,
        "a string": "x",
        "floats": [1.0, 2.0],
        "flags": [True, False],
        "one number": 3,
        "two axes": [[1, 2]],
        "huge numbers": [2**64, 1],
        "objects": np.array([1, 2], object),
        "negative": [-1, -2],
    }.items():
        calls[f"ids {what}"] = lambda pool, _, ids=ids: pool.step(ids, x)
        calls[f"ids {what} of a reset"] = lambda pool, _, ids=ids: pool.reset(ids)
    for what, value in {
        "None": None,
        "float64": x.astype(float),
        "one row": x[:1],
        "three rows": np.zeros((3, 3), f4),
        "another size": x[:, :2],
        "one axis": x[0],
    }.items():
        calls[f"x {what}"] = lambda pool, ids, value=value: pool.step(ids, value)
    for what, out in {
        "a list": [],
        "float64": np.zeros((2, 5)),
        "another size": np.zeros((2, 4), f4),
        "more rows": np.zeros((3, 5), f4),
        "read-only": read_only,
        "strided": np.zeros((2, 10), f4)[:, ::2],
    }.items():
        calls[f"out {what}"] = lambda pool, ids, out=out: pool.step(ids, x, out)

    def over_ids(pool: StreamPool, ids: list[int]) -> None:
        memory = np.zeros(12, np.uint64)
        memory[:2] = ids
        pool.step(memory[:2], x, memory.view(f4)[2:12].reshape(2, 5))

    calls["out over the ids"] = over_ids
    for id in (None, 0, -1, 1.5, "1", True, 2**64):
        calls[f"id {id!r} of close"] = lambda pool, _, id=id: pool.close(id)
        calls[f"id {id!r} of export"] = lambda pool, _, id=id: pool.export(id)
    for shard in (-1, 2, 256, 2**31, 0.5, "0", True):
        calls[f"shard {shard!r} of open"] = lambda pool, _, shard=shard: pool.open(shard)
        calls[f"shard {shard!r} of restore"] = lambda pool, ids, shard=shard: pool.restore(pool.export(ids[0]), shard)
    for capacity in (None, 0, -1, 4, 1.5, 2**63):
        calls[f"capacity {capacity}"] = lambda pool, _, capacity=capacity: pool.grow(capacity)
    for kept in (None, b"", "x", bytearray(200)):
        calls[f"snapshot {kept!r:.20}"] = lambda pool, _, kept=kept: pool.restore(kept)
    calls["model None"] = lambda pool, _: pool.update(None)
    return calls


@pytest.mark.parametrize("name", pool_calls())
def test_a_wrong_argument_is_named_and_changes_nothing(name: str) -> None:
    pool = nn.GRU(3, 5, seed=0).pool(5, shards=2)
    ids = [pool.open(), pool.open()]
    pool.step(ids, np.ones((2, 3), f4))
    before = [pool.export(id) for id in ids]
    with pytest.raises((TypeError, ValueError), match=rf"^{name.split()[0]}\b.*: expected .*, got "):
        pool_calls()[name](pool, ids)
    assert [pool.export(id) for id in ids] == before
    assert (len(pool), pool.capacity) == (2, 5)


@pytest.mark.parametrize("argument", ["capacity", "shards"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "1", None, 2**63])
def test_wrong_sizes_of_a_pool(argument: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{argument}: expected a whole number"):
        nn.GRU(2, 3).pool(**{"capacity": 1, "shards": 1, argument: value})
    with pytest.raises(ValueError, match="^shards: expected a whole number from 1 to 256, got 257$"):
        nn.GRU(2, 3).pool(1, 257)


def test_indices_outside_are_refused(rng: np.random.Generator) -> None:
    pool = embedded().pool(3, shards=2)
    ids = [pool.open() for _ in range(3)]
    pool.step(ids, rng.integers(0, 11, 3))
    before = [pool.export(id) for id in ids]
    for wrong in (-1, 11, 2**40):
        with pytest.raises(ValueError, match=f"^x: expected .*0 to 10, got {wrong}"):
            pool.step(ids, np.array([1, 2, wrong]))
    assert [pool.export(id) for id in ids] == before


# ---- Threads --------------------------------------------------------------------------------------------------------


@contextmanager
def stepping(pool: StreamPool, ids: list[int]) -> Iterator[list[BaseException]]:
    """Let a thread take long steps without the GIL all the time, and give what went wrong with it."""
    x, wrong, over = np.ones((len(ids), 3), f4), [], threading.Event()

    def steps() -> None:
        while not over.is_set():
            try:
                pool.step(ids, x)
            except BusyError as error:
                wrong.append(error)

    thread = threading.Thread(target=steps)
    thread.start()
    try:
        yield wrong
    finally:
        over.set()
        thread.join()


def until(found: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found():
            return True
    return False


def test_who_comes_during_a_step_is_refused() -> None:
    model = nn.GRU(3, 256, seed=0)
    pool = model.pool(2001, shards=2)
    ids, other = [pool.open(0) for _ in range(2000)], pool.open(1)
    kept = pool.export(other)
    for call in (
        lambda: pool.step(ids[:1], np.ones((1, 3), f4)),
        lambda: pool.step([other, ids[0]], np.ones((2, 3), f4)),
        lambda: pool.reset(ids[:1]),
        lambda: pool.export(ids[0]),
        lambda: pool.close(ids[0]),
        lambda: pool.open(0),
        lambda: pool.restore(kept, 0),
        lambda: pool.update(model),
    ):

        def refused(call: Callable[[], Any] = call) -> bool:
            try:
                call()
            except BusyError as error:
                return str(error) == "shard: expected one thread at a time, got another one"
            except (FullError, ValueError):  # the call was taken before
                pass
            return False

        with stepping(pool, ids[1:]):
            assert until(refused)


def test_one_shard_does_not_keep_another() -> None:
    pool = nn.GRU(3, 256, seed=0).pool(10_000, shards=2)
    busy = [pool.open(0) for _ in range(1000)]
    with stepping(pool, busy) as wrong:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            id = pool.open(1)
            pool.step([id], np.ones((1, 3), f4))
            pool.close(id)
            pool.grow(pool.capacity + 1)
            assert (len(pool), pool.shards) == (1000, 2)
            assert pool.nbytes > 0
    assert not wrong


def test_a_sequence_begins_where_no_thread_is() -> None:
    pool = nn.GRU(3, 256, seed=0).pool(10_000, shards=3)
    busy = [pool.open(0) for _ in range(1000)]
    for shard, count in (1, 1001), (2, 1002):
        for _ in range(count):
            pool.open(shard)
    kept = pool.export(busy[0])
    with stepping(pool, busy) as wrong:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            for id in (pool.open(), pool.restore(kept)):
                with suppress(BusyError):  # it may have begun where that thread was not just then
                    pool.close(id)
    assert not wrong


@pytest.mark.skipif(sys.platform != "linux", reason="the threads of a process are read from /proc")
@pytest.mark.parametrize("team", ["openmp", "threads"])
def test_a_step_of_many_shards_has_the_threads_that_calls_have(team: str) -> None:
    script = f"""
import os, numpy as np, gru_native as gn
gn.set_team({team!r})
pool = gn.nn.GRU(64, 512, seed=0).pool(256, shards=64)
ids, x = [pool.open(shard=k % 64) for k in range(128)], np.zeros((128, 64), np.float32)
with gn.threads(1):
    pool.step(ids, x)
print(len(os.listdir("/proc/self/task")))
pool.step(ids, x)
print(len(os.listdir("/proc/self/task")))
"""
    assert python("-c", script, OMP_NUM_THREADS="3", OPENBLAS_NUM_THREADS="1") == "1\n3\n"


def test_threads_with_a_shard_each(rng: np.random.Generator) -> None:
    model = nn.LSTM(3, 100, seed=0)
    pool, alone = model.pool(400, shards=4), model.pool(400)
    ids, x = [[pool.open(shard) for _ in range(100)] for shard in range(4)], inputs(rng, 400).reshape(4, 100, 3)

    def work(shard: int) -> Array:
        return np.stack([pool.step(ids[shard], x[shard]) for _ in range(20)])

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(work, range(4)))
    others = [alone.open() for _ in range(400)]
    for step in range(20):
        expected = alone.step(others, x.reshape(400, 3)).reshape(4, 100, -1)
        for shard in range(4):
            assert_same_bits(results[shard][step], expected[shard])
