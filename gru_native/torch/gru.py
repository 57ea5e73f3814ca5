"""What the GRU and its cell have that PyTorch's do not."""

from __future__ import annotations

from typing import Any

import torch

from gru_native.arguments import flag
from gru_native.functional import gru_cell
from gru_native.torch.module import Accelerated


class OfGRU(Accelerated):
    """Layer normalization and both places of the reset gate."""

    reset_after: bool = True

    def _choose(self, layer_norm: bool, reset_after: bool) -> None:
        """Take the options, and make the gains of layer normalization."""
        gru_cell(reset_after, layer_norm)
        self.layer_norm, self.reset_after = flag("layer_norm", layer_norm), flag("reset_after", reset_after)
        for name in self._names():
            if name.startswith("gamma"):
                weight = getattr(self, name.replace("gamma", "weight"))
                setattr(self, name, torch.nn.Parameter(torch.ones_like(weight[:, 0])))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for name, own in self._parameters.items():
            if name.startswith("gamma"):
                torch.nn.init.ones_(own)
        self._freeze_anew()

    @property
    def _cell(self) -> str:
        return "gru_layer_norm" if self.layer_norm else "gru_reset_after" if self.reset_after else "gru_reset_before"

    def beyond_torch(self) -> dict[str, Any]:
        own = {"layer_norm": True} if self.layer_norm else {}
        return super().beyond_torch() | own | ({} if self.reset_after else {"reset_after": False})
