"""Steps of sessions that come at about the same time are computed together."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from functools import partial
from struct import Struct
from typing import Any

import numpy as np

from gru_native.arguments import Array
from gru_native.serve.connections import framed
from gru_native.serve.errors import ELSEWHERE, FAILED, INVALID
from gru_native.serve.keeper import Keeper
from gru_native.serve.live import Session
from gru_native.serve.metrics import Metrics
from gru_native.serve.numbers import listed
from gru_native.serve.settings import Settings
from gru_native.serve.store import Write
from gru_native.stream import StreamPool

_log = logging.getLogger(__name__)

#: What a binary reply begins with: its step, and the last one whose state is stored.
HEAD = Struct("<QQ")


class Batcher:
    """Collects steps of sessions, at most one of each, and computes them.

    It does so when the deadline of the first one is over, or at once when no more can come: all sessions have one here,
    or as many as a batch takes. A deadline of 0 is over when all that has come is read.

    Parameters
    ----------
    pool : StreamPool
        Used in the event loop's thread alone.
    """

    def __init__(self, pool: StreamPool, settings: Settings, keeper: Keeper, metrics: Metrics) -> None:
        self.pool = pool
        self.members = 0  # sessions that can send steps
        self._stored = 0  # of these, whose step waits for the store
        self._settings, self._keeper, self._metrics = settings, keeper, metrics
        model = pool._model
        self.dtype = np.dtype(np.int64) if model.indices else model.dtype
        self.inputs: int = model.input_size
        self.shape: tuple[int, ...] = () if model.indices else (self.inputs,)
        self.frame = self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))
        self.indices, self.outputs, self.output_dtype = model.indices, model.output_size, model.dtype
        size = self.output_dtype.itemsize * self.outputs
        reply = bytes(HEAD.size + size)
        self._header = framed(reply)[: -len(reply)]  # all binary replies are of one size
        self._acknowledge = Struct(f"<{len(self._header)}sQQ{size}s").pack
        self._sessions: list[Session] = []
        self._frames: list[bytes] = []
        self._timer: asyncio.Handle | None = None
        self._begun = 0.0

    def push(self, session: Session, frame: bytes) -> None:
        """Take a step of a session: a frame of the right size."""
        if session.closing:
            return
        if session.busy:
            session.queue.append(frame)
            return
        self._add(session, frame)
        if self._complete():
            self._step()
        elif self._timer is None:
            self._step_after(self._settings.deadline)

    def leave(self) -> None:
        """Wait for one session less."""
        self.members -= 1
        self._go_on()

    def _add(self, session: Session, frame: bytes) -> None:
        if session.gates is not None:
            session.shown = session.gates(frame)
        session.busy = True
        if not self._sessions:
            self._begun = time.monotonic()
        self._sessions.append(session)
        self._frames.append(frame)

    def _complete(self) -> bool:
        return len(self._sessions) >= min(self._settings.batch, self.members - self._stored)

    def _go_on(self) -> None:
        """See to it that what is there is computed: not from here, where a step may have just ended."""
        if self._sessions:
            complete = self._complete()
            if complete and self._timer is not None:
                self._timer.cancel()
            if complete or self._timer is None:
                self._step_after(0.0 if complete else self._settings.deadline)

    def _step_after(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(delay, self._step) if delay else loop.call_soon(self._step)

    def _step(self) -> None:
        """Compute what is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        most, begun = self._settings.batch, time.monotonic()
        sessions, self._sessions = self._sessions[:most], self._sessions[most:]
        frames, self._frames = self._frames[:most], self._frames[most:]
        x = np.frombuffer(b"".join(frames), self.dtype).reshape(-1, *self.shape)
        if not self.indices and not np.isfinite(x).all():
            sessions, x = self._without_wrong(sessions, x)
        try:
            y = self.pool.step(np.array([session.row for session in sessions], np.uint64), x)
        except Exception:
            _log.exception("a batch failed")
            for session in sessions:
                session.close(FAILED, "the step failed")
                self._next(session)
        else:
            ended = time.monotonic()
            waited = begun - self._begun  # which a reply may change, with the next step of its session
            self._reply(sessions, y, ended < self._keeper.lease_ends)
            self._metrics.steps.inc(len(sessions))
            self._metrics.batch_steps.observe(len(sessions))
            self._metrics.wait_seconds.observe(waited)
            self._metrics.batch_seconds.observe(ended - begun)
        self._go_on()

    def _without_wrong(self, sessions: list[Session], x: Array) -> tuple[list[Session], Array]:
        """Return the sessions with finite numbers, and close the others, whose states do not change."""
        finite = np.isfinite(x)
        right = np.logical_and.reduce(finite, axis=1)
        for wrong in np.flatnonzero(~right):
            place = int(finite[wrong].argmin())
            sessions[wrong].close(INVALID, f"x: expected finite numbers, got {x[wrong, place]} at {place}")
            self._next(sessions[wrong])
        return [own for own, is_right in zip(sessions, right, strict=True) if is_right], x[right]

    def _reply(self, sessions: list[Session], y: Array, leased: bool) -> None:
        """Acknowledge steps, or have their states stored first."""
        output, size, at = y.tobytes(), y.itemsize * y.shape[1], 0
        writes: list[Write] = []
        waiting: list[Session] = []
        for session in sessions:
            session.step += 1
            session.y = output[at : at + size]
            at += size
            if session.every and session.step % session.every == 0:
                state = self.pool.export(session.row)
                writes.append(Write(session.name, session.fence, session.step, state, session.y))
                waiting.append(session)
                continue
            if leased:
                session.reply(self.acknowledgement(session))
            else:
                session.close(ELSEWHERE, "the lease of this server is over")
            self._next(session)
        if writes:
            self._stored += len(waiting)
            self._keeper.submit(partial(self._keeper.store.put, writes), partial(self._when_stored, waiting))

    def _when_stored(self, sessions: list[Session], lost: set[str] | Exception) -> None:
        """Acknowledge steps whose states are stored."""
        self._stored -= len(sessions)
        for session in sessions:
            session.lost = isinstance(lost, Exception) or session.name in lost
            if not session.lost:
                session.durable = session.step
                session.reply(self.acknowledgement(session))
            elif isinstance(lost, Exception):
                session.close(FAILED, "the store failed; go on from the last durable step")
            else:
                session.close(ELSEWHERE, "another server has the session")
            self._next(session)
        self._go_on()

    def acknowledgement(self, session: Session) -> bytes:
        """Return the frame that replies to the last step of a session."""
        if session.text:
            content = {"step": session.step, "durable": session.durable, "y": self.numbers(session.y)}
            if session.shown is not None:
                content["layers"] = session.shown
            return framed(json.dumps(content))
        return self._acknowledge(self._header, session.step, session.durable, session.y)

    def numbers(self, y: bytes) -> Any:
        """Return an output as JSON has it."""
        return listed(np.frombuffer(y, self.output_dtype))

    def _next(self, session: Session) -> None:
        """Go on with the next step of a session."""
        session.busy = False
        if session.queue:
            self._add(session, session.queue.popleft())
        session.wake()
