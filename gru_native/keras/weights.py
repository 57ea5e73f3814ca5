"""Which arrays of a file belong to which layer, and what they are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gru_native import nn
from gru_native.arguments import Array
from gru_native.convert import KERAS, KERAS_LSTM, KERAS_RESET_BEFORE, KERAS_RNN, Convention, to_native
from gru_native.keras.files import Stored, read
from gru_native.nn.module import join

Paths = tuple[str, ...]

_RECURRENT = ("gru", "lstm", "simple_rnn")
# Where a layer has its variables, below its own name.
_BELOW: dict[str, Paths] = {
    **dict.fromkeys(_RECURRENT, ("/cell",)),
    "bidirectional": ("/forward_layer/cell", "/backward_layer/cell"),
    "time_distributed": ("/layer",),
}


def paths(kind: str, number: int) -> Paths:
    """Return where a file has the variables of a layer, which is the one of this number among those of its kind."""
    name = f"{kind}_{number}" if number else kind
    return tuple(name + below for below in _BELOW.get(kind, ("",)))


def fill(model: nn.Module, stored: Stored, places: Sequence[Paths] | None) -> None:
    """Give all layers their arrays, or none.

    Parameters
    ----------
    places
        Where the file has those of each layer with weights; ``None`` for what their kinds say.
    """
    slots = [slot for name, module in model.named_modules() for slot in _slots(name, module)]
    if stored.in_order:
        found = list(stored.layers())
    else:
        places = _guessed(slots, stored) if places is None else places
        found = [(own[0].split("/")[0], stored.below(own)) for own in places]
    if len(found) != len(slots):
        raise ValueError(
            f"expected weights of {len(slots)} layers, got {len(found)}: {[name for name, _ in found]}"[:300]
        )
    state: dict[str, Array] = {}
    for slot, (name, variables) in zip(slots, found, strict=True):
        try:
            if len(variables) != slot.variables:
                raise ValueError(f"expected {slot.variables} arrays for a {slot.kind}, got {len(variables)}")
            arrays = slot.native([read(variable, slot.numbers) for variable in variables])
        except (ValueError, TypeError) as error:
            raise ValueError(f"weights of {name}: {error}") from error
        state |= {join(slot.name, own): array for own, array in arrays.items()}
    model.load_state_dict(state, strict=False)


class _Slot(NamedTuple):
    """A layer, or one of a stack, that takes arrays."""

    name: str
    kind: str
    keras: tuple[str, ...]  # the kinds of Keras' layers that it can stand for
    variables: int
    numbers: int
    native: Callable[[Sequence[Array]], dict[str, Array]]


def _slots(name: str, module: nn.Module) -> list[_Slot]:
    own = module.state_dict() if not module.children() else {}
    if isinstance(module, nn.GRU | nn.LSTM | nn.RNN):
        return [_recurrent(name, module, layer) for layer in range(module.num_layers)]
    names = [each for each in own if each != "num_batches_tracked"]
    keras = _KINDS.get(type(module))
    if not names:
        return []
    if keras is None:
        raise ValueError(f"layer {name} ({type(module).__name__}): has no counterpart in Keras")

    def native(arrays: Sequence[Array]) -> dict[str, Array]:
        turned = [array.T if isinstance(module, nn.Linear | nn.Conv1d) else array for array in arrays]
        return dict(zip(names, turned, strict=True))

    numbers = sum(own[each].size for each in names)
    return [_Slot(name, type(module).__name__, keras, len(names), numbers, native)]


# Keras has the variables of these in the order of ours: weights and biases, then running values.
_KINDS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("dense", "time_distributed"),
    nn.Conv1d: ("conv1d",),
    nn.Embedding: ("embedding",),
    nn.BatchNorm1d: ("batch_normalization",),
    nn.LayerNorm: ("layer_normalization",),
}


def _recurrent(name: str, module: Any, layer: int) -> _Slot:
    kind = type(module).__name__
    extras = [own for own in module.parameters() if own.startswith(("gamma_", "peephole_", "weight_hr_"))]
    if extras:
        raise ValueError(f"layer {name} ({kind}): has {extras[0]}, for which Keras has no counterpart")
    convention, keras = _convention(module)
    count = 3 if module.bias else 2

    def native(arrays: Sequence[Array]) -> dict[str, Array]:
        state: dict[str, Array] = {}
        for direction, suffix in enumerate(["", "_reverse"][: 1 + module.bidirectional]):
            own = dict(zip(convention.names, arrays[direction * count :][:count], strict=False))
            made = to_native(own, convention, layer=layer, **convention.options)
            state |= {each + suffix: array for each, array in made.items()}
        return state

    of_layer = (f"_l{layer}", f"_l{layer}_reverse")
    numbers = sum(array.size for own, array in module.parameters().items() if own.endswith(of_layer))
    kinds = ("bidirectional",) if module.bidirectional else (keras,)
    return _Slot(name, kind, kinds, count * (1 + module.bidirectional), numbers, native)


def _convention(module: Any) -> tuple[Convention, str]:
    """Return how Keras writes down weights of such a layer, whatever its activations, and its name there."""
    if isinstance(module, nn.GRU):
        return (KERAS if module.reset_after else KERAS_RESET_BEFORE), "gru"
    return (KERAS_LSTM, "lstm") if isinstance(module, nn.LSTM) else (KERAS_RNN, "simple_rnn")


def _guessed(slots: Sequence[_Slot], stored: Stored) -> list[Paths]:
    """Return where the file has the variables of layers that are of the same kinds in the same order."""
    counts: Counter[str] = Counter()
    found = []
    for slot in slots:
        kinds = [kind for kind in slot.keras if kind in stored]
        if len(kinds) != 1:
            raise ValueError(f"layer {slot.name} ({slot.kind}): expected one of {slot.keras} in the file, got {kinds}")
        found.append(paths(kinds[0], counts[kinds[0]]))
        counts[kinds[0]] += 1
    for kind in (*_RECURRENT, "bidirectional", *(kind for kinds in _KINDS.values() for kind in kinds)):
        more = paths(kind, counts[kind])
        if more[0].split("/")[0] in stored and stored.below(more):
            raise ValueError(f"expected as many layers as the model has, got {more[0]} besides")
    return found
