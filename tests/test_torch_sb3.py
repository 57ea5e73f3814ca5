"""RecurrentPPO and its policies beside sb3-contrib's: the same figures in one call, saved and loaded both ways."""

from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import assert_gradient

torch = pytest.importorskip("torch")
sb3_contrib = pytest.importorskip("sb3_contrib")

import gymnasium  # noqa: E402
from gymnasium import spaces  # noqa: E402
from stable_baselines3.common.env_util import make_vec_env  # noqa: E402

from gru_native.torch import GRU, LSTM, sb3  # noqa: E402

theirs = sb3_contrib.ppo_recurrent
H, STEPS, SEQUENCES = 16, 12, 5
OBSERVATIONS = {
    "Mlp": spaces.Box(-1.0, 1.0, (5,)),
    "Cnn": spaces.Box(0, 255, (3, 36, 36), np.uint8),
    "MultiInput": spaces.Dict({"a": spaces.Box(-1.0, 1.0, (3,)), "b": spaces.Discrete(4)}),
}
CRITICS: dict[str, dict[str, Any]] = {
    "separate": {},
    "shared": {"shared_lstm": True, "enable_critic_lstm": False},
    "without": {"enable_critic_lstm": False},
}
each_input = pytest.mark.parametrize("inputs", OBSERVATIONS)
each_critic = pytest.mark.parametrize("critic", CRITICS.values(), ids=CRITICS.keys())
each_cell = pytest.mark.parametrize("cell", ["Lstm", "Gru"])


def policy(of: Any, cell: str = "Lstm", inputs: str = "Mlp", **own: Any) -> Any:
    """Return a policy with the same initial values each time."""
    torch.manual_seed(3)
    made = getattr(of, f"{inputs}{cell}Policy")
    own = {"lstm_hidden_size": H, "net_arch": [8], **own}
    return made(OBSERVATIONS[inputs], spaces.Box(-1.0, 1.0, (2,)), lambda _: 1e-3, **own)


def rows(inputs: str, layers: int = 1) -> tuple[Any, ...]:
    """Return what a policy evaluates: sequences one after the other, with episode starts anywhere in them."""
    rng, space = np.random.default_rng(1), OBSERVATIONS[inputs]
    space.seed(1)
    samples = [space.sample() for _ in range(STEPS * SEQUENCES)]
    if isinstance(space, spaces.Dict):
        observations: Any = {key: torch.tensor(np.stack([sample[key] for sample in samples])) for key in space}
    else:
        observations = torch.tensor(np.stack(samples))
    actions = torch.tensor(rng.normal(size=(len(samples), 2)), dtype=torch.float32)
    h, c = torch.tensor(rng.normal(size=(2, layers, SEQUENCES, H)), dtype=torch.float32)
    states = sb3_contrib.common.recurrent.type_aliases.RNNStates((h, c), (c, h))
    return observations, actions, states, torch.tensor(rng.random(len(samples)) < 0.2, dtype=torch.float32)


def evaluated(made: Any, batch: tuple[Any, ...]) -> dict[str, Any]:
    """Return what a policy says of a batch, and the gradients of a loss that all of it is in."""
    values, log_prob, entropy = made.evaluate_actions(*batch)
    ((values**2).sum() + log_prob.sum() + entropy.sum()).backward()
    figures = {"values": values, "log_prob": log_prob, "entropy": entropy}
    return {**{name: value.detach() for name, value in figures.items()}, **gradients(made)}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare arrays by the largest element of each."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value is None:
            assert found[name] is None
        else:
            assert_gradient(np.asarray(found[name]), np.asarray(value), "policy", name)


def gradients(made: Any) -> dict[str, Any]:
    return {name: value.grad for name, value in made.named_parameters()}


@each_input
@each_critic
@pytest.mark.parametrize(("layers", "own"), [(1, {}), (2, {"bias": False})], ids=["one layer", "two without bias"])
def test_figures_and_gradients_are_theirs(
    inputs: str, critic: dict[str, Any], layers: int, own: dict[str, Any]
) -> None:
    options = {**critic, "n_lstm_layers": layers, "lstm_kwargs": own}
    found, expected = (
        evaluated(policy(of, inputs=inputs, **options), rows(inputs, layers)) for of in (sb3, theirs.policies)
    )
    assert_same(found, expected)


