"""The Python of the documents runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_page_for_users_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("sb3_contrib")
    torch.manual_seed(0)
    page = (DOCS / "pytorch.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) > 8
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "docs/pytorch.md", "exec"), names)
