"""What an installed wheel must do: compute right, train, and find every library in its own folder (seen on Linux)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import gru_native as gn
from gru_native import reference

rng = np.random.default_rng(0)
gru = gn.nn.GRU(7, 33, seed=0)
x = rng.standard_normal((11, 5, 7)).astype(np.float32)

output, h_n = gru(x)
weights = {name: value.astype(np.float64) for name, value in gru.state_dict().items()}
expected, expected_h_n, _ = reference.forward(
    x,
    None,
    weights["weight_ih_l0"],
    weights["weight_hh_l0"],
    weights["bias_ih_l0"],
    weights["bias_hh_l0"],
)
np.testing.assert_allclose(output, expected, rtol=0, atol=2e-6)
np.testing.assert_allclose(h_n[0], expected_h_n, rtol=0, atol=2e-6)

optimizer = gn.optim.Adam(gru, lr=1e-2)
target = np.tanh(rng.standard_normal(output.shape)).astype(np.float32)
losses = []
for _ in range(20):
    (output, _), tape = gru.forward(x)
    losses.append(float(np.mean((output - target) ** 2)))
    _, grads = gru.backward(tape, 2 * (output - target) / np.float32(output.size))
    optimizer.step(grads)
assert losses[-1] < losses[0], losses

if sys.platform == "linux":
    package = Path(gn.__file__).parent
    bundled = {path.name for path in package.glob("lib*.so*")}
    mapped = {Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
    found = {path for path in mapped if path.name in bundled}
    assert len(bundled) == 2, f"expected the core and an OpenMP in {package}, got {bundled}"
    assert found == {package / name for name in bundled}, f"expected {bundled} from {package}, got {found}"

print(f"gru_native {gn.__version__}: loss {losses[0]:.4f} -> {losses[-1]:.4f}")
