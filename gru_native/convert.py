"""Weights in other conventions, to and from this package's.

Libraries and papers agree on what a GRU, an LSTM or a plain network is and on nothing about how it is written down:
the order of the gates, rows or columns, one bias or two, which way round a gate works, and what stands for sigmoid and
tanh. A `Convention` says all of that; `to_native` and `from_native` translate. They need nothing but NumPy::

    gru = gn.nn.GRU(input_size, hidden_size, **KERAS.options)
    gru.load_state_dict(to_native(dict(zip(KERAS.names, layer.get_weights())), KERAS, layer=0))
    layer.set_weights(list(from_native(gru.state_dict(), KERAS, layer=0).values()))

Both have to be told what the layer computes, where it is not PyTorch's::

    gru = gn.nn.GRU(input_size, hidden_size, **KERAS_V1.options)
    gru.load_state_dict(to_native(arrays, KERAS_V1, layer=0, **KERAS_V1.options))

A conversion permutes, transposes, splits and negates, all of which is exact. Only a sum of two biases rounds
(once), where the target has room for one. A conversion that would change the network is refused with the
reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from gru_native.activations import ActivationLike, activation
from gru_native.arguments import any_float_array, every, flag, instance, mapping, one_of, text, whole

Array = npt.NDArray[np.floating[Any]]
Concatenation = Literal["xh", "hx"]
BiasForm = Literal["none", "one", "two", "stacked", "concatenated", "four"]

# In our order; the plain network has one gate, its candidate.
_GATES = {"gru": "rzn", "lstm": "ifgo", "rnn": "h"}
_PEEPHOLES = "ifo"
_WEIGHTS, _BIASES, _PEEPHOLE = ("weight_ih", "weight_hh"), ("bias_ih", "bias_hh"), ("peephole",)
_ACTIVATIONS = ("activation", "recurrent_activation")
_OF_GRU = ("reset_after", "update_keeps", "reset_keeps")

# Names and beta of functions with 1 - f(x) = f(-x), as the sigmoid.
_SYMMETRIC = (("hard_sigmoid", 0.5), ("linear", 0.5))


@dataclass(frozen=True)
class Convention:
    """How the weights of a GRU, an LSTM or a plain network are written down; the defaults are PyTorch's GRU, and ours.

    I = input size, H = hidden size, G = number of gates. Where weights are kept gate by gate, join them first, in the
    order of `gates`.

    Parameters
    ----------
    gates : str
        The cell, and the order in which its gates are stacked. A permutation of "rzn" is a GRU's reset gate, update
        gate and candidate; of "ifgo" an LSTM's input gate, forget gate, candidate and output gate; "h" is a plain
        network.
    transposed : bool
        False: a gate is a block of rows, (GH, I) and (GH, H). True: of columns, (I, GH) and (H, GH).
    concatenated : {"xh", "hx"}, optional
        One matrix acts on input and state side by side, in this order: (GH, I + H), transposed (I + H, GH).
        None: two matrices.
    bias : {"none", "one", "two", "stacked", "concatenated", "four"}
        "one": (GH). "two": two arrays (GH), of the input's product and of the state's. "stacked": these in
        one (2, GH). "concatenated": in one (2GH). "four", of a GRU: (4H), one bias a gate but two for the candidate:
        the 3H in the order of `gates`, of the candidate b_in, and then b_hn.
    peepholes : str
        Of an LSTM whose gates see c: the order in which the vectors of i, f and o are stacked, (3H), a permutation of
        "ifo". "": there are none.
    reset_after : bool
        Of a GRU, as the next two. True: the reset gate multiplies the product with the state, r * (U h + b). False: it
        multiplies the state, U (r * h) + b. Neither can be expressed by the other.
    update_keeps : bool
        True: z is the part of the old state that stays, h' = z * h + (1 - z) * n. False: the part that is
        replaced, h' = (1 - z) * h + z * n.
    reset_keeps : bool
        True: r is the part of the old state that the candidate sees, r * h. False: (1 - r) * h.
    directions : bool
        Every array has a leading axis of 1 or 2 directions.
    activation, recurrent_activation
        Of the candidate (and of an LSTM's c'), and of the gates: a name, or a tuple of a name and numbers, see
        `gru_native.activations`.
    names : tuple of str
        The arrays' names: the two matrices (or the one), then the biases, then the peepholes.

    Raises
    ------
    ValueError
        If a field is none of these, or not the cell's, `names` has not one name for each array, or a gate works the
        other way round whose activation f has not 1 - f(x) = f(-x).
    """

    gates: str = _GATES["gru"]
    transposed: bool = False
    concatenated: Concatenation | None = None
    bias: BiasForm = "two"
    peepholes: str = ""
    reset_after: bool = True
    update_keeps: bool = True
    reset_keeps: bool = True
    directions: bool = False
    activation: ActivationLike = "tanh"
    recurrent_activation: ActivationLike = "sigmoid"
    names: tuple[str, ...] = _WEIGHTS + _BIASES

    def __post_init__(self) -> None:
        """Refuse fields that describe no convention."""
        if sorted(text("gates", self.gates)) not in map(sorted, _GATES.values()):
            raise ValueError(f'gates: expected "h" or a permutation of "rzn" or "ifgo", got {self.gates!r}')
        if self.concatenated is not None:
            one_of("concatenated", self.concatenated, get_args(Concatenation))
        one_of("bias", self.bias, get_args(BiasForm))
        if sorted(text("peepholes", self.peepholes)) not in ([], sorted(_PEEPHOLES)):
            raise ValueError(f'peepholes: expected "" or a permutation of "ifo", got {self.peepholes!r}')
        for name in ("transposed", *_OF_GRU, "directions"):
            flag(name, getattr(self, name))
        for name in _ACTIVATIONS:
            object.__setattr__(self, name, activation(name, getattr(self, name)).short)
        gate = activation("recurrent_activation", self.recurrent_activation)
        if self.negated and gate.name != "sigmoid" and (gate.name, gate.beta) not in _SYMMETRIC:
            raise ValueError(
                "recurrent_activation: expected 'sigmoid', or 'hard_sigmoid' or 'linear' with beta 0.5, where a gate "
                f"works the other way round, got {self.recurrent_activation!r}"
            )
        self._refuse_fields_of_other_cells()
        every("names", self.names, text)
        weights, biases, peepholes = self._counts
        if not len(self.names) == len(set(self.names)) == weights + biases + peepholes:
            raise ValueError(f"names: expected {weights} + {biases} + {peepholes}, all different, got {self.names!r}")

    def _refuse_fields_of_other_cells(self) -> None:
        foreign = () if self.cell == "gru" else (*_OF_GRU, *(["bias"] if self.bias == "four" else []))
        foreign += () if self.cell == "lstm" else ("peepholes",)
        foreign += ("recurrent_activation",) if self.cell == "rnn" else ()
        for name in foreign:
            if getattr(self, name) != (usual := type(self).__dataclass_fields__[name].default):
                raise ValueError(f"{name}: expected {usual!r} for gates {self.gates!r}, got {getattr(self, name)!r}")

    @property
    def _counts(self) -> tuple[int, int, int]:
        """How many arrays there are of weights, biases and peepholes."""
        return 1 if self.concatenated else 2, {"none": 0, "two": 2}.get(self.bias, 1), 1 if self.peepholes else 0

    @property
    def cell(self) -> str:
        """Which cell it is: "gru", "lstm" or "rnn"."""
        return next(cell for cell, gates in _GATES.items() if sorted(gates) == sorted(self.gates))

    @property
    def weight_names(self) -> tuple[str, ...]:
        """The names of the two matrices, or of the one."""
        return self.names[: self._counts[0]]

    @property
    def bias_names(self) -> tuple[str, ...]:
        """The names of the biases: none, one or two."""
        return self.names[len(self.weight_names) :][: self._counts[1]]

    @property
    def peephole_names(self) -> tuple[str, ...]:
        """The name of the peepholes, or none."""
        return self.names[len(self.names) - self._counts[2] :]

    @property
    def options(self) -> dict[str, Any]:
        """Those of the `GRU`, `LSTM` or `RNN` that computes the same."""
        if self.cell == "rnn":
            return {"nonlinearity": self.activation}
        names = ("reset_after", *_ACTIVATIONS) if self.cell == "gru" else _ACTIVATIONS
        return {name: getattr(self, name) for name in names}

    @property
    def negated(self) -> str:
        """The gates that work the other way round: 1 - f(a) = f(-a)."""
        return "z" * (not self.update_keeps) + "r" * (not self.reset_keeps)


PYTORCH = Convention()
"""torch.nn.GRU and GRUCell, and cuDNN: this package's own."""

