"""Weights in other conventions, to and from this package's.

Libraries and papers agree on what a GRU is and on nothing about how it is written down: the order of the
gates, rows or columns, one bias or two, which way round a gate works, and what stands for sigmoid and tanh. A
`Convention` says all of that; `to_native` and `from_native` translate. They need nothing but NumPy.

    gru = gn.nn.GRU(input_size, hidden_size, **KERAS.options)
    gru.load_state_dict(to_native(dict(zip(KERAS.names, layer.get_weights())), KERAS, layer=0))
    layer.set_weights(list(from_native(gru.state_dict(), KERAS, layer=0).values()))

Both have to be told what the GRU computes, where it is not PyTorch's:

    gru = gn.nn.GRU(input_size, hidden_size, **KERAS_V1.options)
    gru.load_state_dict(to_native(arrays, KERAS_V1, layer=0, **KERAS_V1.options))

A conversion permutes, transposes, splits and negates, all of which is exact. Only a sum of two biases rounds
(once), where the target has room for one. A conversion that would change the network is refused with the
reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from gru_native.activations import ActivationLike, activation
from gru_native.arguments import any_float_array, every, flag, instance, mapping, one_of, text, whole

Array = npt.NDArray[np.floating[Any]]
Concatenation = Literal["xh", "hx"]
BiasForm = Literal["none", "one", "two", "stacked", "concatenated", "four"]

_GATES = "rzn"
_ACTIVATIONS = ("activation", "recurrent_activation")

# Names and beta of functions with 1 - f(x) = f(-x), as the sigmoid.
_SYMMETRIC = (("hard_sigmoid", 0.5), ("linear", 0.5))


@dataclass(frozen=True)
class Convention:
    """How a GRU's weights are written down; the defaults are this package's and PyTorch's way.

    I = input size, H = hidden size. Where weights are kept gate by gate, join them first, in the order of
    `gates`.

    Parameters
    ----------
    gates : str
        The order in which reset gate (r), update gate (z) and candidate (n) are stacked: a permutation of
        "rzn".
    transposed : bool
        False: a gate is a block of rows, (3H, I) and (3H, H). True: of columns, (I, 3H) and (H, 3H).
    concatenated : {"xh", "hx"}, optional
        One matrix acts on input and state side by side, in this order: (3H, I + H), transposed (I + H, 3H).
        None: two matrices.
    bias : {"none", "one", "two", "stacked", "concatenated", "four"}
        "one": (3H). "two": two arrays (3H), of the input's product and of the state's. "stacked": these in
        one (2, 3H). "concatenated": in one (6H). "four": (4H), one bias a gate but two for the candidate: the
        3H in the order of `gates`, of the candidate b_in, and then b_hn.
    reset_after : bool
        True: the reset gate multiplies the product with the state, r * (U h + b). False: it multiplies the
        state, U (r * h) + b. Neither can be expressed by the other.
    update_keeps : bool
        True: z is the part of the old state that stays, h' = z * h + (1 - z) * n. False: the part that is
        replaced, h' = (1 - z) * h + z * n.
    reset_keeps : bool
        True: r is the part of the old state that the candidate sees, r * h. False: (1 - r) * h.
    directions : bool
        Every array has a leading axis of 1 or 2 directions.
    activation, recurrent_activation
        Of the candidate, and of the gates: a name, or a tuple of a name and numbers, see `gru_native.activations`.
    names : tuple of str
        The arrays' names: the two matrices (or the one), then the biases.

    Raises
    ------
    ValueError
        If a field is none of these, `names` has not one name for each array of the weights and of the
        biases, or a gate works the other way round whose activation f has not 1 - f(x) = f(-x).
    """

    gates: str = _GATES
    transposed: bool = False
    concatenated: Concatenation | None = None
    bias: BiasForm = "two"
    reset_after: bool = True
    update_keeps: bool = True
    reset_keeps: bool = True
    directions: bool = False
    activation: ActivationLike = "tanh"
    recurrent_activation: ActivationLike = "sigmoid"
    names: tuple[str, ...] = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

    def __post_init__(self) -> None:
        """Refuse fields that describe no convention."""
        if sorted(text("gates", self.gates)) != sorted(_GATES):
            raise ValueError(f'gates: expected a permutation of "rzn", got {self.gates!r}')
        if self.concatenated is not None:
            one_of("concatenated", self.concatenated, get_args(Concatenation))
        one_of("bias", self.bias, get_args(BiasForm))
        for name in ("transposed", "reset_after", "update_keeps", "reset_keeps", "directions"):
            flag(name, getattr(self, name))
        for name in _ACTIVATIONS:
            object.__setattr__(self, name, activation(name, getattr(self, name)).short)
        gate = activation("recurrent_activation", self.recurrent_activation)
        if self.negated and gate.name != "sigmoid" and (gate.name, gate.beta) not in _SYMMETRIC:
            raise ValueError(
                "recurrent_activation: expected 'sigmoid', or 'hard_sigmoid' or 'linear' with beta 0.5, where a gate "
                f"works the other way round, got {self.recurrent_activation!r}"
            )
        every("names", self.names, text)
        weights = 1 if self.concatenated else 2
        biases = {"none": 0, "two": 2}.get(self.bias, 1)
        if not len(self.names) == len(set(self.names)) == weights + biases:
            raise ValueError(f"names: expected {weights} + {biases}, all different, got {self.names!r}")

    @property
    def weight_names(self) -> tuple[str, ...]:
        """The names of the two matrices, or of the one."""
        return self.names[: 1 if self.concatenated else 2]

    @property
    def bias_names(self) -> tuple[str, ...]:
        """The names of the biases: none, one or two."""
        return self.names[len(self.weight_names) :]

    @property
    def options(self) -> dict[str, Any]:
        """Those of the `GRU` that computes the same."""
        return {name: getattr(self, name) for name in ("reset_after", *_ACTIVATIONS)}

    @property
    def negated(self) -> str:
        """The gates that work the other way round: 1 - f(a) = f(-a)."""
        return "z" * (not self.update_keeps) + "r" * (not self.reset_keeps)


PYTORCH = Convention()
"""torch.nn.GRU and GRUCell, and cuDNN: this package's own."""

