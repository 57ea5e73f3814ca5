"""The server's own connections: bounded in number, and none that a silent client keeps for ever.

uvicorn makes an object for each; what it has to know is in the state that the application has when it starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from gru_native.serve.settings import Settings

_PARTS = 1000  # of a frame
_BESIDE = 100  # connections that are neither sessions nor batches


def most(settings: Settings) -> int:
    """Return how many connections there can be."""
    return settings.connected + settings.requests + _BESIDE


def framed(content: bytes | str) -> bytes:
    """Return the frame of a binary message, or of a text."""
    if isinstance(content, str):
        return Frame(Opcode.TEXT, content.encode()).serialize(mask=False)
    return Frame(Opcode.BINARY, content).serialize(mask=False)


class Http(H11Protocol):
    """A connection on which nothing happens between two looks, while no request is answered, is over.

    By h11, also where httptools is installed: that one takes headers without an end.
    """

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > most(self.app_state["settings"]):
            transport.abort()
            return
        self.app_state = {**self.app_state, "connection": self}
        # What a WebSocket's message may have: the model can have been replaced.
        self.config.ws_max_size = self.app_state["sessions"].largest_message
        self._look_later((None, True))

    def _look_later(self, now: tuple[Any, bool]) -> None:
        self.loop.call_later(self.app_state["settings"].timeout, self._look, now)

    def _look(self, before: tuple[Any, bool]) -> None:
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return
        now = self.cycle, self.cycle is None or self.cycle.response_complete
        if now[1] and now == before:
            self.transport.abort()
        else:
            self._look_later(now)


class WebSocket(WebSocketsSansIOProtocol):
    """Lets the application drop a client that takes nothing, keeps little of what one sends, and hands steps on.

    Attributes
    ----------
    take
        What gets a binary message at once, and says whether it took it. Others wait for the application's `receive`,
        which takes longer than a step: a task wakes, and the socket is not watched in between.
    """

    app_state: dict[str, Any]
    take: Callable[[bytes], bool] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "connection": self}

    def abort(self) -> None:
        """End the connection without a word."""
        self.transport.abort()

    def write(self, frame: bytes) -> None:
        """Send a frame, unless the connection is over, which `receive` says too."""
        if self.conn.state is State.OPEN and not self.disconnected and not self.transport.is_closing():
            self.transport.write(frame)

    def handle_bytes(self, event: Any) -> None:
        """Hand a message on: at once if it is whole, and no other waits."""
        if self.take is None or self.read_paused or not event.fin or not self.take(event.data):
            super().handle_bytes(event)

    def handle_ping(self) -> None:
        """Answer a ping, unless answers pile up."""
        if self.writable.is_set() and not self.transport.is_closing():
            super().handle_ping()
        else:
            self.transport.abort()

    def handle_cont(self, event: Any) -> None:
        """Take a part of a frame, unless there are too many: empty ones have no size that could be limited."""
        if len(self.frames) < _PARTS:
            super().handle_cont(event)
        else:
            self.transport.abort()
