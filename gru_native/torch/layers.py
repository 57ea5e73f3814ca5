"""``GRU``, ``LSTM`` and ``RNN`` of PyTorch, computed by this package."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy
from torch.nn.utils.rnn import PackedSequence

from gru_native._layer import Unfit
from gru_native.arguments import number, shown
from gru_native.torch.gru import OfGRU
from gru_native.torch.module import Accelerated, pair
from gru_native.torch.tracing import untraced


class _Stack(Accelerated):
    """A stack of layers; a subclass stands before PyTorch's."""

    zoneout: float = 0.0
    recurrent_dropout: float = 0.0

    def __init__(self, *arguments: Any, recurrent_dropout: float = 0.0, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.recurrent_dropout = number("recurrent_dropout", recurrent_dropout, most=1.0)

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Any, Any]:
        if isinstance(input, Proxy):
            return self._traced(input, hx, lengths=lengths, reset=reset)
        if lengths is not None or reset is not None:
            lengths, reset = _checked(lengths, reset)
        is_packed = isinstance(input, PackedSequence)
        try:
            return self._packed(input, hx, lengths, reset) if is_packed else self._stacked(input, hx, lengths, reset)
        except Unfit as error:
            why = str(error)
        return self._leave_to_torch(why, input, hx, lengths=lengths, reset=reset)

    def _stacked(self, x: Tensor, hx: Any, lengths: Tensor | None, reset: Tensor | None) -> tuple[Tensor, Any]:
        steps_axis, batch_axis = (0, -1) if x.dim() == 2 else (1, 0) if self.batch_first else (0, 1)
        h_0, c_0 = (None, None) if hx is None else self._parts(hx)
        options, seed = self._options(x, steps_axis, batch_axis)
        output, h_n, c_n = self._run((x, h_0, c_0, lengths, reset, seed), options)
        return output, (h_n, c_n) if self.mode == "LSTM" else h_n

    def _parts(self, hx: Any) -> tuple[Tensor, Tensor | None]:
        return pair(hx) if self.mode == "LSTM" else (hx, None)

    def _options(self, x: Tensor, steps_axis: int, batch_axis: int) -> tuple[tuple[Any, ...], Tensor | None]:
        """Return the options of a call, and a seed of PyTorch's generator where something is drawn here."""
        own = self._cell, self.num_layers, self.bidirectional, self.bias, steps_axis, batch_axis
        if not self.training:
            return (*own, 0.0, 0.0, self.zoneout), None
        noise = self.dropout if self.num_layers > 1 else 0.0, self.recurrent_dropout, self.zoneout
        return (*own, *noise), torch.randint(2**63 - 1, (), device="cpu") if any(noise) and self._computes(x) else None

    @untraced
    def _packed(
        self, packed: PackedSequence, hx: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[PackedSequence, Any]:
        data, batch_sizes, order, back = packed
        if lengths is not None:
            raise ValueError("lengths: expected None for a PackedSequence, which has them, got some")
        if not self._computes(data):
            raise Unfit(f"input: expected float32 or float64 on the CPU, without autocast, got {data.dtype}")
        if hx is not None:
            hx = self.permute_hidden(hx, order)
            self.check_forward_args(data, hx, batch_sizes)
        else:
            self.check_input(data, batch_sizes)
        if reset is not None:
            shape = (len(batch_sizes), int(batch_sizes[0]))
            shape = shape[::-1] if self.batch_first else shape
            if reset.shape != shape:
                axes = "(B, T)" if self.batch_first else "(T, B)"
                raise ValueError(f"reset: expected shape {axes} = {shape}, got {tuple(reset.shape)}")
            reset = reset.transpose(0, 1) if self.batch_first else reset
            reset = reset if order is None else reset.index_select(1, order)
        x, sizes = torch._VF._pad_packed_sequence(data, batch_sizes, False, 0.0, len(batch_sizes))
        h_0, c_0 = (None, None) if hx is None else self._parts(hx)
        options, seed = self._options(data, 0, 1)
        output, h_n, c_n = self._run((x, h_0, c_0, sizes, reset, seed), options)
        data, _ = torch._VF._pack_padded_sequence(output, sizes, False)
        final = self.permute_hidden((h_n, c_n) if self.mode == "LSTM" else h_n, back)
        return PackedSequence(data, batch_sizes, order, back), final

    def _of_weights(self) -> tuple[str, int, bool, bool]:
        return self._cell, self.num_layers, self.bidirectional, self.bias

    def beyond_torch(self) -> dict[str, Any]:
        own = {"zoneout": self.zoneout, "recurrent_dropout": self.recurrent_dropout}
        return {name: value for name, value in own.items() if value}


class _Zoned(_Stack):
    """A stack of cells of one state, which may keep it."""

    def __init__(self, *arguments: Any, zoneout: float = 0.0, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.zoneout = number("zoneout", zoneout, most=1.0)


class GRU(OfGRU, _Zoned, torch.nn.GRU):
    """`torch.nn.GRU`, computed by this package, and with more options.

    Constructor, parameters, call and errors are PyTorch's; gradients are those of the input, the first state and the
    parameters. Inputs of other dtypes than float32 and float64, of other devices than the CPU and under autocast are
    computed by PyTorch.

    Parameters
    ----------
    *arguments, **named
        Those of `torch.nn.GRU`.
    zoneout
        In training, the probability that a unit keeps its state in a step; else the share of the state that is kept
        (Krueger et al. 2017).
    recurrent_dropout
        In training, the probability that a unit of the state is hidden from the hidden weights, the same ones in all
        steps (Gal and Ghahramani 2016).
    layer_norm
        Whether ``W x`` and ``U h`` are normalized over all gates (Ba et al. 2016), with gains ``gamma_ih_l0`` and
        ``gamma_hh_l0`` (3H), and so on.
    reset_after
        ``n = tanh(W_n x + b_in + r * (U_n h + b_hn))`` as PyTorch, or with ``False``
        ``n = tanh(W_n x + b_in + U_n (r * h) + b_hn)`` (Cho et al. 2014).

    Notes
    -----
    A call has two more arguments:

    lengths
        (B) whole numbers, 0 to T, in any order: the steps of each row. What is behind them is padding, which is not
        read, and zero in the output; the last state is that of each row's last step.
    reset
        (T, B) of bool, or (B, T) with `batch_first`: the first steps of episodes. No state passes into them from the
        step before, and no gradient back. Done flags come a step earlier: the reset of a step is the done flag of the
        step before, ``reset[1:] = done[:-1]``, and ``reset[0]`` the done flag of the last step of the piece before.

    What is drawn, is drawn by a seed from PyTorch's generator: `torch.manual_seed` repeats it.
    """

    def __init__(
        self,
        *arguments: Any,
        zoneout: float = 0.0,
        recurrent_dropout: float = 0.0,
        layer_norm: bool = False,
        reset_after: bool = True,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, zoneout=zoneout, recurrent_dropout=recurrent_dropout, **named)
        self._choose(layer_norm, reset_after)


class LSTM(_Stack, torch.nn.LSTM):
    """`torch.nn.LSTM`, computed by this package; see `GRU`. It has no zoneout.

    Parameters
    ----------
    *arguments, **named
        Those of `torch.nn.LSTM`.
    recurrent_dropout
        As of `GRU`.
    """

    @property
    def _cell(self) -> str:
        return "lstm"


class RNN(_Zoned, torch.nn.RNN):
    """`torch.nn.RNN`, computed by this package; see `GRU`.

    Parameters
    ----------
    *arguments, **named
        Those of `torch.nn.RNN`.
    zoneout, recurrent_dropout
        As of `GRU`.
    """

    @property
    def _cell(self) -> str:
        return "rnn_relu" if self.mode == "RNN_RELU" else "rnn_tanh"


def _checked(lengths: Any, reset: Any) -> tuple[Tensor | None, Tensor | None]:
    if lengths is not None:
        lengths = _tensor("lengths", lengths, "whole numbers")
        kind = lengths.dtype
        if (kind.is_floating_point and lengths.numel() > 0) or kind.is_complex or kind is torch.bool:
            raise TypeError(f"lengths: expected whole numbers, got {kind}")
        lengths = lengths.to(torch.int64)
    if reset is not None:
        reset = _tensor("reset", reset, "bool")
        if reset.dtype is not torch.bool:
            raise TypeError(f"reset: expected bool, got {reset.dtype}")
    return lengths, reset


def _tensor(name: str, value: Any, expected: str) -> Tensor:
    try:
        return value if isinstance(value, Tensor) else torch.as_tensor(value, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: expected a tensor of {expected}, got {shown(value)}") from error
