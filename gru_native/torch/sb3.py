"""RecurrentPPO of sb3-contrib with our cells: a batch of sequences is one call, wherever episodes start in it.

Their policy takes a batch in which an episode starts through the LSTM step by step. Here the starts are the flags
`reset` of one call. The import is the line that changes::

    from gru_native.torch.sb3 import RecurrentPPO  # from sb3_contrib import RecurrentPPO

    model = RecurrentPPO("MlpLstmPolicy", env)

`MlpLstmPolicy`, `CnnLstmPolicy` and `MultiInputLstmPolicy` compute what theirs of the same names compute, with the same
arguments and parameters; `MlpGruPolicy`, `CnnGruPolicy` and `MultiInputGruPolicy` have GRUs in the place of the LSTMs.
These classes work with their `RecurrentPPO`, too, but compute padding and pack weights at every step there.

A model that was trained with an LSTM on one side loads on the other::

    RecurrentPPO.load(path, custom_objects={"policy_class": gru_native.torch.sb3.MlpLstmPolicy})
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gru_native.torch import GRU, LSTM, accelerate
from gru_native.torch.module import Accelerated

try:
    import sb3_contrib
    from sb3_contrib.common.recurrent.buffers import RecurrentDictRolloutBuffer, RecurrentRolloutBuffer
    from sb3_contrib.common.recurrent.policies import (
        RecurrentActorCriticCnnPolicy,
        RecurrentActorCriticPolicy,
        RecurrentMultiInputActorCriticPolicy,
    )
    from sb3_contrib.common.recurrent.type_aliases import (
        RecurrentDictRolloutBufferSamples,
        RecurrentRolloutBufferSamples,
        RNNStates,
    )
    from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback, ProgressBarCallback
except ImportError as error:
    raise ImportError(f"gru_native.torch.sb3 needs sb3-contrib ({error}): pip install 'gru_native[sb3]'") from error

__all__ = [
    "CnnGruPolicy",
    "CnnLstmPolicy",
    "MlpGruPolicy",
    "MlpLstmPolicy",
    "MultiInputGruPolicy",
    "MultiInputLstmPolicy",
    "RecurrentPPO",
]

Pair: TypeAlias = tuple[Tensor, Tensor]  # h and c, (layers, sequences, H) each


class MlpLstmPolicy(RecurrentActorCriticPolicy):
    """sb3-contrib's policy of this name, with its arguments; `lstm_actor` and `lstm_critic` are `gru_native`'s."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        accelerate(self)

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: Pair, episode_starts: Tensor, lstm: LSTM
    ) -> tuple[Tensor, Pair]:
        return _run(lstm, features, lstm_states, episode_starts, lstm_states[0].shape[1])


class MlpGruPolicy(RecurrentActorCriticPolicy):
    """`MlpLstmPolicy` with GRUs, whose further arguments are `lstm_kwargs`.

    RecurrentPPO and its buffers know modules `lstm_actor` and `lstm_critic` and pairs of states (h, c). The GRUs go by
    these names. Their state is h; c is handed on as it came, which is zeros.
    """

    lstm_actor: Any
    lstm_critic: Any
    optimizer: Any

    def __init__(self, *args: Any, lstm_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lstm_kwargs = lstm_kwargs or {}
        self.lstm_actor = self._gru_for(self.lstm_actor)
        if self.lstm_critic is not None:
            self.lstm_critic = self._gru_for(self.lstm_critic)
        lr = self.optimizer.param_groups[0]["lr"]
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr, **self.optimizer_kwargs)

    def _gru_for(self, lstm: Any) -> GRU:
        return GRU(lstm.input_size, lstm.hidden_size, lstm.num_layers, **self.lstm_kwargs)

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: Pair, episode_starts: Tensor, lstm: GRU
    ) -> tuple[Tensor, Pair]:
        h, c = lstm_states
        output, h = _run(lstm, features, h, episode_starts, h.shape[1])
        return output, (h, c)


class CnnLstmPolicy(MlpLstmPolicy, RecurrentActorCriticCnnPolicy):
    """`MlpLstmPolicy` for images."""


class MultiInputLstmPolicy(MlpLstmPolicy, RecurrentMultiInputActorCriticPolicy):
    """`MlpLstmPolicy` for observations that are dictionaries."""


class CnnGruPolicy(MlpGruPolicy, RecurrentActorCriticCnnPolicy):
    """`MlpGruPolicy` for images."""


class MultiInputGruPolicy(MlpGruPolicy, RecurrentMultiInputActorCriticPolicy):
    """`MlpGruPolicy` for observations that are dictionaries."""