PYTORCH_LSTM = Convention(gates="ifgo")
"""torch.nn.LSTM and LSTMCell, and cuDNN: this package's own."""

PYTORCH_RNN = Convention(gates="h")
"""torch.nn.RNN and RNNCell, and cuDNN: this package's own."""

KERAS = Convention(gates="zrn", transposed=True, bias="stacked", names=("kernel", "recurrent_kernel", "bias"))
"""keras.layers.GRU as it is by default, reset_after=True."""

KERAS_RESET_BEFORE = replace(KERAS, reset_after=False, bias="one")
"""keras.layers.GRU with reset_after=False."""

KERAS_V1 = replace(KERAS_RESET_BEFORE, recurrent_activation=("hard_sigmoid", 0.2, 0.5))
"""keras.layers.GRU as it was by default in Keras 1, in Keras 2 before 2.3 and in TensorFlow 1: a hard sigmoid."""

KERAS_LSTM = replace(KERAS, gates="ifgo", bias="one")
"""keras.layers.LSTM as it is by default."""

KERAS_V1_LSTM = replace(KERAS_LSTM, recurrent_activation=("hard_sigmoid", 0.2, 0.5))
"""keras.layers.LSTM as it was by default in Keras 1, in Keras 2 before 2.3 and in TensorFlow 1."""

