"""An update of PPO, with an LSTM and done flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from gru_native.torch import LSTM

SHAPES = "LSTM 128,8,128,128,1, with done flags"
MODE = "training"
TOLERANCE = 1e-4
PACKAGES = ()
STEPS, ROWS, SIZE, ACTIONS = 128, 8, 128, 4


class Agent(nn.Module):
    """An encoder, an LSTM, and heads for actions and values."""

    def __init__(self, native: bool) -> None:
        super().__init__()
        self.native = native
        self.encoder = nn.Sequential(nn.Linear(16, SIZE), nn.Tanh())
        self.lstm = (LSTM if native else nn.LSTM)(SIZE, SIZE)
        self.actor, self.critic = nn.Linear(SIZE, ACTIONS), nn.Linear(SIZE, 1)

    def forward(self, observations: Tensor, state: Any, reset: Tensor) -> tuple[Categorical, Tensor]:
        x = self.encoder(observations)
        hidden = self.lstm(x, state, reset=reset)[0] if self.native else self._by_steps(x, state, reset)
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1)

    def _by_steps(self, x: Tensor, state: Any, reset: Tensor) -> Tensor:
        outputs = []
        for step, starts in zip(x.split(1), reset.float(), strict=True):
            keep = 1 - starts[:, None]
            output, state = self.lstm(step, (keep * state[0], keep * state[1]))
            outputs.append(output)
        return torch.cat(outputs)


def build(native: bool) -> Callable[[], list[float]]:
    """Take twenty steps of Adam on one rollout."""
    agent = Agent(native)
    optimizer = torch.optim.Adam(agent.parameters(), lr=2.5e-4)
    observations = torch.randn(STEPS, ROWS, 16)
    state = (torch.randn(1, ROWS, SIZE), torch.randn(1, ROWS, SIZE))
    reset = torch.rand(STEPS, ROWS) < 0.02
    actions = torch.randint(ACTIONS, (STEPS, ROWS))
    old, advantages, targets = torch.full((STEPS, ROWS), -1.4), torch.randn(STEPS, ROWS), torch.randn(STEPS, ROWS)

    def update() -> float:
        chosen, values = agent(observations, state, reset)
        ratio = (chosen.log_prob(actions) - old).exp()
        gain = torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()
        loss = 0.5 * ((values - targets) ** 2).mean() - gain - 0.01 * chosen.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
        optimizer.step()
        return float(loss)

    update()
    return lambda: [update() for _ in range(20)]
