"""The thread that uses the store: what comes while it works is done together afterwards, in one transaction."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from secrets import token_urlsafe
from threading import Thread
from typing import Any

from gru_native.serve.metrics import Metrics
from gru_native.serve.store import Full, Held, Store

_log = logging.getLogger(__name__)
Call = Callable[[], Any]
Done = Callable[[Any], None]
_Job = tuple[asyncio.AbstractEventLoop, Callable[[], list[Any]]]


class GivenUp(Exception):
    """The server ends, and the store has not done it."""


class Keeper:
    """Calls a store without keeping the event loop waiting.

    Parameters
    ----------
    store : Store
        It is used, and closed, in a thread of the keeper's.
    metrics : Metrics
    """

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self.store = store
        self._metrics = metrics
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting: list[tuple[Call, Done]] = []
        self._doing: list[Done] = []  # of what is in the thread
        self._failed = self._given_up = False
        #: By `time.monotonic`, until when no other server can take the sessions of this one.
        self.lease_ends = time.monotonic() + store.lease
        # A daemon: a store that stands still does not keep the process.
        Thread(target=self._work, name="store", daemon=True).start()

    async def ready(self) -> bool:
        """Return whether sessions can be stored. After a call that failed, a session is stored to see it."""
        if self._failed:
            try:
                await self.call(self._try)
            except Exception:
                return False
            self._failed = False
        return time.monotonic() < self.lease_ends

    def submit(self, call: Call, done: Done) -> None:
        """Let the thread call a function; `done` gets what it returns, or the exception, once that is stored."""
        if self._given_up:
            asyncio.get_running_loop().call_soon(done, GivenUp())
            return
        self._waiting.append((call, done))
        if not self._doing:
            self._begin()

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns in the thread, once what it did is stored."""
        future = asyncio.get_running_loop().create_future()
        self.submit(partial(function, *arguments), partial(_settle, future))
        return await future

    async def renew(self, names: list[str]) -> list[str]:
        """Renew the lease on sessions, and return those to let go: that others ask for, or all after a lapse."""
        begun = time.monotonic()
        wanted: list[str] = await self.call(self.store.renew, names)
        lapsed = time.monotonic() > self.lease_ends  # then others may have taken any
        self.lease_ends = begun + self.store.lease
        return names if lapsed else wanted

    def give_up(self) -> None:
        """Let all fail that is not stored yet, and what comes later."""
        if not self._given_up:
            self._given_up = True
            done = [*self._doing, *(own for _, own in self._waiting)]
            self._doing, self._waiting = [], []
            if done:
                _log.error("the store did not answer before the end")
            for own in done:
                own(GivenUp())

    async def close(self) -> None:
        """Close the store, after all that was submitted, unless it was given up."""
        while self._doing:
            with suppress(Exception):
                await self.call(lambda: None)
        if not self._given_up:
            closed = asyncio.get_running_loop().create_future()
            self._hand_over(self._close, [partial(_settle, closed)])
            with suppress(Exception):
                await closed
        self._jobs.put(None)

    def _begin(self) -> None:
        calls, self._waiting = self._waiting, []
        self._hand_over(partial(self._run, [call for call, _ in calls]), [done for _, done in calls])

    def _hand_over(self, work: Callable[[], list[Any]], done: list[Done]) -> None:
        self._doing = done
        self._jobs.put((asyncio.get_running_loop(), work))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, work = job
            results = work()
            with suppress(RuntimeError):  # the loop has ended, without what was given up
                loop.call_soon_threadsafe(self._end, results)

    def _close(self) -> list[Any]:
        try:
            self.store.close()
        except Exception as error:
            return [self._noted(error)]
        return [None]

    def _run(self, calls: list[Call]) -> list[Any]:
        found: list[Any] = []
        try:
            with self._metrics.store_seconds.time(), self.store.transaction():
                for call in calls:
                    try:
                        found.append(call())
                    except (Full, Held) as answer:
                        found.append(answer)
                    except self.store.alone as error:
                        found.append(self._noted(error))
        except Exception as error:
            return [self._noted(error)] * len(calls)
        return found

    def _try(self) -> None:
        with suppress(Full):  # which the store knows because it answers
            name = token_urlsafe()
            self.store.delete(name, self.store.create(name, "", "", ""))

    def _end(self, results: list[Any]) -> None:
        if self._given_up:
            return
        done, self._doing = self._doing, []
        if self._waiting:
            self._begin()
        for own, result in zip(done, results, strict=True):
            own(result)

    def _noted(self, error: Exception) -> Exception:
        self._failed = True
        what = " ".join(f"{type(error).__name__}: {error}".split())
        _log.error("the store failed", extra={"fields": {"error": what}})
        return error


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():  # nobody waits any more
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