KERAS = Convention(gates="zrn", transposed=True, bias="stacked", names=("kernel", "recurrent_kernel", "bias"))
"""keras.layers.GRU as it is by default, reset_after=True."""

KERAS_RESET_BEFORE = replace(KERAS, reset_after=False, bias="one")
"""keras.layers.GRU with reset_after=False."""

KERAS_V1 = replace(KERAS_RESET_BEFORE, recurrent_activation=("hard_sigmoid", 0.2, 0.5))
"""keras.layers.GRU as it was by default in Keras 1, in Keras 2 before 2.3 and in TensorFlow 1: a hard sigmoid."""

PRECISE = replace(KERAS_V1, activation="linear")
"""The GRU of Mycroft's wake word engine Precise."""

RNNOISE = replace(KERAS_RESET_BEFORE, activation="relu", names=("input_weights", "recurrent_weights", "bias"))
"""RNNoise up to 0.1.1, the arrays of its GRULayer: (I, 3H) and (H, 3H) row by row, divided by 256."""

RTNEURAL = replace(KERAS, names=("W", "U", "B"))
"""RTNeural's setWVals, setUVals, setBVals: in this order the arrays of a "gru" layer in its JSON files."""

HASTE = replace(KERAS, bias="two", names=("kernel", "recurrent_kernel", "bias", "recurrent_bias"))
"""LMNT's haste."""

TENSORFLOW_V1 = Convention(transposed=True, concatenated="xh", bias="one", reset_after=False, names=("kernel", "bias"))
"""TensorFlow's tf.nn.rnn_cell.GRUCell: the two gates' kernel (bias) joined with the candidate's."""

ONNX = Convention(gates="zrn", bias="concatenated", reset_after=False, directions=True, names=("W", "R", "B"))
"""The ONNX operator GRU as it is by default, linear_before_reset=0."""

ONNX_LINEAR_BEFORE_RESET = replace(ONNX, reset_after=True)
"""The ONNX operator GRU with linear_before_reset=1."""

OPENVINO = replace(ONNX, bias="one")
"""OpenVINO's GRUSequence as it is by default, linear_before_reset=False."""

OPENVINO_LINEAR_BEFORE_RESET = replace(ONNX, bias="four", reset_after=True)
"""OpenVINO's GRUSequence with linear_before_reset=True."""

