"""Batches and streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gru_native.arguments import array
from gru_native.train import Batch, Batches, Sequences, Stream
from gru_native.train.data import placed
from gru_native.train.identity import fingerprint

X = np.random.default_rng(0).standard_normal((20, 3)).astype("f4")
Y = np.random.default_rng(1).integers(0, 3, 20)


def test_batches_hold_every_sample_once_and_in_order() -> None:
    inputs, targets = np.arange(20).reshape(10, 2), np.arange(10)
    data = Batches(inputs, targets, batch_size=4)
    batches = list(data.epoch(0))
    assert len(batches) == len(data) == 3
    assert [len(x) for x, _ in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), inputs)
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), targets)


def test_batches_are_shuffled_by_seed_and_epoch() -> None:
    samples = np.arange(100)

    def order(seed: int, epoch: int) -> list[int]:
        data = Batches(samples, -samples, batch_size=7, shuffle=True, seed=seed)
        pairs = [(x, y) for xs, ys in data.epoch(epoch) for x, y in zip(xs, ys, strict=True)]
        assert all(x == -y for x, y in pairs)
        return [int(x) for x, _ in pairs]

    assert order(0, 0) == order(0, 0)
    assert sorted(order(0, 0)) == samples.tolist()
    different = [samples.tolist(), order(0, 0), order(0, 1), order(1, 0)]
    assert len({tuple(each) for each in different}) == 4


@pytest.mark.parametrize(("length", "batch_size", "window"), [(24, 3, 4), (26, 3, 4), (23, 4, 2), (5, 5, 9)])
def test_a_stream_runs_through_every_row(length: int, batch_size: int, window: int) -> None:
    text = np.arange(length + 1)
    data = Stream(text[:-1], text[1:], batch_size, window)
    batches = list(data.epoch(0))
    steps = length // batch_size
    assert len(batches) == len(data) == -(-steps // window)
    assert all(len(x) == window for x, _ in batches[:-1])
    rows = np.concatenate([x for x, _ in batches])
    np.testing.assert_array_equal(rows.T.reshape(-1), text[: steps * batch_size])
    for x, y in batches:
        np.testing.assert_array_equal(y, x + 1)


def test_a_stream_takes_vectors() -> None:
    data = Stream(np.zeros((12, 5)), np.zeros((12, 3)), batch_size=2, window=4)
    x, y = next(data.epoch(0))
    assert x.shape == (4, 2, 5)
    assert y.shape == (4, 2, 3)


@pytest.mark.parametrize("kind", [Batches, lambda x, y, size: Stream(x, y, size, 1)])
def test_errors_of_both(kind: type[Batches]) -> None:
    with pytest.raises(ValueError, match="targets: expected 3 of them, as many as inputs, got 2"):
        kind(np.zeros(3), np.zeros(2), 1)
    with pytest.raises(ValueError, match="inputs: expected at least one, got none"):
        kind(np.zeros(0), np.zeros(0), 1)
    with pytest.raises(ValueError, match="inputs: expected at least 1 dimension"):
        kind(np.float32(1), np.zeros(2), 1)
    with pytest.raises(ValueError, match="batch_size: expected a whole number from 1 up, got 0"):
        kind(np.zeros(3), np.zeros(3), 0)
    with pytest.raises(TypeError, match=r"batch_size: expected a whole number, got 1\.5"):
        kind(np.zeros(3), np.zeros(3), 1.5)  # type: ignore[arg-type]


def test_errors_of_streams() -> None:
    with pytest.raises(ValueError, match="inputs: expected at least batch_size = 4 elements, got 3"):
        Stream(np.zeros(3), np.zeros(3), 4, 1)
    with pytest.raises(ValueError, match="window: expected a whole number from 1 up, got 0"):
        Stream(np.zeros(3), np.zeros(3), 1, 0)


def _ragged(lengths: list[int], features: int = 2) -> list[np.ndarray]:
    """Sequences whose numbers say which sequence and step they are of."""
    return [
        np.stack([np.full((length,), i), np.arange(length)], axis=1)[:, :features].astype(float)
        for i, length in enumerate(lengths)
    ]


LENGTHS = [3, 7, 1, 7, 2, 5, 9, 4, 4, 6]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_sequences_hold_every_step_once(batch_first: bool, shuffle: bool) -> None:
    inputs, targets = _ragged(LENGTHS), 10 * np.arange(len(LENGTHS))
    data = Sequences(inputs, targets, 4, batch_first=batch_first, shuffle=shuffle)
    batches = list(data.epoch(0))
    assert len(batches) == len(data) == 3
    seen = []
    for batch in batches:
        assert batch.lengths is not None
        assert batch.live is None
        major = batch.inputs.swapaxes(0, 1) if batch_first else batch.inputs
        assert major.shape == (max(batch.lengths), len(batch.lengths), 2)
        for row, (length, target) in enumerate(zip(batch.lengths, batch.targets, strict=True)):
            i = int(target) // 10
            seen.append(i)
            np.testing.assert_array_equal(major[:length, row], inputs[i])
            assert not major[length:, row].any()
    assert sorted(seen) == list(range(len(LENGTHS)))


@pytest.mark.parametrize("batch_first", [False, True])
def test_targets_per_step_stand_where_live_says(batch_first: bool) -> None:
    inputs = _ragged(LENGTHS)
    data = Sequences(inputs, inputs, 4, per_step=True, batch_first=batch_first, shuffle=True)
    for batch in data.epoch(3):
        np.testing.assert_array_equal(batch.inputs[batch.live], batch.targets)
        assert batch.live is not None
        assert batch.live.sum() == len(batch.targets) == np.sum(batch.lengths)


def test_sequences_of_like_length_go_together() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 100, 300).tolist()
    inputs = _ragged(lengths)
    for shuffle in (False, True):
        data = Sequences(inputs, lengths, 10, shuffle=shuffle)
        padded = sum(batch.inputs.shape[0] * batch.inputs.shape[1] for batch in data.epoch(0))
        assert padded < 1.15 * sum(lengths)

    def order(seed: int, epoch: int) -> list[int]:
        data = Sequences(inputs, np.arange(300), 10, shuffle=True, seed=seed)
        return [int(i) for batch in data.epoch(epoch) for i in batch.targets]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(0, 0)), tuple(order(0, 1)), tuple(order(1, 0))}) == 3
    longest_first = [int(length) for batch in Sequences(inputs, lengths, 10).epoch(0) for length in batch.targets]
    assert longest_first == sorted(lengths, reverse=True)


SOURCES = [
    Batches(np.arange(30).reshape(10, 3), np.zeros(10), 4),
    Batches(np.arange(30).reshape(10, 3), np.zeros(10), 4, shuffle=True),
    Stream(np.arange(26), np.zeros(26), 4, 5),
    Sequences(_ragged(LENGTHS), LENGTHS, 4),
    Sequences(_ragged(LENGTHS), LENGTHS, 4, shuffle=True),
]


@pytest.mark.parametrize("data", SOURCES, ids=lambda data: type(data).__name__)
def test_places_say_which_inputs_are_in_a_batch(data: Any) -> None:
    for epoch in (0, 1):
        for places, item in zip(data.places(epoch), data.epoch(epoch), strict=True):
            inputs, targets, *_ = item
            if isinstance(data, Sequences):
                np.testing.assert_array_equal(np.array(LENGTHS)[places], targets)
            else:
                given = np.arange(26) if isinstance(data, Stream) else np.arange(30).reshape(10, 3)
                np.testing.assert_array_equal(given[places], inputs)
        seen = np.concatenate([places.reshape(-1) for places in data.places(epoch)])
        np.testing.assert_array_equal(np.sort(seen), np.arange(24 if isinstance(data, Stream) else 10))


@pytest.mark.parametrize("data", SOURCES, ids=lambda data: type(data).__name__)
def test_places_go_with_the_batches(data: Any) -> None:
    batches = [Batch(*item) for item in data.epoch(0)]
    found = list(placed(data, ((batch, number) for number, batch in enumerate(batches))))
    assert [number for *_, number in found] == list(range(len(batches)))
    for own, (places, batch, _), item in zip(data.places(0), found, batches, strict=True):
        np.testing.assert_array_equal(places, own)
        assert places.dtype == np.int64
        assert batch is item


class Placed:
    """A source of somebody else's: two batches of three rows of two steps."""

    def __init__(self, places: Any) -> None:
        self.places = (lambda number: places) if isinstance(places, list) else places

    def __len__(self) -> int:
        return 2

    def results(self, batches: int = 2, lengths: Any = None) -> Any:
        return [(Batch(np.zeros((2, 3, 1)), np.zeros(3), lengths), None)] * batches


