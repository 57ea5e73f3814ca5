"""What is known of an array between two layers before there is one: sizes, axes, dtype, and directions.

`Sequential` hands a `Signal` through its layers when it is built, and `trace` hands one from data through a model.
So what does not fit is named, with the two that disagree, before anything is computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from gru_native.nn.module import Module

CHANNELS_FIRST = "channels first"
FLOATS = "floats"
_AXES = {
    True: "(B, T, ...)",
    False: "(T, B, ...)",
    None: "(B, ...) without a time axis",
    CHANNELS_FIRST: "(N, C, L)",
}


class Fact(NamedTuple):
    """Something known, and who says so, in the words of a message."""

    value: Any
    source: str


class Signal(NamedTuple):
    """What is known of an array; ``None`` for nothing.

    Attributes
    ----------
    features
        The size of the last axis.
    batch_first
        Of sequences whether they are (B, T, ...), or (T, B, ...). Its value is ``None`` when it is known that there is
        no time axis, and `CHANNELS_FIRST` for (N, C, L).
    dtype
        The name of the dtype, or `FLOATS` for one of float32 and float64.
    directions
        Of a recurrent layer's output: "forward", "reverse", or "both" side by side on the last axis.
    """

    features: Fact | None = None
    batch_first: Fact | None = None
    dtype: Fact | None = None
    directions: Fact | None = None

    def sized(self, place: str, argument: str, size: int) -> Signal:
        """Return what is known behind a layer that takes features of this size; refuse another size."""
        if self.features is None:
            return self._replace(features=Fact(size, place))
        if self.features.value != size:
            expected, source = self.features
            raise ValueError(f"{place}: expected {argument} = {expected}, which {source} gives, got {size}")
        return self

    def ordered(self, place: str, layer: str, batch_first: bool) -> Signal:
        """Return what is known behind a layer that takes sequences in this layout; refuse another layout."""
        found = self.batch_first
        if found is not None and found.value not in (True, False):
            raise ValueError(f"{place}: expected sequences, got {_AXES[found.value]} from {found.source}")
        if found is not None and found.value != batch_first:
            raise ValueError(
                f"{place}: expected {layer}(batch_first={found.value}), because {found.source} gives "
                f"{_AXES[found.value]}, got batch_first={batch_first}"
            )
        return self._replace(batch_first=Fact(batch_first, place))

    def typed(self, place: str, dtype: str) -> Signal:
        """Return what is known behind a layer that takes and gives this dtype; refuse another one."""
        found = self.dtype
        if found is not None and FLOATS not in (found.value, dtype) and found.value != dtype:
            raise ValueError(f"{place}: expected dtype = {found.value}, which {found.source} gives, got {dtype}")
        return self if found is not None and dtype == FLOATS else self._replace(dtype=Fact(dtype, place))

    def indexing(self, place: str) -> Signal:
        """Return what is known of indices; refuse floats."""
        if self.dtype is not None:
            raise ValueError(f"{place}: expected indices, got {self.dtype.value} from {self.dtype.source}")
        return self

    def directed(self, place: str, layer: str, bidirectional: bool) -> Signal:
        """Return what is known behind a layer that takes one or two directions apart; refuse the other."""
        found = self.directions
        if found is not None and found.value == "reverse":
            raise ValueError(
                f"{place}: expected a layer that ends at a row's last step, or a bidirectional one, "
                f"got direction='reverse' from {found.source}"
            )
        if found is not None and (found.value == "both") != bidirectional:
            raise ValueError(
                f"{place}: expected {layer}(bidirectional={not bidirectional}), because {found.source} gives "
                f"{'one direction' if bidirectional else 'two directions'}, got bidirectional={bidirectional}"
            )
        return self

    def normalized(self, place: str, channels: int) -> Signal:
        """Return what is known behind a layer that takes (N, C) or (N, C, L); refuse sequences with features last."""
        found = self.batch_first
        if found is None or found.value == CHANNELS_FIRST:
            return self
        if found.value is None:
            return self.sized(place, "num_features", channels)
        if found.value and self.features is None:  # samples of which no layer said that features are last
            return self._replace(batch_first=Fact(CHANNELS_FIRST, place))
        raise ValueError(
            f"{place}: expected (N, C) or (N, C, L), got {_AXES[found.value]} with the features on the last axis "
            f"from {found.source}; use LayerNorm, or pool first"
        )


def layout_of(model: Module) -> bool | None:
    """Return whether a model takes sequences (B, T, ...), or (T, B, ...); ``None`` where no layer takes sequences."""
    layouts = (module.batch_first for _, module in model.named_modules() if hasattr(module, "batch_first"))
    return next(layouts, None)


def trace(model: Module, batch_first: bool | None, source: str) -> None:
    """Refuse data whose layout is not what a model takes.

    Parameters
    ----------
    batch_first
        Whether sequences of the data are (B, T, ...), or (T, B, ...); ``None`` for data without a time axis.
    source
        Who gives the data.

    Raises
    ------
    ValueError
        The message names the layer and the source.
    """
    model._passed(Signal(batch_first=Fact(batch_first, source)), "")