KERAS_RNN = replace(KERAS, gates="h", bias="one")
"""keras.layers.SimpleRNN."""

PRECISE = replace(KERAS_V1, activation="linear")
"""The GRU of Mycroft's wake word engine Precise."""

RNNOISE = replace(KERAS_RESET_BEFORE, activation="relu", names=("input_weights", "recurrent_weights", "bias"))
"""RNNoise up to 0.1.1, the arrays of its GRULayer: (I, 3H) and (H, 3H) row by row, divided by 256."""

RTNEURAL = replace(KERAS, names=("W", "U", "B"))
"""RTNeural's setWVals, setUVals, setBVals: in this order the arrays of a "gru" layer in its JSON files."""

RTNEURAL_LSTM = replace(KERAS_LSTM, names=("W", "U", "B"))
"""The same of an "lstm" layer. RTNeural has no plain recurrent layer."""

FLAX = Convention(transposed=True, bias="four", names=("kernel", "recurrent_kernel", "bias"))
"""flax.linen.GRUCell: the kernels of ir, iz, in, those of hr, hz, hn, and the biases of ir, iz, in, hn, joined."""

FLAX_LSTM = replace(FLAX, gates="ifgo", bias="one")
"""flax.linen.LSTMCell and OptimizedLSTMCell: the kernels of ii, if, ig, io, those of hi, hf, hg, ho, and the latter's
biases, joined."""

FLAX_RNN = replace(FLAX, gates="h", bias="one")
"""flax.linen.SimpleCell: the kernels of i and of h, and the bias of i."""

HASTE = replace(KERAS, bias="two", names=("kernel", "recurrent_kernel", "bias", "recurrent_bias"))
"""LMNT's haste."""

TENSORFLOW_V1 = Convention(transposed=True, concatenated="xh", bias="one", reset_after=False, names=("kernel", "bias"))
"""TensorFlow's tf.nn.rnn_cell.GRUCell: the two gates' kernel (bias) joined with the candidate's."""