@pytest.mark.parametrize(
    "places", [[[5, 4, 3], [0, 1, 2]], [np.arange(6).reshape(2, 3), np.arange(6, 12).reshape(2, 3)]]
)
def test_places_of_rows_and_of_steps(places: list[Any]) -> None:
    data = Placed([np.array(own, "u1") for own in places])
    for (found, *_), own in zip(placed(data, data.results()), places, strict=True):
        np.testing.assert_array_equal(found, own)


@pytest.mark.parametrize(
    ("places", "error", "message"),
    [
        ([[0, 0, 1], [2, 3, 4]], ValueError, ": expected each of 0 to 5 once, got 0 again"),
        ([[0, 1, 2], [3, 4, 1]], ValueError, ": expected each of 0 to 5 once, got 1 again"),
        ([[0, 1, 2], [3, -1, 4]], ValueError, r"\[1\]: expected 0 to 5, got -1 at \(1,\)"),
        ([[0, 1, 10**9], [3, 4, 5]], ValueError, r"\[0\]: expected 0 to 5, got 1000000000 at \(2,\)"),
        ([[0.0, 1.0, 2.0], [3, 4, 5]], TypeError, r"\[0\]: expected an integer dtype, got float64"),
        ([[0, 1, 2], [False, True, True]], TypeError, r"\[1\]: expected an integer dtype, got bool"),
        ([[0, 1, 2], None], TypeError, r"\[1\]: expected an array, got None"),
        ([], ValueError, ": expected 2 arrays, one for each batch, got 0"),
        ([[0, 1, 2]], ValueError, ": expected 2 arrays, one for each batch, got 1"),
        (lambda number: None, TypeError, ": expected a list, got None"),
        (None, TypeError, ": expected a function, got None"),
    ],
)
def test_places_that_cannot_be_are_refused_before_the_work(places: Any, error: type[Exception], message: str) -> None:
    def work() -> Any:
        pytest.fail("the model was called")
        yield

    with pytest.raises(error, match=rf"^data\.places{message}$"):
        next(placed(Placed(places), work()))


