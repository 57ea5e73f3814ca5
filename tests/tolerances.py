"""Every tolerance of the test suite, in one table, each with its reason.

An entry is (absolute, relative): `a` passes beside `b` when ``|a - b| <= absolute + relative * |b|``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

TOLERANCES: dict[str, tuple[float, float]] = {
    # Central differences with step 1e-6 in float64: truncation about 1e-12, cancellation about 1e-10.
    "finite_difference": (1e-7, 1e-5),
    # The same float64 formula summed in another order.
    "float64": (1e-12, 1e-11),
    # One exp, one sum and one division of float64, into the smallest values: no absolute part.
    "sigmoid": (0.0, 1e-15),
    # A network in another convention and its conversion: the same products, summed in another order.
    "converted": (1e-12, 0.0),
    # Outputs of other libraries, computed and stored in float32.
    "golden": (2e-7, 0.0),
    # The same from ONNX Runtime, whose sigmoid and tanh are approximations (a state there is 1.0000005): 6e-7
    # off the float64 reference over 40 steps; the rest is for a float32 engine.
    "golden_gtcrn": (1.5e-6, 0.0),
    # float32 beside Keras's float32, of predictions of magnitude 1.
    "keras": (1e-6, 1e-6),
    # Keras's float32 results as it wrote them down, with six digits.
    "golden_keras_js": (3e-6, 0.0),
    # A float64 reading of the network, of up to 7.2 in its last layer; the rest is for a float32 engine.
    "golden_rnnoise": (1e-5, 1e-5),
    # The tests of ONNX's operators: NumPy's float32 results, of states that grow.
    "golden_onnx": (1e-6, 1e-6),
    # onnxruntime's float32 results; a few stand there with five digits.
    "golden_onnxruntime": (5e-6, 2e-7),
    "golden_onnxruntime_stale": (1e-4, 0.0),
    # float32 kernels beside the float64 reference: the stated aim of the forward pass.
    "float32_forward": (2e-6, 0.0),
    # The same in float64: the ratio of the two precisions.
    "float64_forward": (4e-15, 0.0),
    # The same of outputs that no sigmoid or tanh bounds: sums of a few hundred terms, as large as their result.
    "float32_forward_unbounded": (2e-6, 2e-6),
    "float64_forward_unbounded": (4e-15, 4e-15),
    # Gradients are sums over T * B rows: relative to the array's largest, see `assert_gradient`.
    # The absolute part is the rounding of some terms of order one, which in an array of a few elements can cancel.
    "float32_gradient": (2e-7, 1e-5),
    "float64_gradient": (2e-14, 1e-12),
    # With layer normalization a row of little spread is divided by it, and so is its rounding: up to 300 times in the
    # cell of one unit.
    "float32_forward_normalised": (2e-5, 0.0),
    "float64_forward_normalised": (4e-14, 0.0),
    "float32_gradient_normalised": (2e-6, 1e-3),
    "float64_gradient_normalised": (2e-13, 1e-11),
    # One or two roundings of the result.
    "float32_rounding": (0.0, 2e-7),
    "float64_rounding": (0.0, 4e-16),
    # A sum that ends in the same value, begun from another: its rounding, at a magnitude of 1.
    "float32_rounding_of_sum": (3e-7, 3e-7),
    # Products of some hundred terms, relative to the largest result: see `assert_gradient`.
    "float32_product": (0.0, 1e-6),
    "float64_product": (0.0, 2e-15),
    # exp, its sum and its logarithm in float32.
    "float32_softmax": (2e-7, 5e-7),
    "float64_softmax": (1e-15, 1e-15),
    # A policy beside another library's in float32, of gradients that nearly cancel; 2e-6 is found.
    "policy": (0.0, 1e-5),
    # 200 steps beside PyTorch's optimizers in float64, which round a few terms in another way.
    "trajectory": (0.0, 1e-9),
    # 200 steps of a whole model beside PyTorch in float64: each step builds on the last.
    "training_run": (0.0, 1e-8),
    # Mean, spread and largest value of a few hundred draws or more, beside those of other draws.
    "distribution": (0.02, 0.15),
    # In float32 a mean near 1000 is rounded by 3e-5, which a spread below 1 makes larger in the result.
    "normalised_far_from_zero": (3e-4, 0.0),
}

# Errors in units in the last place of a normal result.
ULPS: dict[str, float] = {
    # Sweeps find 1.6 and 1.64.
    "float32_activation": 2.0,
    # Without fused operations; 2.06 and 1.95 are found.
    "float32_activation_scalar": 2.1,
    # 1.52 and 1.8 are found; 1.91 and 1.92 without fused operations.
    "float64_activation": 2.2,
    "float64_activation_scalar": 2.2,
}


def assert_close(actual: Any, expected: Any, name: str, what: str = "") -> None:
    """Assert that two arrays agree within the named tolerance."""
    absolute, relative = TOLERANCES[name]
    np.testing.assert_allclose(actual, expected, atol=absolute, rtol=relative, err_msg=what, equal_nan=False)


def assert_gradient(actual: Any, expected: Any, name: str, what: str = "") -> None:
    """Assert that a gradient agrees, measured against the largest magnitude of the expected array."""
    absolute, relative = TOLERANCES[name]
    expected = np.asarray(expected)
    atol = absolute + relative * float(np.max(np.abs(expected), initial=0.0))
    np.testing.assert_allclose(actual, expected, atol=atol, rtol=0.0, err_msg=what, equal_nan=False)
