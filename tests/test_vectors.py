"""The test vectors that the tests in C++ read are those that the reference gives."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close
from vectors import write

import gru_native as gn
from gru_native import reference


def words(text: str) -> tuple[list[str], list[float]]:
    """Take what a file says and its numbers apart."""
    said: list[str] = []
    numbers: list[float] = []
    for line in text.splitlines():
        if line.startswith(("#", "case")) or not line:
            said.append(line)
        else:
            name, count, *row = line.split()
            said += [name, count]
            numbers += map(float, row)
    return said, numbers


@pytest.mark.parametrize("cell", reference.CELLS)
def test_a_file_is_what_the_reference_gives(cell: str) -> None:
    said, numbers = words((write.FOLDER / f"{cell}.txt").read_text())
    expected_said, expected = words(write.text(cell))
    assert said == expected_said
    # Another NumPy rounds a few sums and exponentials in another way.
    assert_close(np.array(numbers), np.array(expected), "float64")


def test_inputs_are_the_same_in_float32() -> None:
    for name, array in write.arrays("lstm", write.CASES["plain"], write.Draw(0)):
        if name.startswith(("x", "h_0", "c_0", "weight", "bias", "d_output", "d_h_n", "d_c_n")):
            np.testing.assert_array_equal(array, array.astype(np.float32))


def test_a_saved_model_is_what_is_saved_now() -> None:
    model = write.model()
    assert (write.FOLDER / "model.safetensors").read_bytes() == gn.io.content(model)
    saved = gn.load_state(write.FOLDER / "model_steps.safetensors")
    for name, array in write.steps(model).items():
        assert_close(saved[name], array, "float64")
    assert_close(model.stream(3).run(saved["x"]), saved["y"], "float64")