CHO_2014 = Convention(bias="none", reset_after=False, names=("W", "U"))
"""Cho et al. 2014, arXiv:1406.1078v3: h' = z * h + (1 - z) * n, reset before, no biases."""

CHUNG_2014 = replace(CHO_2014, update_keeps=False)
"""Chung et al. 2014, arXiv:1412.3555: h' = (1 - z) * h + z * n, reset before, no biases."""

OLAH_2015 = replace(CHUNG_2014, concatenated="hx", names=("W",))
"""Olah 2015, "Understanding LSTM Networks": Chung's cell with W [h, x]."""


def to_native(
    arrays: Mapping[str, npt.ArrayLike],
    convention: Convention,
    *,
    reset_after: bool = True,
    activation: ActivationLike = "tanh",
    recurrent_activation: ActivationLike = "sigmoid",
    layer: int | None = None,
) -> dict[str, Array]:
    """Convert the weights of one layer to this package's convention, which is PyTorch's.

    Parameters
    ----------
    arrays : mapping
        The layer's arrays under `convention.names`, all float32 or all float64. The biases may be left out.
    convention : Convention
        How they are written down.
    reset_after, activation, recurrent_activation
        Those of the GRU that will have the weights. They must be the convention's `options`: no weights make one
        compute the other.
    layer : int, optional
        Name the results as `nn.GRU` does, ``weight_ih_l{layer}``; by default as `nn.GRUCell`, ``weight_ih``.

    Returns
    -------
    dict
        ``weight_ih`` (3H, I), ``weight_hh`` (3H, H) and, if `arrays` had biases, ``bias_ih`` and ``bias_hh``
        (3H): new contiguous arrays of the same dtype. With two directions also those of the second,
        ``weight_ih_reverse``, ...

    Raises
    ------
    ValueError
        If an array is missing, unknown, or of the wrong shape, or the convention is that of another GRU.
    TypeError
        If `arrays` is no mapping, or an array has another dtype than these, or than the others.
    """
    _check_options(_convention(convention), reset_after, activation, recurrent_activation)
    _check_keys("arrays", arrays, convention.names)
    found = _found(arrays, convention)
    directions = _each_direction(found, convention) if convention.directions else [found]
    return {
        name: np.ascontiguousarray(array)
        for own, native in zip(directions, _native(layer), strict=False)
        for name, array in zip(native.names, _parse(own, convention), strict=False)
    }


def from_native(
    weights: Mapping[str, npt.ArrayLike],
    convention: Convention,
    *,
    reset_after: bool = True,
    activation: ActivationLike = "tanh",
    recurrent_activation: ActivationLike = "sigmoid",
    layer: int | None = None,
) -> dict[str, Array]:
    """Convert the weights of one layer from this package's convention, which is PyTorch's.

    Parameters
    ----------
    weights : mapping
        ``weight_ih`` (3H, I), ``weight_hh`` (3H, H) and, unless the layer has none, ``bias_ih`` and
        ``bias_hh`` (3H), all float32 or all float64; for a bidirectional layer also ``weight_ih_reverse``,
        ... With `layer` given, a whole `state_dict`, of which that layer's ``weight_ih_l{layer}``, ... are
        read.
    convention : Convention
        How they are to be written down.
    reset_after, activation, recurrent_activation
        Those of the GRU that the weights were trained in.
    layer : int, optional
        Read ``weight_ih_l{layer}``, ...; by default ``weight_ih``, ...

    Returns
    -------
    dict
        The arrays under `convention.names`, in that order: new contiguous arrays of the same dtype. A layer
        without biases gives none.

    Raises
    ------
    ValueError
        If an array is missing, unknown, or of the wrong shape; and if the convention cannot express the
        layer: it is that of another GRU, has no place for a bias that is not zero, or holds one
        direction of two.
    TypeError
        If `weights` is no mapping, or an array has another dtype than these, or than the others.
    """
    _check_options(_convention(convention), reset_after, activation, recurrent_activation)
    forward, reverse = _native(layer)
    mapping("weights", weights)
    if layer is not None:
        # What else the layer has, such as gains of layer normalization, would be lost.
        suffixes = f"_l{layer}", f"_l{layer}_reverse"
        weights = {name: own for name, own in weights.items() if isinstance(name, str) and name.endswith(suffixes)}
    _check_keys("weights", weights, forward.names + reverse.names)
    bidirectional = any(name in weights for name in reverse.names)
    if bidirectional and not convention.directions:
        raise ValueError(
            f"{reverse.names[0]}: the convention holds one direction; convert each alone, without its suffix"
        )
    natives = (forward, reverse) if bidirectional else (forward,)
    directions = [_parse(_found(weights, native), native) for native in natives]
    first, last = ([(array.shape, array.dtype) for array in one] for one in (directions[0], directions[-1]))
    if first != last:
        raise ValueError(f"{reverse.names[0]}: the two directions differ in their arrays, shapes or dtypes")
    arrays = [_format(one, convention) for one in directions]
    joined = [np.stack(each) for each in zip(*arrays, strict=True)] if convention.directions else arrays[0]
    return {name: np.ascontiguousarray(array) for name, array in zip(convention.names, joined, strict=False)}