class _Padded:
    """What a buffer of theirs becomes: its batches tell their sequences' lengths, and each array is padded at once."""

    def _get_samples(self: Any, batch_inds: np.ndarray, env_change: np.ndarray, env: Any = None) -> Any:
        starts = np.logical_or(self.episode_starts[batch_inds], env_change[batch_inds]).reshape(-1)
        starts[0] = True
        self.seq_start_indices = first = np.flatnonzero(starts)
        lengths = np.diff(first, append=len(starts))
        is_step = (np.arange(lengths.max()) < lengths[:, None]).reshape(-1)

        def padded(array: np.ndarray) -> Tensor:
            rows = np.zeros((len(is_step), *array.shape[1:]), array.dtype)
            rows[is_step] = array[batch_inds]
            return torch.as_tensor(rows, device=self.device)

        def state(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array[batch_inds[first]].swapaxes(0, 1), device=self.device).contiguous()

        is_dict = isinstance(self.observations, dict)
        seen = self.observations
        batch = {
            "observations": {key: padded(each) for key, each in seen.items()} if is_dict else padded(seen),
            "actions": padded(self.actions),
            "old_values": padded(self.values).flatten(),
            "old_log_prob": padded(self.log_probs).flatten(),
            "advantages": padded(self.advantages).flatten(),
            "returns": padded(self.returns).flatten(),
            "lstm_states": RNNStates(
                (state(self.hidden_states_pi), state(self.cell_states_pi)),
                (state(self.hidden_states_vf), state(self.cell_states_vf)),
            ),
            "episode_starts": padded(self.episode_starts).flatten(),
            "mask": torch.as_tensor(is_step.astype(self.returns.dtype), device=self.device),
        }
        # Episode starts are what policies see of a batch.
        batch["episode_starts"].lengths = torch.as_tensor(lengths)
        return (RecurrentDictRolloutBufferSamples if is_dict else RecurrentRolloutBufferSamples)(**batch)


class _RolloutBuffer(_Padded, RecurrentRolloutBuffer):
    pass


class _DictRolloutBuffer(_Padded, RecurrentDictRolloutBuffer):
    pass


class RecurrentPPO(sb3_contrib.RecurrentPPO):
    """sb3-contrib's algorithm with its arguments, and the policies here by name.

    Batches tell their sequences' lengths, so that padding is not computed: its outputs are zeros. Where no callback can
    change weights meanwhile, those of recurrent modules are packed once for a rollout. Adam is PyTorch's fused one,
    unless `policy_kwargs` choose another.
    """

    rollout_buffer: Any
    policy_aliases: ClassVar[dict[str, Any]] = {
        policy.__name__: policy
        for policy in (
            MlpLstmPolicy,
            CnnLstmPolicy,
            MultiInputLstmPolicy,
            MlpGruPolicy,
            CnnGruPolicy,
            MultiInputGruPolicy,
        )
    }

    def _setup_model(self) -> None:
        super()._setup_model()
        theirs = self.rollout_buffer
        ours = _DictRolloutBuffer if isinstance(theirs, RecurrentDictRolloutBuffer) else _RolloutBuffer
        self.rollout_buffer = ours(
            self.n_steps,
            self.observation_space,
            self.action_space,
            theirs.hidden_state_shape,
            self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
            n_envs=self.n_envs,
        )
        optimizer = self.policy.optimizer
        if type(optimizer) is torch.optim.Adam and not {"foreach", "fused"} & set(self.policy.optimizer_kwargs):
            for group in optimizer.param_groups:
                group["fused"] = True

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """Play, with weights packed once. Arguments and result are theirs."""
        callback = kwargs["callback"] if "callback" in kwargs else args[1]
        with ExitStack() as stack:
            for module in self.policy.modules():
                if isinstance(module, Accelerated) and _only_watches(callback):
                    stack.enter_context(module.packed())
            return super().collect_rollouts(*args, **kwargs)


def _only_watches(callback: BaseCallback) -> bool:
    """Whether a callback does nothing of a user's."""
    if isinstance(callback, CallbackList):
        return all(map(_only_watches, callback.callbacks))
    return type(callback) is ProgressBarCallback or (type(callback) is ConvertCallback and callback.callback is None)


def _run(module: Any, features: Tensor, states: Any, episode_starts: Tensor, sequences: int) -> tuple[Tensor, Any]:
    """Run sequences of T steps whose rows lie one after the other: features (sequences * T, I), output alike."""
    x = features.reshape(sequences, -1, module.input_size).transpose(0, 1)
    reset = episode_starts.bool().reshape(sequences, -1).transpose(0, 1)
    if isinstance(module, Accelerated) and module._computes(x):
        output, states = module(x, states, lengths=getattr(episode_starts, "lengths", None), reset=reset)
    else:
        output, states = _by_steps(module, x, states, reset)
    return output.transpose(0, 1).flatten(end_dim=1), states


def _by_steps(module: Any, x: Tensor, states: Any, reset: Tensor) -> tuple[Tensor, Any]:
    """Do so where PyTorch computes, which knows no `reset`: on other devices and in other types."""
    outputs = []
    for step, starts in zip(x.split(1), reset, strict=True):
        keep = ~starts[:, None]
        states = tuple(part * keep for part in states) if isinstance(states, tuple) else states * keep
        output, states = module(step, states)
        outputs.append(output)
    return torch.cat(outputs), states
