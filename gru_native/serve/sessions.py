"""The sessions of a server: begun or taken from the store, connected to a pool, and given back."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from gru_native._core import default_threads
from gru_native.serve.batcher import Batcher
from gru_native.serve.errors import ELSEWHERE, IDLE, REPLACED, RESTART, Refused, going_down
from gru_native.serve.gates import Gates
from gru_native.serve.keeper import Keeper
from gru_native.serve.live import Message, Session
from gru_native.serve.metrics import Metrics
from gru_native.serve.model import Served
from gru_native.serve.settings import Settings, level_of, steps_of
from gru_native.serve.store import Full, Held, Stored, Write

_log = logging.getLogger(__name__)
_MOST_SHARDS = 256  # of a pool
_ASK = 0.2  # seconds between two questions whether another server has let a session go


def _held() -> Refused:
    return Refused(409, "the session has another connection", "held", retry=1)


def _store_failed() -> Refused:
    return Refused(503, "the store failed; try again", "store", retry=5)


@dataclass(eq=False)
class Generation:
    """A model, and what steps the sessions that began with it; no batcher where it cannot be stepped."""

    served: Served
    batcher: Batcher | None
    refusal: str = ""

    @cached_property
    def gates(self) -> Gates:
        """What shows gates and states of its sessions."""
        return Gates(self.served.network)


class Sessions:
    """All sessions that are connected, or about to be.

    Parameters
    ----------
    served : Served
    settings : Settings
    keeper : Keeper
    metrics : Metrics
    """

    def __init__(self, served: Served, settings: Settings, keeper: Keeper, metrics: Metrics) -> None:
        self._settings, self._keeper, self._metrics = settings, keeper, metrics
        #: By name and owner, where there are tokens: only the store knows who has a session that is not connected.
        self.live: dict[tuple[str, str | None], Session] = {}
        self.draining = False
        self.generations = [self._generation(served)]  # the present one, and the one before

    def _generation(self, served: Served) -> Generation:
        shards = min(self._settings.threads or default_threads(), _MOST_SHARDS)
        try:
            pool = served.pool(self._settings.connected, shards)
        except ValueError as error:
            return Generation(served, None, str(error))
        return Generation(served, Batcher(pool, self._settings, self._keeper, self._metrics))

    @property
    def served(self) -> Served:
        """The model that new sessions get."""
        return self.generations[0].served

    @property
    def largest_message(self) -> int:
        """Bytes of the largest message that a client may send: a frame, or one in JSON, where a number has up to 32."""
        batchers = [own.batcher for own in self.generations if own.batcher is not None]
        return 1024 + 32 * max((own.frame // own.dtype.itemsize for own in batchers), default=0)

    def description(self) -> dict[str, Any]:
        """Return what the model is, and what a frame of its sessions holds; or why it has no sessions."""
        generation = self.generations[0]
        if generation.batcher is None:
            return {**generation.served.description(), "sessions": False, "why": generation.refusal}
        batcher = generation.batcher
        sizes = {"input_size": None if batcher.indices else batcher.inputs, "output_size": batcher.outputs}
        shown = {"show": generation.served.shown, "frame": batcher.frame}
        return {**generation.served.description(), "sessions": True, **shown, **sizes}

    def replace(self, served: Served) -> None:
        """Give new sessions another model. Those of the model before go on; those of the one before that end.

        With weights that are served already, as the present ones or those before, all go on.
        """
        known = {own.served.digest: own for own in self.generations}
        generation = known.get(served.digest) or self._generation(served)
        generation.served = served
        others = [own for own in self.generations if own is not generation]
        if generation is not self.generations[0]:
            self._metrics.reloads.inc()
        self.generations = [generation, *others[:1]]
        for session in [own for own in self.live.values() if own.generation in others[1:]]:
            session.close(REPLACED, "the model was replaced")

    @asynccontextmanager
    async def attached(self, name: str | None, owner: str, every: int | None) -> AsyncIterator[Session]:
        """Begin a session, or go on with one, for the time of a connection.

        Raises
        ------
        Refused
        """
        async with self._reserved(name, owner, "the session has another connection") as session:
            if name is None:
                durability = steps_of("durability", self._settings.durability)
                await self._begin(session, durability if every is None else every)
            else:
                await self._take(session)
            try:
                if session.code is not None:
                    raise _held()
                yield session
            finally:
                await self._give_back(session)

    async def end(self, name: str, owner: str) -> None:
        """End a session for good, of whatever weights it is.

        Raises
        ------
        Refused
        """
        async with self._reserved(name, owner, "the session was ended for good") as session:
            stored = await self._from_store(session)
            try:
                await self._keeper.call(self._keeper.store.delete, name, stored.fence)
            except Exception:
                raise _store_failed() from None

    @asynccontextmanager
    async def _reserved(self, name: str | None, owner: str, why: str) -> AsyncIterator[Session]:
        """Be the only one with a session of this name here; `why` is for a connection that has it."""
        if self.draining:
            raise going_down()
        key = name or secrets.token_urlsafe(24), self._may(owner)
        if (old := self.live.get(key)) is not None:
            await self._let_go(old, why)
        if len(self.live) >= self._settings.connected:
            raise Refused(503, self._settings.limit("connected"), "connected", retry=5)
        session = Session(key[0], owner, self._settings.pending, self._settings.timeout)
        if self.live.setdefault(key, session) is not session:
            raise _held()
        try:
            yield session
        finally:
            del self.live[key]
            session.gone.set()

    def _may(self, owner: str) -> str | None:
        """Return whose sessions somebody may use: without tokens, all whose names he knows, wherever he comes from."""
        return owner if self._settings.tokens else None

    async def _let_go(self, session: Session, why: str) -> None:
        """Close the connection that a session has, and wait until it is given back."""
        session.close(ELSEWHERE, why)
        try:
            await asyncio.wait_for(session.gone.wait(), self._settings.timeout)
        except asyncio.TimeoutError:
            raise _held() from None

    async def _begin(self, session: Session, every: int) -> None:
        generation = self.generations[0]
        if generation.batcher is None:
            raise Refused(409, f"the model has no sessions: {generation.refusal}", "model")
        store, served = self._keeper.store, generation.served
        try:
            session.fence = await self._keeper.call(
                store.create, session.name, session.owner, served.digest, level_of(every)
            )
        except Full as full:
            raise Refused(429, self._settings.limit(str(full)), "kept", retry=60) from None
        except Exception:
            raise _store_failed() from None
        self._attach(session, generation, every, None)

    async def _take(self, session: Session) -> None:
        stored = await self._from_store(session)
        session.fence, session.step = stored.fence, stored.step
        for generation in self.generations:
            if generation.served.digest == stored.model and generation.batcher is not None:
                return self._attach(session, generation, steps_of("durability", stored.durability), stored)
        self._release(session.name)
        raise Refused(410, f"the session is of other weights, {stored.model}; begin a new one", "weights")

    async def _from_store(self, session: Session) -> Stored:
        """Take a session, once no other server has it: one that lives lets it go, one that is dead loses its lease."""
        owner = self._may(session.owner)
        begun, patience = time.monotonic(), 2 * self._settings.lease
        while True:
            try:
                found: Stored | None = await self._keeper.call(self._keeper.store.take, session.name, owner)
            except Held:
                if time.monotonic() - begun > patience:
                    raise Refused(409, "another server has the session", "held", retry=1) from None
            except Exception:
                raise _store_failed() from None
            else:
                if found is None:
                    raise Refused(404, "there is no such session", "unknown")
                return found
            await asyncio.sleep(_ASK)

    def _attach(self, session: Session, generation: Generation, every: int, stored: Stored | None) -> None:
        batcher = generation.batcher
        if batcher is None:
            raise TypeError("generation: expected one with a batcher")
        session.generation, session.every = generation, every
        if stored is not None and stored.step:
            session.row = batcher.pool.restore(stored.state)
            session.step = session.durable = stored.step
            session.y = stored.y
        else:
            session.row = batcher.pool.open()
        batcher.members += 1

    async def _give_back(self, session: Session) -> None:
        """Store what a session has, and let others take it."""
        batcher: Batcher = session.generation.batcher
        session.closing = True
        session.queue.clear()
        await session.settled()
        batcher.leave()
        state = batcher.pool.export(session.row)
        batcher.pool.close(session.row)
        if not session.lost:
            writes = [Write(session.name, session.fence, session.step, state, session.y)]
            try:
                await self._keeper.call(
                    self._stored_and_released, writes if session.step > session.durable else [], session
                )
            except Exception:
                _log.error("a session was not stored at its end")

    def _stored_and_released(self, writes: list[Write], session: Session) -> None:
        self._keeper.store.put(writes)
        self._keeper.store.release(session.name)

    def _release(self, name: str) -> None:
        self._keeper.submit(partial(self._keeper.store.release, name), lambda _: None)

    def show_gates(self, session: Session) -> None:
        """Let each reply of a session have gates and states.

        Raises
        ------
        Refused
        """
        if "gates" not in session.generation.served.shown:
            raise Refused(400, "show: expected a model with recurrent layers beside gates", "input")
        batcher: Batcher = session.generation.batcher
        gates: Gates = session.generation.gates

        def shown(frame: bytes) -> list[Message]:
            x = np.frombuffer(frame, batcher.dtype).reshape(1, *batcher.shape)
            return gates.at(batcher.pool.export(session.row), x) if np.isfinite(x).all() else []

        session.gates = shown

    async def watch(self) -> None:
        """Renew leases, and let go of sessions that others ask for, or that had no step for long; until cancelled."""
        store, settings = self._keeper.store, self._settings
        period = min(store.lease / 5, settings.idle / 4, settings.keep / 4, 60.0)
        seen: dict[Session, tuple[int, float]] = {}
        while True:
            try:
                wanted = {*await self._keeper.renew([own.name for own in self.live.values()])}
                here = [own for own in self.live.values() if own.name in wanted]
                for session in here:
                    session.close(ELSEWHERE, "another server goes on with the session")
                for name in wanted - {own.name for own in here}:  # not given back, because the store failed
                    self._release(name)
            except Exception:
                _log.warning("the lease was not renewed")
            now = time.monotonic()
            seen = {own: self._last_step(own, seen.get(own), now) for own in self.live.values()}
            for session, (_, since) in seen.items():
                if now - since > settings.idle:
                    session.close(IDLE, f"no step for {settings.idle:g} seconds")
            await asyncio.sleep(period)

    @staticmethod
    def _last_step(session: Session, seen: tuple[int, float] | None, now: float) -> tuple[int, float]:
        return seen if seen is not None and seen[0] == session.step else (session.step, now)

    async def drain(self) -> None:
        """Take no more sessions and steps, answer those that were taken, and give all sessions back."""
        self.draining = True
        for session in self.live.values():
            session.closing = True
        await asyncio.gather(*(self._finish(session) for session in self.live.values()))

    async def _finish(self, session: Session) -> None:
        await session.settled()
        session.close(RESTART, "the server is going down; go on elsewhere")
        await session.gone.wait()
