"""The modules in PyTorch's training on several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import gru_native.torch as gt  # noqa: E402

RANKS = 2


def model_and_input() -> tuple[Any, Any]:
    torch.manual_seed(0)
    return gt.LSTM(5, 7, num_layers=2), torch.randn(6, 2 * RANKS, 5)


def train(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    module, x = model_and_input()
    model = torch.nn.parallel.DistributedDataParallel(module)
    for _ in range(3):
        model(x[:, 2 * rank : 2 * rank + 2])[0].square().mean().backward()
    torch.save([own.grad for own in module.parameters()], f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch cannot distribute")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_gradients_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(train, (str(tmp_path),), nprocs=RANKS)
    module, x = model_and_input()
    for _ in range(3):
        module(x)[0].square().mean().backward()
    for rank in range(RANKS):
        for found, own in zip(torch.load(tmp_path / f"{rank}.pt"), module.parameters(), strict=True):
            torch.testing.assert_close(found, own.grad)
