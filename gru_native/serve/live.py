"""A session that is connected: its steps that wait, and its replies."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]
Send: TypeAlias = Callable[[Message], Coroutine[Any, Any, None]]

#: What the server's `send` raises when the client is gone, and when the server has closed the connection itself.
_OVER = (OSError, RuntimeError)


class Session:
    """A connected session. All of it belongs to the event loop's thread.

    Attributes
    ----------
    name, owner
        As the store has them.
    every
        Of which steps the state is stored before they are acknowledged; 0 for none.
    generation
        The model that it began with.
    fence
        By which this server writes.
    row
        Its identifier in the pool.
    step, durable
        How many steps were taken, and how many of them the stored state is of.
    y
        The last output, as a frame has it.
    queue
        Frames that wait for the step before them.
    busy
        Whether a step of it is with the batcher, or waits to be stored.
    text
        Whether frames are JSON.
    closing
        Whether no more frames are taken.
    code
        With which the server closed the connection; nothing is sent after that.
    lost
        Whether what it has is not to be stored: another server has the session, or the store failed.
    gates
        What gives gates and states with each step, where the client wants them.
    gone
        Set when it is in the store again, for others to take.
    """

    def __init__(self, name: str, owner: str, pending: int, timeout: float) -> None:
        self.name, self.owner = name, owner
        self.generation: Any = None
        self.every = self.fence = self.row = self.step = self.durable = 0
        self.y = b""
        self.queue: deque[bytes] = deque()
        self.text = self.busy = self.closing = self.lost = False
        self.code: int | None = None
        self.gates: Callable[[bytes], list[Message]] | None = None
        self.shown: list[Message] | None = None
        self.gone = asyncio.Event()
        self._pending, self._timeout = pending, timeout
        self._send: Send | None = None
        self._connection: Any = None
        self._unsent: deque[bytes] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._changed: asyncio.Future[None] | None = None

    def connect(self, send: Send, connection: Any) -> None:
        """Let replies go to a client that was accepted; see `gru_native.serve.connections.WebSocket`."""
        self._send, self._connection = send, connection

    @property
    def full(self) -> bool:
        """Whether so many steps wait, or replies that the client has not taken, that no more are read."""
        return len(self.queue) + self.busy + len(self._unsent) >= self._pending

    async def changed(self) -> None:
        """Wait until a step is over, or a reply is on its way."""
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def wake(self) -> None:
        """End what waits for a change."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def settled(self) -> None:
        """Wait until the steps that were taken are over, and their replies on the way."""
        while self.busy or self.queue or (self._unsent and self._sender is not None):
            await self.changed()

    def reply(self, frame: bytes) -> None:
        """Send a frame, without waiting for a client that is slow."""
        if self.code is not None:
            return
        if not self._unsent and self._connection.writable.is_set():
            self._connection.write(frame)
            return
        self._unsent.append(frame)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_rest())

    def close(self, code: int, reason: str) -> None:
        """End the connection; the session stays in the store."""
        if self.code is not None:
            return
        self.closing, self.code = True, code
        self.queue.clear()
        if self._send is not None and (self._unsent or not _done_at_once(self._send(closing(code, reason)))):
            self._connection.abort()

    async def _send_rest(self) -> None:
        try:
            while self._unsent:
                await asyncio.wait_for(self._connection.writable.wait(), self._timeout)
                self._connection.write(self._unsent.popleft())
                self.wake()
        except asyncio.TimeoutError:
            self._unsent.clear()
            self._connection.abort()
        finally:
            self._sender = None
            self.wake()


def _done_at_once(sending: Coroutine[Any, Any, None]) -> bool:
    """Run what sends a message, unless the connection's buffer is full: then nothing of it is sent.

    The server's `send` waits for one thing alone, that the buffer has room, before it writes all: so a first run of the
    coroutine either did it, or nothing.
    """
    try:
        sending.send(None)
    except StopIteration:
        return True
    except _OVER:  # `receive` says so, too
        return True
    sending.close()
    return False


def closing(code: int, reason: str) -> Message:
    """Return the end of a connection; what it says fits the frame."""
    return {"type": "websocket.close", "code": code, "reason": reason.encode()[:120].decode(errors="ignore")}