def test_places_that_do_not_fit_their_batch() -> None:
    data = Placed([[0, 1, 2, 3], [4, 5]])
    with pytest.raises(
        ValueError, match=r"^data\.places\[0\]: expected shape \(2,\) or \(2, 3\) or \(3,\), got \(4,\)$"
    ):
        next(placed(data, data.results()))
    data = Placed([np.arange(6).reshape(2, 3), np.arange(6, 12).reshape(2, 3)])
    with pytest.raises(ValueError, match=r"^data\.places\[0\]: expected shape \(3,\), got \(2, 3\)$"):
        next(placed(data, data.results(lengths=np.array([2, 1, 2]))))
    for batches, found in ((1, "1"), (3, "more")):
        with pytest.raises(ValueError, match=f"^data.epoch: expected 2 batches, the length of the data, got {found}$"):
            list(placed(data, data.results(batches)))


def test_sources_say_their_layout() -> None:
    shapes = {(4, 3): None, (4, 3, 2): True, (4,): None}
    assert {shape: Batches(np.zeros(shape), np.zeros(4), 2).batch_first for shape in shapes} == shapes
    assert Batches(np.zeros((4, 3), int), np.zeros(4), 2).batch_first  # indices of an embedding
    assert Batches(np.zeros(4, int), np.zeros(4), 2).batch_first is None
    assert Stream(np.zeros(4), np.zeros(4), 2, 2).batch_first is False
    assert [Sequences(_ragged([1]), [1], 1, batch_first=first).batch_first for first in (False, True)] == [False, True]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    ("parts", "dtype"),
    [
        ([np.array([1, 2, 3], "u1"), np.array([300, 301])], "int64"),
        ([[1, 2, 3], [0.5, 0.25]], "float64"),
        ([np.array([1, 2, 3], "i1"), np.array([0.5, 0.25], "f4")], "float32"),
        ([np.array([1, 2, 2**53]), np.array([0.5, 0.25], "f4")], "float64"),
        ([np.array([True, False, True]), np.array([7, 8], "u2")], "uint16"),
        ([[], [7, 8]], "int64"),
        ([[], []], "float64"),
    ],
)
def test_sequences_of_several_types_keep_their_values(parts: list[Any], dtype: str, shuffle: bool) -> None:
    inputs = [np.zeros((len(part), 1)) for part in parts]
    for data in (Sequences(inputs, parts, 2, per_step=True, shuffle=shuffle), Sequences(parts, [0, 1], 2)):
        (batch,) = data.epoch(0)
        values = batch.targets if batch.live is not None else batch.inputs
        assert values.dtype == dtype
        given = np.concatenate([np.asarray(part, object) for part in parts])
        assert sorted(values[values != 0].tolist()) == sorted(given[given != 0].tolist())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            [np.array([2**60, 1]), np.array([0.5, 0.25])],
            r"\[0\]: expected integers up to 2\*\*53 beside float64, got 115",
        ),
        ([np.array([0.5, 1]), np.array([1, -(2**63)])], r"\[1\]: expected integers up to .*, got 9223372036854775808"),
        ([np.array([1, 2]), np.array([1, 2], "u8")], ": expected one type that holds all values, got int64 and uint64"),
        ([np.ones((2, 2)), np.ones((2, 1))], r"\[1\]: expected shape \(T, ...\) as \w+\[0\]'s \(2, 2\), got \(2, 1\)"),
        ([np.ones((2, 2)), np.ones(2)], r"\[1\]: expected shape \(T, ...\) as \w+\[0\]'s \(2, 2\), got \(2,\)"),
        ([np.ones(2), 1.0], r"\[1\]: expected at least 1 dimension, got a single number"),
    ],
)
def test_sequences_that_do_not_go_together(parts: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^targets{message}"):
        Sequences([np.zeros((2, 1))] * 2, parts, 2, per_step=True)
    with pytest.raises(ValueError, match=f"^inputs{message}"):
        Sequences(parts, [0, 1], 2)


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        ([[1, 2], 3], "a list whose parts differ in shape, or are no numbers"),
        (np.array([None, 1]), "object"),
        (["a", "b"], "<U1"),
        ([1j, 2], "complex128"),
        (np.zeros(2, "M8[s]"), r"datetime64\[s\]"),
    ],
)
def test_data_that_is_not_numbers(wrong: Any, got: str) -> None:
    right, message = np.zeros(2), rf"(\[0\])?: expected an array( of numbers)?, got {got}"
    kinds: list[Callable[[Any, Any], object]] = [
        lambda x, y: Batches(x, y, 1),
        lambda x, y: Stream(x, y, 1, 1),
        lambda x, y: Sequences([x, x], y, 1),
        lambda x, y: Sequences([right, right], [y, y], 1, per_step=True),
    ]
    for kind in kinds:
        with pytest.raises(TypeError, match=f"^targets{message}"):
            kind(right, wrong)
    for kind in kinds[:3]:
        with pytest.raises(TypeError, match=f"^inputs{message}"):
            kind(wrong, right)


BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("mixed", "message"),
    [
        ([np.array([1, BIG]), np.array([1, 2], "u8")], "one type that holds all values, got int64 and uint64"),
        ([np.array([1, 2]), np.array([3, 4], "u8")], "one type that holds all values, got int64 and uint64"),
        ([2**63, 1], "one type that holds all values, got int64 and uint64"),
        ([BIG, 0.5], f"integers up to 2\\*\\*53 beside float64, got {BIG}"),
        (([0.5, np.nan], [-BIG, np.inf]), f"integers up to 2\\*\\*53 beside float64, got {BIG}"),
        ([np.array([0.5, 1], "f4"), np.array([1, BIG])], f"integers up to 2\\*\\*53 beside float64, got {BIG}"),
        ([np.array([0.5, 1]), range(BIG, BIG + 2)], f"integers up to 2\\*\\*53 beside float64, got {BIG + 1}"),
    ],
)
def test_a_list_of_several_types_is_not_rounded(mixed: Any, message: str) -> None:
    right = [0, 1]
    for name, call in {
        "inputs": lambda: Batches(mixed, right, 1),
        "targets": lambda: Batches(right, mixed, 1),
        r"inputs\[0\]": lambda: Sequences([mixed], [1], 1),
        "x": lambda: array("x", mixed),
    }.items():
        with pytest.raises(ValueError, match=f"^{name}: expected {message}$"):
            call()


