"""CRNN, convolutions in front of two bidirectional LSTMs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from repeated import running
from torch import nn

SHAPES = "LSTM, bidirectional, 64,1,512,256,1 and 64,1,256,256,1"
MODE = "inference"
TOLERANCE = 1e-5
PACKAGES = ()


class CRNN(nn.Module):
    """A reader of lines of text (Shi et al. 2015): a line of 32 by 256 pixels becomes 64 columns of 512 channels."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = (1, 64, 128, 256, 256, 512, 512)
        pools = (2, 2, None, (2, 1), None, (2, 1))
        for (before, after), pool in zip(pairwise(channels), pools, strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.MaxPool2d(pool)] if pool else []
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(512, 512, (2, 1)), nn.ReLU())
        self.first = nn.LSTM(512, 256, bidirectional=True)
        self.between = nn.Linear(512, 256)
        self.second = nn.LSTM(256, 256, bidirectional=True)
        self.output = nn.Linear(512, 97)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        columns = self.convolutions(image).squeeze(2).permute(2, 0, 1)
        logits: torch.Tensor = self.output(self.second(self.between(self.first(columns)[0]))[0])
        return logits


def build(native: bool) -> Callable[[], list[float]]:
    """Read a line with weights as at first."""
    model = CRNN()
    image = torch.randn(1, 1, 32, 256)
    return running(model, native, 20, lambda: model(image))
