"""Recurrent PPO in one file: CartPole without its velocities, which only memory can tell.

PPO (Schulman et al. 2017, arXiv:1707.06347) on eight environments at once, with a GRU or an LSTM between encoder and
heads. A rollout is 128 steps of all environments, and episodes end anywhere in it. The update still runs each sequence
in one call, with `reset`: flags of the steps at which an episode begins.

Environments say something else: ``done`` of a step says that it was an episode's last. So the flags of a step are the
``done`` of the step before it, and those of a rollout's first step come from the rollout before::

    reset[0], reset[1:] = done_before, done[:-1]

The environments must start the next episode in the same step (``AutoresetMode.SAME_STEP``), so that what they return
with ``done`` is its first observation. An episode that its time limit ends counts as ended.

It needs PyTorch and gymnasium: ``pip install ".[sb3]"``. There is no data, and no other side that is timed::

    python benchmarks/tasks/recurrent_ppo.py --cell lstm
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from common import Bound, finish, options
from torch import Tensor, nn
from torch.distributions import Categorical

from gru_native.torch import GRU, LSTM

CELLS = {"gru": GRU, "lstm": LSTM}
SEEN = [0, 2]  # of a state the position and the angle, without what changes them
ENVIRONMENTS, STEPS, HIDDEN = 8, 128, 64
EPOCHS, MINIBATCHES = 4, 4
GAMMA, LAMBDA = 0.99, 0.95
CLIP, VALUE_SHARE, ENTROPY_SHARE, MAX_NORM = 0.2, 0.5, 0.01, 0.5
REWARD = 0.05  # of a step: returns of order one, so that values do not drown the actions in the shared layers
RETURNS = 50  # the last episodes, whose mean is the result
BOUND = Bound("mean_return", 75, at_most=False)  # more than is reached without memory


class Agent(nn.Module):
    """An encoder, a recurrent layer, and a head for actions and one for values."""

    def __init__(self, actions: int, cell: str) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(len(SEEN), HIDDEN), nn.Tanh())
        self.recurrent = CELLS[cell](HIDDEN, HIDDEN)
        self.actor, self.critic = nn.Linear(HIDDEN, actions), nn.Linear(HIDDEN, 1)

    def forward(self, observations: Tensor, state: Any, reset: Tensor) -> tuple[Categorical, Tensor, Any]:
        """Take steps (T, B, ...) and flags (T, B) to distributions and values (T, B), and the next state."""
        hidden, state = self.recurrent(self.encoder(observations), state, reset=reset)
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1), state


@dataclass
class Rollout:
    """What happened in the steps of all environments, (T, B) each; observations (T, B, ...)."""

    observations: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor
    reset: Tensor
    state: Any  # before the first step

    def advantages(self, value_after: Tensor, done_last: Tensor) -> Tensor:
        """Return the generalized advantages (Schulman et al. 2016, arXiv:1506.02438)."""
        done = torch.cat([self.reset[1:], done_last[None]])
        next_values = torch.cat([self.values[1:], value_after[None]])
        errors = self.rewards + GAMMA * next_values * ~done - self.values
        advantages, running = torch.empty_like(errors), torch.zeros(ENVIRONMENTS)
        for step in reversed(range(STEPS)):
            running = errors[step] + GAMMA * LAMBDA * running * ~done[step]
            advantages[step] = running
        return advantages


class Player:
    """Lets an agent act in the environments, rollout after rollout."""

    def __init__(self, seed: int) -> None:
        self.environments = gymnasium.vector.SyncVectorEnv(
            [lambda: gymnasium.make("CartPole-v1")] * ENVIRONMENTS,
            autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
        )
        self.observation = self.environments.reset(seed=seed)[0]
        self.done = np.ones(ENVIRONMENTS, bool)  # nothing came before the first step
        self.state: Any = None
        self.returns, self.running = deque[float](maxlen=RETURNS), np.zeros(ENVIRONMENTS)

    @property
    def actions(self) -> int:
        return int(self.environments.single_action_space.n)

    def step(self, agent: Agent) -> tuple[Tensor, ...]:
        """Take one step in each environment and return its part of a rollout."""
        reset = torch.from_numpy(self.done)
        observation = torch.from_numpy(self.observation[:, SEEN])
        actions, value, self.state = agent(observation[None], self.state, reset[None])
        action = actions.sample()
        self.observation, reward, ended, cut, _ = self.environments.step(action[0].numpy())
        self.done = ended | cut
        self.running += reward
        self.returns.extend(self.running[self.done])
        self.running[self.done] = 0.0
        reward = REWARD * torch.from_numpy(reward).float()
        return observation, action[0], actions.log_prob(action)[0], value[0], reward, reset

    @torch.no_grad()
    def play(self, agent: Agent) -> tuple[Rollout, Tensor]:
        """Return a rollout and its advantages."""
        state = self.state
        rollout = Rollout(*map(torch.stack, zip(*(self.step(agent) for _ in range(STEPS)), strict=True)), state)
        done = torch.from_numpy(self.done)
        _, value, _ = agent(torch.from_numpy(self.observation[None, :, SEEN]), self.state, done[None])
        return rollout, rollout.advantages(value[0], done)


def rows(state: Any, chosen: Tensor) -> Any:
    """Return the states of some environments: (1, B, H), and of an LSTM a pair of them."""
    if state is None:
        return None
    return tuple(part[:, chosen] for part in state) if isinstance(state, tuple) else state[:, chosen]


def update(agent: Agent, optimizer: torch.optim.Optimizer, rollout: Rollout, advantages: Tensor) -> None:
    """Improve the agent; a minibatch is whole sequences of some environments."""
    targets = rollout.values + advantages
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(ENVIRONMENTS).chunk(MINIBATCHES):
            actions, values, _ = agent(
                rollout.observations[:, chosen], rows(rollout.state, chosen), rollout.reset[:, chosen]
            )
            ratio = (actions.log_prob(rollout.actions[:, chosen]) - rollout.log_probs[:, chosen]).exp()
            gain = torch.min(
                ratio * advantages[:, chosen], ratio.clamp(1 - CLIP, 1 + CLIP) * advantages[:, chosen]
            ).mean()
            misjudged = ((values - targets[:, chosen]) ** 2).mean()
            loss = VALUE_SHARE * misjudged - gain - ENTROPY_SHARE * actions.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), MAX_NORM)
            optimizer.step()


def main() -> None:
    """Play and learn in turns, and print the result."""
    parser = options(__doc__)
    parser.add_argument("--cell", choices=CELLS, default="gru")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    player = Player(arguments.seed)
    agent = Agent(player.actions, arguments.cell)
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-3)
    updates = 20 if arguments.quick else 200
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=updates)
    start = time.perf_counter()
    for _ in range(updates):
        update(agent, optimizer, *player.play(agent))
        slower.step()
    figures = {
        "cell": arguments.cell,
        "steps": updates * STEPS * ENVIRONMENTS,
        "mean_return": round(float(np.mean(player.returns)), 1),
        "seconds": round(time.perf_counter() - start, 1),
    }
    finish("recurrent_ppo", figures, arguments, BOUND)


if __name__ == "__main__":
    main()