@each_cell
def test_starts_anywhere_are_one_call(cell: str) -> None:
    made, calls = policy(sb3, cell), []
    made.lstm_actor.register_forward_hook(lambda *_: calls.append(1))
    evaluated(made, rows("Mlp"))
    assert calls == [1]
    assert isinstance(made.lstm_actor, {"Lstm": LSTM, "Gru": GRU}[cell])


def learned(policy: Any, env_id: str, environments: int, algorithm: Any = sb3_contrib.RecurrentPPO) -> Any:
    """Return a model after its first update, whose minibatches have episode starts."""
    model = algorithm(
        policy,
        make_vec_env(env_id, environments, seed=1),
        n_steps=96,
        batch_size=96 * environments,
        n_epochs=1,
        seed=2,
        policy_kwargs={"lstm_hidden_size": 32},
        device="cpu",
    )
    model.learn(96 * environments)
    assert model.rollout_buffer.episode_starts.sum() > environments or env_id != "CartPole-v1"
    return model


@pytest.mark.parametrize(("env_id", "environments"), [("CartPole-v1", 1), ("CartPole-v1", 3), ("Pendulum-v1", 2)])
@pytest.mark.parametrize("algorithm", [sb3, sb3_contrib], ids=["our algorithm", "their algorithm"])
def test_the_first_update_is_theirs(algorithm: Any, env_id: str, environments: int) -> None:
    found = learned(sb3.MlpLstmPolicy, env_id, environments, algorithm.RecurrentPPO)
    expected = learned("MlpLstmPolicy", env_id, environments)
    kept = ("actions", "values", "log_probs", "returns", "hidden_states_pi", "cell_states_vf")
    assert_same(*({name: getattr(model.rollout_buffer, name) for name in kept} for model in (found, expected)))
    for name in ("train/policy_gradient_loss", "train/value_loss", "train/entropy_loss", "train/loss"):
        values = (model.logger.name_to_value[name] for model in (found, expected))
        np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-5, err_msg=name)
    assert_same(gradients(found.policy), gradients(expected.policy))


@pytest.mark.parametrize(("chosen", "fused"), [({}, True), ({"fused": False}, False), ({"foreach": True}, None)])
def test_adam_is_fused_unless_policy_kwargs_choose(chosen: dict[str, bool], fused: bool | None) -> None:
    model = sb3.RecurrentPPO("MlpLstmPolicy", "CartPole-v1", device="cpu", policy_kwargs={"optimizer_kwargs": chosen})
    assert model.policy.optimizer.param_groups[0]["fused"] is fused


def test_policies_are_known_by_name() -> None:
    for inputs, cell in itertools.product(OBSERVATIONS, ("Lstm", "Gru")):
        name = f"{inputs}{cell}Policy"
        assert sb3.RecurrentPPO.policy_aliases[name] is getattr(sb3, name)
    assert set(theirs.RecurrentPPO.policy_aliases) < set(sb3.RecurrentPPO.policy_aliases)


@pytest.mark.parametrize(("inputs", "env"), [("Mlp", "CartPole-v1"), ("MultiInput", lambda: Cards())])
def test_padding_is_not_computed(inputs: str, env: Any) -> None:
    model = sb3.RecurrentPPO(f"{inputs}GruPolicy", make_vec_env(env, 2, seed=1), n_steps=64, n_epochs=1, seed=2)
    seen = []
    model.policy.lstm_actor.register_forward_hook(lambda _, x, own, y: seen.append((own, y[0])), with_kwargs=True)
    model.learn(128)
    own, output = seen[-1]
    assert own["lengths"].sum() == model.rollout_buffer.buffer_size * 2
    assert own["lengths"].min() < len(output), "sequences of different lengths"
    for row, length in enumerate(own["lengths"]):
        assert not output[length:, row].any()


