"""The server's own connections: bounded in number, and none that a silent client keeps for ever.

uvicorn makes an object for each; what it has to know is in the state that the application has when it starts.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gru_native.serve.settings import Settings

_PARTS = 1000  # of a frame
_BESIDE = 100  # connections that are neither sessions nor batches


def most(settings: Settings) -> int:
    """Return how many connections there can be."""
    return settings.connected + settings.requests + _BESIDE


class Http(AutoHTTPProtocol):
    """A connection on which nothing happens between two looks, while no request is answered, is over."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if len(self.connections) > most(self.app_state["settings"]):
            transport.abort()
            return
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
    """Lets the application drop a client that takes nothing, and keeps little of what one sends."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": self.transport.abort}

    def handle_ping(self) -> None:
        """Answer a ping, unless answers pile up."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.transport.abort()

    def handle_cont(self, event: Any) -> None:
        """Take a part of a frame, unless there are too many: empty ones have no size that could be limited."""
        if len(self.frames) < _PARTS:
            super().handle_cont(event)
        else:
            self.transport.abort()