ONNX = Convention(gates="zrn", bias="concatenated", reset_after=False, directions=True, names=("W", "R", "B"))
"""The ONNX operator GRU as it is by default, linear_before_reset=0."""

ONNX_LINEAR_BEFORE_RESET = replace(ONNX, reset_after=True)
"""The ONNX operator GRU with linear_before_reset=1."""

ONNX_LSTM = replace(ONNX, gates="iofg", reset_after=True, peepholes="iof", names=("W", "R", "B", "P"))
"""The ONNX operator LSTM; with input_forget=1 the layer has that option, too."""

ONNX_RNN = replace(ONNX, gates="h", reset_after=True)
"""The ONNX operator RNN as it is by default."""

OPENVINO = replace(ONNX, bias="one")
"""OpenVINO's GRUSequence as it is by default, linear_before_reset=False."""

OPENVINO_LINEAR_BEFORE_RESET = replace(ONNX, bias="four", reset_after=True)
"""OpenVINO's GRUSequence with linear_before_reset=True."""

OPENVINO_LSTM = replace(ONNX_RNN, gates="figo", bias="one")
"""OpenVINO's LSTMSequence."""

OPENVINO_RNN = replace(ONNX_RNN, bias="one")
"""OpenVINO's RNNSequence."""

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
    nonlinearity: ActivationLike = "tanh",
    layer: int | None = None,
) -> dict[str, Array]:
    """Convert the weights of one layer to this package's convention, which is PyTorch's.

    Parameters
    ----------
    arrays : mapping
        The layer's arrays under `convention.names`, all float32 or all float64. The biases may be left out, and so may
        the peepholes.
    convention : Convention
        How they are written down.
    reset_after, activation, recurrent_activation, nonlinearity
        Those of the layer that will have the weights, as far as its cell has them. They must be the convention's
        `options`: no weights make one compute the other.
    layer : int, optional
        Name the results as `nn.GRU` does, ``weight_ih_l{layer}``; by default as `nn.GRUCell`, ``weight_ih``.

    Returns
    -------
    dict
        ``weight_ih`` (GH, I), ``weight_hh`` (GH, H) and, if `arrays` had them, ``bias_ih`` and ``bias_hh`` (GH) and
        ``peephole`` (3, H): new contiguous arrays of the same dtype. With two directions also those of the second,
        ``weight_ih_reverse``, ...

    Raises
    ------
    ValueError
        If an array is missing, unknown, or of the wrong shape, or the convention is that of another layer.
    TypeError
        If `arrays` is no mapping, or an array has another dtype than these, or than the others.
    """
    _check_options(_convention(convention), reset_after, activation, recurrent_activation, nonlinearity)
    _check_keys("arrays", arrays, convention.names)
    found = _found(arrays, convention)
    directions = _each_direction(found, convention) if convention.directions else [found]
    return {
        name: np.ascontiguousarray(array.reshape(3, -1) if name in native.peephole_names else array)
        for own, native in zip(directions, _natives(convention, layer), strict=False)
        for name, array in _format(_parse(own, convention), native).items()
    }


def from_native(
    weights: Mapping[str, npt.ArrayLike],
    convention: Convention,
    *,
    reset_after: bool = True,
    activation: ActivationLike = "tanh",
    recurrent_activation: ActivationLike = "sigmoid",
    nonlinearity: ActivationLike = "tanh",
    layer: int | None = None,
) -> dict[str, Array]:
    """Convert the weights of one layer from this package's convention, which is PyTorch's.

    Parameters
    ----------
    weights : mapping
        ``weight_ih`` (GH, I), ``weight_hh`` (GH, H) and, unless the layer has none, ``bias_ih`` and ``bias_hh`` (GH)
        and ``peephole`` (3, H), all float32 or all float64; for a bidirectional layer also ``weight_ih_reverse``, ...
        With `layer` given, a whole `state_dict`, of which that layer's ``weight_ih_l{layer}``, ... are read.
    convention : Convention
        How they are to be written down.
    reset_after, activation, recurrent_activation, nonlinearity
        Those of the layer that the weights were trained in, as far as its cell has them.
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
        layer: it is that of another one, has no place for a bias that is not zero, or holds one direction of two.
    TypeError
        If `weights` is no mapping, or an array has another dtype than these, or than the others.
    """
    _check_options(_convention(convention), reset_after, activation, recurrent_activation, nonlinearity)
    forward, reverse = _natives(convention, layer)
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
    first, *others = ({name: (own.shape, own.dtype) for name, own in one.items()} for one in directions)
    if any(other != first for other in others):
        raise ValueError(f"{reverse.names[0]}: the two directions differ in their arrays, shapes or dtypes")
    arrays = [_format(one, convention) for one in directions]
    if not convention.directions:
        return {name: np.ascontiguousarray(array) for name, array in arrays[0].items()}
    return {name: np.ascontiguousarray(np.stack([own[name] for own in arrays])) for name in arrays[0]}