@pytest.mark.parametrize(("inputs", "env"), [("Mlp", "CartPole-v1"), ("MultiInput", lambda: Cards())])
def test_batches_are_theirs(inputs: str, env: Any) -> None:
    model = sb3.RecurrentPPO(f"{inputs}LstmPolicy", make_vec_env(env, 2, seed=1), n_steps=64, n_epochs=1, seed=2)
    model.learn(128)
    buffer = model.rollout_buffer
    env_change = np.zeros((128, 1))
    env_change[[0, 64]] = 1
    for size, first in itertools.product((1, 7, 50, 128), (0, 30, 100)):
        batch = np.roll(np.arange(128), -first)[:size], env_change
        found, expected = buffer._get_samples(*batch), super(sb3._Padded, buffer)._get_samples(*batch)
        torch.testing.assert_close(found._asdict(), expected._asdict(), rtol=0, atol=0)


class Tired(gymnasium.Wrapper):  # type: ignore[type-arg]
    """An environment that fails after some steps."""

    left = 20

    def step(self, action: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.env.step(action)


@each_cell
@pytest.mark.parametrize("callback", [None, lambda *_: True], ids=["no callback", "a callback"])
def test_weights_are_packed_for_a_rollout_that_nothing_disturbs(cell: str, callback: Any) -> None:
    env = make_vec_env("CartPole-v1", wrapper_class=Tired, seed=1)
    model = sb3.RecurrentPPO(f"Mlp{cell}Policy", env, n_steps=16, n_epochs=1, seed=2)
    module, packed = model.policy.lstm_actor, {"rollout": set[bool](), "update": set[bool]()}

    def watch(*_: Any) -> None:
        assert module.weight_hh_l0.requires_grad
        packed["update" if model.policy.training else "rollout"].add(module._for_now is not None)

    hook = module.register_forward_hook(watch)
    with pytest.raises(KeyboardInterrupt):
        model.learn(64, callback=callback)
    hook.remove()
    assert packed == {"rollout": {callback is None}, "update": {False}}
    assert module._for_now is None
    module.freeze()
    with pytest.raises(KeyboardInterrupt):
        model.learn(64)
    assert module._frozen is not None, "what its user froze stays so"


def test_a_policy_with_a_module_of_pytorchs() -> None:
    class Own(sb3.MlpLstmPolicy):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.lstm_actor = torch.nn.LSTM(self.features_dim, 16)
            self.optimizer = self.optimizer_class(self.parameters(), lr=1e-3)

    model = sb3.RecurrentPPO(Own, "CartPole-v1", n_steps=16, n_epochs=1, policy_kwargs={"lstm_hidden_size": 16})
    model.learn(16)
    assert all(value.grad is not None for value in model.policy.lstm_actor.parameters())


def test_arguments_of_a_gru_policy_have_the_places_of_theirs() -> None:
    torch.manual_seed(3)
    made = sb3.MlpGruPolicy(OBSERVATIONS["Mlp"], spaces.Discrete(2), lambda _: 2e-3, [8])
    assert made.net_arch == [8]
    assert made.optimizer.param_groups[0]["lr"] == 2e-3


def steps(model: Any) -> dict[str, Any]:
    """Return the actions of a few steps of two environments, an episode's start among them, and the last states."""
    rng, state, actions = np.random.default_rng(4), None, []
    for step in range(6):
        starts = np.array([step == 0, step in (0, 3)])
        observation = rng.normal(size=(2, *model.observation_space.shape)).astype("float32")
        action, state = model.predict(observation, state, starts, deterministic=True)
        actions.append(action)
    return {"actions": np.stack(actions), "h": state[0], "c": state[1]}


def test_predicted_steps_are_theirs() -> None:
    found, expected = (steps(policy(of)) for of in (sb3, theirs.policies))
    assert_same(found, expected)


@pytest.mark.parametrize(("saved", "loaded"), [(theirs, sb3), (sb3, theirs)], ids=["theirs here", "ours there"])
def test_models_load_both_ways(saved: Any, loaded: Any, tmp_path: Path) -> None:
    model = learned("MlpLstmPolicy", "CartPole-v1", 1, saved.RecurrentPPO)
    model.save(tmp_path / "model.zip")
    other = loaded.RecurrentPPO.load(
        tmp_path / "model.zip", model.env, custom_objects={"policy_class": loaded.MlpLstmPolicy}, device="cpu"
    )
    assert type(other.policy) is loaded.MlpLstmPolicy
    assert_same(steps(other), steps(model))
    other.learn(96)


@each_cell
def test_a_saved_model_goes_on(cell: str, tmp_path: Path) -> None:
    model = learned(f"Mlp{cell}Policy", "CartPole-v1", 1, sb3.RecurrentPPO)
    model.save(tmp_path / "model.zip")
    other = sb3.RecurrentPPO.load(tmp_path / "model.zip", model.env, device="cpu")
    assert type(other.policy) is type(model.policy)
    torch.testing.assert_close(other.policy.optimizer.state_dict(), model.policy.optimizer.state_dict())
    assert_same(steps(other), steps(model))
    other.learn(96)


def by_steps(features: Any, states: Any, starts: Any, module: Any) -> tuple[Any, Any]:
    """Do what `_process_sequence` does with PyTorch's GRU, step by step."""
    outputs, h = [], states[0]
    x, starts = features.reshape(SEQUENCES, STEPS, -1), starts.reshape(SEQUENCES, STEPS, 1)
    for step in range(STEPS):
        output, h = torch.nn.GRU.forward(module, x[None, :, step], h * (1 - starts[:, step]))
        outputs.append(output[0])
    return torch.stack(outputs, 1).flatten(end_dim=1), (h, states[1])


@each_input
@each_critic
def test_gru_agrees_with_a_loop_over_steps(
    inputs: str, critic: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = policy(sb3, "Gru", inputs, n_lstm_layers=2, lstm_kwargs={"bias": False}, **critic)
    batch = rows(inputs, layers=2)
    found = evaluated(made, batch)
    made.zero_grad()
    monkeypatch.setattr(made, "_process_sequence", by_steps)
    assert_same(found, evaluated(made, batch))


@each_cell
def test_what_pytorch_computes_is_done_step_by_step(cell: str) -> None:
    made, batch = policy(sb3, cell), rows("Mlp")
    expected = evaluated(made, batch)["values"]
    with torch.autocast("cpu"):
        found = made.predict_values(batch[0], batch[2].vf, batch[3])
    torch.testing.assert_close(found.float().detach(), expected, rtol=0.0, atol=0.02)


class Cards(gymnasium.Env):  # type: ignore[misc]
    """Observations that are dictionaries; episodes of one to nine steps."""

    observation_space, action_space = OBSERVATIONS["MultiInput"], spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 10))
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return self.observation_space.sample(), float(action), self.left == 0, False, {}