@pytest.mark.parametrize(
    ("mixed", "dtype"),
    [
        ([1, 0.5], "f8"),
        ([2**53, 0.5], "f8"),
        ([BIG, 1], "i8"),
        ([1e300, np.inf, 3], "f8"),
        ([np.array([1, 2], "u4"), np.array([-1, 2])], "i8"),
        ([np.array([1, 2], "i2"), np.array([0.5, 2], "f4")], "f4"),
        ([[], []], "f8"),
    ],
)
def test_a_list_of_several_types_keeps_its_values(mixed: Any, dtype: str) -> None:
    found = Batches(mixed, [0] * len(mixed), 1).inputs
    assert found.dtype == dtype
    assert found.tolist() == [part if np.isscalar(part) else list(part) for part in mixed]


def test_errors_of_sequences() -> None:
    inputs = _ragged([3, 2])
    with pytest.raises(ValueError, match="targets: expected at least 1 dimension, got a single number"):
        Sequences(inputs, 1, 1)
    with pytest.raises(ValueError, match="inputs: expected at least one, got none"):
        Sequences([], [], 1)
    with pytest.raises(ValueError, match="targets: expected 2 of them, as many as inputs, got 3"):
        Sequences(inputs, [1, 2, 3], 1)
    with pytest.raises(ValueError, match=r"targets\[1\]: expected 2 steps, as many as inputs\[1\], got \(3,\)"):
        Sequences(inputs, [np.zeros(3), np.zeros(3)], 1, per_step=True)
    with pytest.raises(ValueError, match=r"inputs\[1\]: expected shape \(T, \.\.\.\) as inputs\[0\]'s"):
        Sequences([inputs[0], np.zeros((2, 3))], [1, 2], 1)
    with pytest.raises(ValueError, match="batch_size: expected a whole number from 1 up, got 0"):
        Sequences(inputs, [1, 2], 0)


def _batches(inputs: Any = X, targets: Any = Y, size: int = 4, **settings: Any) -> Batches:
    return Batches(inputs, targets, size, **settings)


def _sequences(inputs: Any = X, targets: Any = Y, size: int = 4, **settings: Any) -> Sequences:
    return Sequences(list(inputs), targets, size, **settings)


def _stream(inputs: Any = X, targets: Any = Y, size: int = 4, window: int = 2) -> Stream:
    return Stream(inputs, targets, size, window)


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        (_batches, [{"shuffle": True}, {"seed": 1}]),
        (_sequences, [{"shuffle": True}, {"seed": 1}, {"batch_first": True}, {"per_step": True, "targets": list(X)}]),
        (_stream, [{"window": 3}]),
    ],
)
def test_a_fingerprint_is_of_content_and_settings(source: Callable[..., Any], changes: list[dict[str, Any]]) -> None:
    first = source()
    assert first.fingerprint == source(X.copy(), Y.copy()).fingerprint
    assert first.fingerprint is first.fingerprint
    one_bit, swapped = X.copy(), X.copy()
    one_bit.view("u1")[-1, -1] ^= 1
    swapped[[0, 1]] = swapped[[1, 0]]
    others = [source(), source(one_bit), source(swapped), source(X.astype("f8")), source(targets=Y[::-1])]
    others += [source(targets=Y.astype("i4")), source(size=5), *(source(**change) for change in changes)]
    assert len({other.fingerprint for other in others}) == len(others)


def test_sources_of_other_kinds_have_other_fingerprints() -> None:
    assert len({_batches().fingerprint, _sequences().fingerprint, _stream().fingerprint}) == 3


def test_a_fingerprint_sees_elements_not_strides() -> None:
    wide = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)
    for view in (wide[::2, ::3], np.asfortranarray(X), np.broadcast_to(X, (2, *X.shape))[1]):
        assert Batches(view, Y, 4).fingerprint == Batches(X, Y, 4).fingerprint
    for dtype in ("U3", "M8[D]", "?", "f2", "c16", ">f8"):
        assert fingerprint(np.zeros((3, 2), dtype)) != fingerprint(np.zeros((2, 3), dtype))
    assert len({fingerprint(array) for array in (np.zeros(()), np.zeros((0,)), np.zeros((0, 2)), np.zeros(1))}) == 4
    with pytest.raises(TypeError):
        fingerprint(np.array([None]))
