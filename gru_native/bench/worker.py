"""The process that a peer runs in: ``python -m gru_native.bench.worker PEER THREADS``.

It takes orders on standard input and answers on standard output, a line of JSON each:

``{"case": [...], "mode": ..., "results": file}``
    builds the case, computes it once, writes its results to the file; answers with the seconds of a call.
``{"calls": n}``
    calls once unmeasured and then n times; answers with the seconds of each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from gru_native.bench.cases import Case
from gru_native.bench.peers import PEERS


def _measure(call: Callable[[], Any], calls: int) -> list[float]:
    call()
    seconds = []
    for _ in range(calls):
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
    return seconds


def main(name: str, threads: int) -> None:
    """Serve until standard input ends."""
    call: Callable[[], Any] = lambda: None  # noqa: E731
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        order = json.loads(line)
        if "case" in order:
            peer = PEERS[name](Case(*order["case"]), threads)
            if order["mode"] == "forward":
                call = peer.forward
                results = {"output": call()}
            else:
                call = peer.train
                results = call()
            np.savez(order["results"], allow_pickle=False, **results)
            answer: Any = _measure(call, 3)[-1]
        else:
            answer = _measure(call, order["calls"])
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