def _convention(convention: Convention) -> Convention:
    return instance("convention", convention, Convention, "a Convention, such as KERAS")


def _check_options(
    convention: Convention,
    reset_after: bool,
    own: ActivationLike,
    recurrent_activation: ActivationLike,
    nonlinearity: ActivationLike,
) -> None:
    """Refuse another layer than the convention's; what its cell does not have is as by default."""
    given: dict[str, Any] = {"reset_after": flag("reset_after", reset_after)}
    activations = {"activation": own, "recurrent_activation": recurrent_activation, "nonlinearity": nonlinearity}
    given |= {name: activation(name, value).short for name, value in activations.items()}
    for name, expected in (PYTORCH.options | PYTORCH_RNN.options | convention.options).items():
        if given[name] != expected:
            raise ValueError(
                f"{name}: expected {expected!r}, which the convention has, got {given[name]!r}; "
                "no weights make one compute the other"
            )


def _natives(convention: Convention, layer: int | None) -> tuple[Convention, Convention]:
    """Our own convention for the same cell, under the names of the forward and of the reverse direction."""
    suffix = "" if layer is None else f"_l{whole('layer', layer, 0)}"
    peepholes = _PEEPHOLES if convention.peepholes else ""
    bases = _WEIGHTS + _BIASES + (_PEEPHOLE if peepholes else ())
    forward = tuple(name + suffix for name in bases)
    own = Convention(gates=_GATES[convention.cell], peepholes=peepholes, names=forward)
    return own, replace(own, names=tuple(name + "_reverse" for name in forward))


def _parse(own: Mapping[str, Array], convention: Convention) -> dict[str, Array]:
    """One direction's arrays in our gates: weight_ih, weight_hh and, if there are, biases and peepholes (3H)."""
    weights = _split_weights(own, convention)
    hidden = len(weights[1]) // len(convention.gates)
    arrays = dict(zip(_WEIGHTS + _BIASES, weights + _split_biases(own, convention, hidden), strict=False))
    native = {
        name: _restack(array, convention.gates, _GATES[convention.cell], convention.negated)
        for name, array in arrays.items()
    }
    for name in convention.peephole_names:
        if name in own:
            _require(own[name].shape in ((3 * hidden,), (3, hidden)), name, f"shape {(3 * hidden,)}", own[name])
            native["peephole"] = _restack(own[name].reshape(-1), convention.peepholes, _PEEPHOLES)
    return native


def _format(native: Mapping[str, Array], convention: Convention) -> dict[str, Array]:
    """Undo `_parse`: one direction's arrays under the convention's names."""
    weights, biases = (
        [
            _restack(native[name], _GATES[convention.cell], convention.gates, convention.negated)
            for name in names
            if name in native
        ]
        for names in (_WEIGHTS, _BIASES)
    )
    arrays = dict(zip(convention.weight_names, _join_weights(weights, convention), strict=True))
    arrays |= zip(convention.bias_names, _join_biases(biases, convention), strict=False)
    for name in convention.peephole_names:
        if "peephole" in native:
            arrays[name] = _restack(native["peephole"], _PEEPHOLES, convention.peepholes)
    return arrays


