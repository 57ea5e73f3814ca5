"""JAX: ``jax.lax.scan`` over the steps, compiled; the input projections of all steps are one product before it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from gru_bench.cases import Case
from gru_bench.peers.base import Peer

# Steps that an iteration of the compiled loop takes: which is faster depends on the shape, so both are tried.
UNROLLS = (1, 4)


class Jax(Peer):
    """The cell in jax.numpy: weights are constants of the forward pass, and arguments of the training step."""

    packages = ("jax", "jaxlib")

    def __init__(self, case: Case, threads: int) -> None:
        # XLA's threads are as many as the process has CPUs.
        import jax

        jax.config.update("jax_platforms", "cpu")
        self._jax = jax
        weights = {name: jax.numpy.asarray(array) for name, array in case.weights().items()}
        inputs = jax.numpy.asarray(case.x()), jax.numpy.asarray(case.h_0())
        d_output = jax.numpy.asarray(case.d_output())

        def run(weights: Any, x: Any, h_0: Any, unroll: int) -> Any:
            return _stack(case, weights, x, h_0, unroll)

        def train(weights: Any, x: Any, h_0: Any, d_output: Any, unroll: int) -> Any:
            _, pullback = jax.vjp(lambda w, x, h_0: run(w, x, h_0, unroll)[0], weights, x, h_0)
            d_weights, d_x, d_h_0 = pullback(d_output)
            return {"x": d_x, "h_0": d_h_0, **d_weights}

        def compiled(function: Any, *arguments: Any) -> list[Callable[[], Any]]:
            return [partial(jax.jit(partial(function, unroll=unroll)), *arguments) for unroll in UNROLLS]

        self._calls = {
            "forward": lambda: compiled(partial(run, weights), *inputs),
            "train": lambda: compiled(train, weights, *inputs, d_output),
        }
        self._fastest: dict[str, Callable[[], Any]] = {}

    def forward(self) -> Any:
        return self._run("forward")

    def train(self) -> dict[str, Any]:
        return self._run("train")  # type: ignore[no-any-return]

    def _run(self, mode: str) -> Any:
        if mode not in self._fastest:
            self._fastest[mode] = min(self._calls[mode](), key=self._seconds)
        return self._jax.block_until_ready(self._fastest[mode]())

    def _seconds(self, call: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(4):  # the first call compiles
            start = perf_counter()
            self._jax.block_until_ready(call())
            seconds.append(perf_counter() - start)
        return min(seconds)


def _stack(case: Case, weights: Any, x: Any, h_0: Any, unroll: int) -> Any:
    """Return output and h_n of all layers."""
    from jax import numpy as jnp

    suffixes = ["", "_reverse"][: case.directions]
    h_n = []
    for layer in range(case.num_layers):
        outputs = []
        for direction, suffix in enumerate(suffixes):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            own = [weights[f"{name}_l{layer}{suffix}"] for name in names]
            output, last = _layer(own, x, h_0[layer * case.directions + direction], direction == 1, unroll)
            outputs.append(output)
            h_n.append(last)
        x = outputs[0] if case.directions == 1 else jnp.concatenate(outputs, axis=-1)
    return x, jnp.stack(h_n)


def _layer(weights: list[Any], x: Any, h_0: Any, reverse: bool, unroll: int) -> Any:
    import jax
    from jax import numpy as jnp

    weight_ih, weight_hh, bias_ih, bias_hh = weights
    weight_hh = weight_hh.T  # once, not in every step

    def step(h: Any, projected: Any) -> Any:
        x_r, x_z, x_n = jnp.split(projected, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(h @ weight_hh + bias_hh, 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        h = (1 - z) * jnp.tanh(x_n + r * h_n) + z * h
        return h, h

    last, output = jax.lax.scan(step, h_0, x @ weight_ih.T + bias_ih, reverse=reverse, unroll=unroll)
    return output, last