def _convention(convention: Convention) -> Convention:
    return instance("convention", convention, Convention, "a Convention, such as KERAS")


def _check_options(
    convention: Convention, reset_after: bool, own: ActivationLike, recurrent_activation: ActivationLike
) -> None:
    """Refuse another GRU than the convention's."""
    given = {"reset_after": flag("reset_after", reset_after), "activation": activation("activation", own).short}
    given["recurrent_activation"] = activation("recurrent_activation", recurrent_activation).short
    for name, expected in convention.options.items():
        if given[name] != expected:
            raise ValueError(
                f"{name}: expected {expected!r}, which the convention has, got {given[name]!r}; "
                "no weights make one compute the other"
            )


def _native(layer: int | None) -> tuple[Convention, Convention]:
    """Our own convention under the names of the forward and of the reverse direction."""
    suffix = "" if layer is None else f"_l{whole('layer', layer, 0)}"
    forward = tuple(name + suffix for name in PYTORCH.names)
    reverse = tuple(name + "_reverse" for name in forward)
    return replace(PYTORCH, names=forward), replace(PYTORCH, names=reverse)


def _parse(own: Mapping[str, Array], convention: Convention) -> list[Array]:
    """One direction's arrays as weight_ih, weight_hh and, if it has biases, bias_ih and bias_hh."""
    weights = _split_weights(own, convention)
    biases = _split_biases(own, convention, hidden=len(weights[1]) // 3)
    return [_restack(array, convention.gates, _GATES, convention.negated) for array in weights + biases]


def _format(native: Sequence[Array], convention: Convention) -> list[Array]:
    """Undo `_parse`: one direction's arrays in the order of the convention's names."""
    restacked = [_restack(array, _GATES, convention.gates, convention.negated) for array in native]
    return _join_weights(restacked[:2], convention) + _join_biases(restacked[2:], convention)


def _restack(stacked: Array, source: str, target: str, negated: str) -> Array:
    """Put the three gates' blocks along axis 0 into another order, some of them negated."""
    block = dict(zip(source, np.split(stacked, 3), strict=True))
    return np.concatenate([-block[gate] if gate in negated else block[gate] for gate in target])


def _split_weights(own: Mapping[str, Array], convention: Convention) -> list[Array]:
    """Give the matrices (3H, I) and (3H, H), still in the convention's gates."""
    matrices = []
    for name in convention.weight_names:
        _require(own[name].ndim == 2, name, "2 dimensions", own[name])
        matrices.append(own[name].T if convention.transposed else own[name])
    rows, columns = matrices[-1].shape
    hidden = rows // 3

    if convention.concatenated:
        layout = "(I + H, 3H)" if convention.transposed else "(3H, I + H)"
        name, matrix = convention.names[0], matrices[0]
        _require(rows == 3 * hidden and columns >= hidden, name, f"shape {layout}", own[name])
        if convention.concatenated == "hx":
            return [matrix[:, hidden:], matrix[:, :hidden]]
        return [matrix[:, : columns - hidden], matrix[:, columns - hidden :]]

    layouts = ("(I, 3H)", "(H, 3H)") if convention.transposed else ("(3H, I)", "(3H, H)")
    weight_ih, weight_hh = convention.weight_names
    _require(rows == 3 * columns, weight_hh, f"shape {layouts[1]}", own[weight_hh])
    _require(len(matrices[0]) == rows, weight_ih, f"shape {layouts[0]} with H = {hidden}", own[weight_ih])
    return matrices


def _join_weights(pair: Sequence[Array], convention: Convention) -> list[Array]:
    weight_ih, weight_hh = pair
    if convention.concatenated == "xh":
        matrices = [np.concatenate([weight_ih, weight_hh], axis=1)]
    elif convention.concatenated == "hx":
        matrices = [np.concatenate([weight_hh, weight_ih], axis=1)]
    else:
        matrices = [weight_ih, weight_hh]
    return [matrix.T if convention.transposed else matrix for matrix in matrices]


def _split_biases(own: Mapping[str, Array], convention: Convention, hidden: int) -> list[Array]:
    """Give the biases of either product, (3H) each, still in the convention's gates; or none."""
    biases = [own[name] for name in convention.bias_names if name in own]
    shapes = {"stacked": (2, 3 * hidden), "concatenated": (6 * hidden,), "four": (4 * hidden,)}
    shape = shapes.get(convention.bias, (3 * hidden,))
    for name, bias in zip(convention.bias_names, biases, strict=False):
        _require(bias.shape == shape, name, f"shape {shape} with H = {hidden}", bias)
    if not biases or convention.bias == "two":
        return biases
    (bias,) = biases
    if convention.bias in ("stacked", "concatenated"):
        return list(bias.reshape(2, 3 * hidden))
    bias_hh = np.zeros(3 * hidden, dtype=bias.dtype)
    if convention.bias == "four":
        bias_hh[_candidate(convention, hidden)] = bias[3 * hidden :]
    return [bias[: 3 * hidden], bias_hh]


def _join_biases(pair: Sequence[Array], convention: Convention) -> list[Array]:
    if not pair or convention.bias == "two":
        return list(pair)
    if convention.bias == "stacked":
        return [np.stack(pair)]
    if convention.bias == "concatenated":
        return [np.concatenate(pair)]
    bias_ih, bias_hh = pair
    if convention.bias == "none":
        if bias_ih.any() or bias_hh.any():
            raise ValueError("bias_ih, bias_hh: the convention has no biases, and these are not all zero")
        return []

    candidate = _candidate(convention, len(bias_hh) // 3)
    b_hn, total = bias_hh[candidate], bias_ih + bias_hh
    if convention.bias == "four":
        total[candidate] = bias_ih[candidate]
        return [np.concatenate([total, b_hn])]
    if convention.reset_after and b_hn.any():
        raise ValueError(
            "bias_hh: the convention's one bias has no place for b_hn where r multiplies the product, "
            f"r * (U h + b_hn): expected zeros, got values up to {np.abs(b_hn).max():.3g}"
        )
    return [total]


def _candidate(convention: Convention, hidden: int) -> slice:
    start = convention.gates.index("n") * hidden
    return slice(start, start + hidden)


def _found(arrays: Mapping[str, npt.ArrayLike], convention: Convention) -> dict[str, Array]:
    """Those of the convention's arrays that are there, all of one dtype; biases are all there or none is."""
    with_biases = any(name in arrays for name in convention.bias_names)
    found: dict[str, Array] = {}
    for name in convention.names if with_biases else convention.weight_names:
        if name not in arrays:
            raise ValueError(f"{name}: missing; there are {', '.join(arrays) or 'no arrays'}")
        found[name] = array = any_float_array(name, arrays[name])
        first = found[convention.names[0]]
        if array.dtype != first.dtype:
            raise TypeError(f"{name}: expected {first.dtype} as {convention.names[0]} has, got {array.dtype}")
    return found


def _each_direction(found: Mapping[str, Array], convention: Convention) -> list[dict[str, Array]]:
    directions = len(next(iter(found.values()))) if all(array.ndim for array in found.values()) else 0
    for name, array in found.items():
        fits = directions in (1, 2) and len(array) == directions
        _require(fits, name, "a leading axis of 1 or 2 directions, the same in every array", array)
    return [{name: array[direction] for name, array in found.items()} for direction in range(directions)]


def _check_keys(argument: str, arrays: Mapping[str, npt.ArrayLike], names: Collection[str]) -> None:
    unknown = [name for name in mapping(argument, arrays) if name not in names]
    if unknown:
        raise ValueError(f"{unknown[0]}: unknown name; expected {', '.join(names)}")


def _require(fits: bool, name: str, expected: str, array: Array) -> None:
    if not fits:
        raise ValueError(f"{name}: expected {expected}, got shape {array.shape}")