def _restack(stacked: Array, source: str, target: str, negated: str = "") -> Array:
    """Put the gates' blocks along axis 0 into another order, some of them negated."""
    block = dict(zip(source, np.split(stacked, len(source)), strict=True))
    return np.concatenate([-block[gate] if gate in negated else block[gate] for gate in target])


def _split_weights(own: Mapping[str, Array], convention: Convention) -> list[Array]:
    """Give the matrices (GH, I) and (GH, H), still in the convention's gates."""
    matrices = []
    for name in convention.weight_names:
        _require(own[name].ndim == 2, name, "2 dimensions", own[name])
        matrices.append(own[name].T if convention.transposed else own[name])
    rows, columns = matrices[-1].shape
    gates = len(convention.gates)
    hidden, stacked = rows // gates, f"{gates}H" if gates > 1 else "H"

    def layout(inputs: str) -> str:
        return f"shape ({inputs}, {stacked})" if convention.transposed else f"shape ({stacked}, {inputs})"

    if convention.concatenated:
        name, matrix = convention.names[0], matrices[0]
        _require(rows == gates * hidden and columns >= hidden, name, layout("I + H"), own[name])
        if convention.concatenated == "hx":
            return [matrix[:, hidden:], matrix[:, :hidden]]
        return [matrix[:, : columns - hidden], matrix[:, columns - hidden :]]

    weight_ih, weight_hh = convention.weight_names
    _require(rows == gates * columns, weight_hh, layout("H"), own[weight_hh])
    _require(len(matrices[0]) == rows, weight_ih, f"{layout('I')} with H = {hidden}", own[weight_ih])
    return matrices


def _join_weights(pair: list[Array], convention: Convention) -> list[Array]:
    weight_ih, weight_hh = pair
    if convention.concatenated == "xh":
        matrices = [np.concatenate([weight_ih, weight_hh], axis=1)]
    elif convention.concatenated == "hx":
        matrices = [np.concatenate([weight_hh, weight_ih], axis=1)]
    else:
        matrices = [weight_ih, weight_hh]
    return [matrix.T if convention.transposed else matrix for matrix in matrices]


def _split_biases(own: Mapping[str, Array], convention: Convention, hidden: int) -> list[Array]:
    """Give the biases of either product, (GH) each, still in the convention's gates; or none."""
    biases, rows = [own[name] for name in convention.bias_names if name in own], len(convention.gates) * hidden
    shapes = {"stacked": (2, rows), "concatenated": (2 * rows,), "four": (rows + hidden,)}
    shape = shapes.get(convention.bias, (rows,))
    for name, bias in zip(convention.bias_names, biases, strict=False):
        _require(bias.shape == shape, name, f"shape {shape} with H = {hidden}", bias)
    if not biases or convention.bias == "two":
        return biases
    (bias,) = biases
    if convention.bias in ("stacked", "concatenated"):
        return list(bias.reshape(2, rows))
    bias_hh = np.zeros(rows, dtype=bias.dtype)
    if convention.bias == "four":
        bias_hh[_candidate(convention, hidden)] = bias[rows:]
    return [bias[:rows], bias_hh]


def _join_biases(pair: list[Array], convention: Convention) -> list[Array]:
    if not pair or convention.bias == "two":
        return pair
    if convention.bias == "stacked":
        return [np.stack(pair)]
    if convention.bias == "concatenated":
        return [np.concatenate(pair)]
    bias_ih, bias_hh = pair
    if convention.bias == "none":
        if bias_ih.any() or bias_hh.any():
            raise ValueError("bias_ih, bias_hh: the convention has no biases, and these are not all zero")
        return []

    total = bias_ih + bias_hh
    if convention.cell != "gru":
        return [total]
    candidate = _candidate(convention, len(bias_hh) // 3)
    b_hn = bias_hh[candidate]
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
    names = convention.weight_names + (convention.bias_names if with_biases else ())
    found: dict[str, Array] = {}
    for name in names + tuple(name for name in convention.peephole_names if name in arrays):
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