class Recall(gymnasium.Env):  # type: ignore[misc]
    """The first observation of an episode says which action is right at its last step; the others say nothing."""

    observation_space = spaces.Box(-1.0, 1.0, (2,))
    action_space = spaces.Discrete(2)
    length = 4

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.step_count, self.cue = 0, int(self.np_random.integers(2))
        return np.array([2 * self.cue - 1, 0], np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.step_count += 1
        done = self.step_count == self.length
        observation = np.array([0, self.step_count / self.length], np.float32)
        return observation, float(done and action == self.cue), done, False, {}


@each_cell
def test_what_only_memory_can_tell_is_learned(cell: str) -> None:
    model = sb3.RecurrentPPO(
        f"Mlp{cell}Policy",
        make_vec_env(Recall, 8, seed=0),
        n_steps=32,
        batch_size=256,
        learning_rate=5e-3,
        seed=0,
        policy_kwargs={"lstm_hidden_size": 32, "net_arch": []},
        device="cpu",
    )
    model.learn(4_096)
    returns = [episode["r"] for episode in model.ep_info_buffer]
    assert np.mean(returns) > 0.9, "without memory 0.5"


def test_the_message_says_how_to_get_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gru_native.torch.sb3")
    monkeypatch.setitem(sys.modules, "sb3_contrib.common.recurrent.policies", None)
    with pytest.raises(ImportError, match=r"pip install 'gru_native\[sb3\]'"):
        importlib.import_module("gru_native.torch.sb3")
