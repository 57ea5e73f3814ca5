"""Live sessions over WebSocket: a frame in is a step, a frame out its acknowledgement."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from gru_native import io
from gru_native.arguments import one_of, shown, whole
from gru_native.serve.batcher import Batcher
from gru_native.serve.connections import framed
from gru_native.serve.errors import INVALID, REFUSED, UNSUPPORTED, Refused
from gru_native.serve.live import Session, closing
from gru_native.serve.metrics import Metrics
from gru_native.serve.requests import answer, asked, no_such_path, owner_of
from gru_native.serve.sessions import Sessions
from gru_native.serve.settings import Settings, level_of, steps_of

_log = logging.getLogger(__name__)
PROTOCOL = "gru-native"  # which a browser asks for: it shows a page neither status nor body of a refusal


class Streams:
    """The endpoint of sessions, in plain ASGI: nothing stands between a frame and the batcher."""

    def __init__(self, sessions: Sessions, settings: Settings, metrics: Metrics) -> None:
        self._sessions, self._settings, self._metrics = sessions, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        await receive()  # of the connection
        noted = {"request": scope["request"]}
        try:
            if "path_params" not in scope:  # of no route
                raise no_such_path(websocket)
            owner = owner_of(websocket, self._settings)
            text, shows, every = _wishes(asked(websocket, "frames", "show", "durability"))
            name = scope["path_params"].get("id")
            if name is not None and every is not None:
                raise Refused(400, "durability: belongs to a new session", "input")
            async with self._sessions.attached(name, owner, every) as session:
                noted |= {"owner": owner, "begun": session.step}
                session.text = text
                if shows:
                    self._sessions.show_gates(session)
                await self._serve(session, scope, receive, send)
            noted["steps"] = session.step - noted["begun"]
            if session.code is not None:
                noted["code"] = session.code
                self._metrics.closed.labels(session.code).inc()
        except Refused as refused:
            noted["refused"] = refused.reason
            denial = answer(refused, websocket, self._metrics)
            if PROTOCOL in scope["subprotocols"]:
                await self._accept(scope, send)
                await send(closing(REFUSED + refused.status, str(refused)))
            else:
                await websocket.send_denial_response(denial)
        except WebSocketDisconnect:
            pass
        _log.info("session", extra={"fields": noted})

    @staticmethod
    async def _accept(scope: Scope, send: Send) -> None:
        protocol = PROTOCOL if PROTOCOL in scope["subprotocols"] else None
        headers = [(b"x-request-id", scope["request"].encode())]
        await send({"type": "websocket.accept", "subprotocol": protocol, "headers": headers})

    async def _serve(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        batcher: Batcher = session.generation.batcher
        await self._accept(scope, send)
        connection = scope["state"]["connection"]
        session.connect(send, connection)
        session.reply(framed(json.dumps(_greeting(session, batcher))))
        if not session.text:
            connection.take = partial(_take_at_once, session, batcher)
        while (message := await receive())["type"] != "websocket.disconnect":
            given, read = (message.get("text"), _of_text) if session.text else (message.get("bytes"), _of_bytes)
            _take(session, batcher, given, read)
            while session.full and not session.closing:
                await session.changed()


def _take_at_once(session: Session, batcher: Batcher, frame: bytes) -> bool:
    """Take a step, unless so many wait that no more are to be read."""
    if session.full:
        return False
    _take(session, batcher, frame, _of_bytes)
    return True


def _take(session: Session, batcher: Batcher, given: Any, read: Callable[[Any, Batcher], bytes]) -> None:
    try:
        frame = read(given, batcher)
    except _Wrong as wrong:
        session.close(wrong.code, str(wrong))
    else:
        batcher.push(session, frame)


class _Wrong(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def _wishes(query: dict[str, str]) -> tuple[bool, bool, int | None]:
    """Return whether frames are JSON, whether gates are shown, and the durability of a new session as `steps_of`."""
    try:
        text = one_of("frames", query.get("frames", "binary"), ["binary", "json"]) == "json"
        shows = one_of("show", query.get("show", "outputs"), ["outputs", "gates"]) == "gates"
        given = query.get("durability")
        if shows and not text:
            raise ValueError("show: expected frames=json beside gates")
        return text, shows, None if given is None else steps_of("durability", given)
    except ValueError as error:
        raise Refused(400, str(error), "input") from None


def _greeting(session: Session, batcher: Batcher) -> Message:
    return {
        "session": session.name,
        "step": session.step,
        "durable": session.durable,
        "durability": level_of(session.every),
        "model": session.generation.served.digest,
        "y": batcher.numbers(session.y) if session.y else None,
    }


def _of_bytes(frame: bytes | None, batcher: Batcher) -> bytes:
    if frame is None:
        raise _Wrong(UNSUPPORTED, "expected binary frames, got text; ?frames=json is for text")
    if len(frame) != batcher.frame:
        raise _Wrong(INVALID, f"expected frames of {batcher.frame} bytes, got {len(frame)}")
    if batcher.indices and not 0 <= (index := int.from_bytes(frame, "little", signed=True)) < batcher.indices:
        raise _Wrong(INVALID, f"x: expected a whole number from 0 to {batcher.indices - 1}, got {index}")
    return frame


def _of_text(text: str | None, batcher: Batcher) -> bytes:
    if text is None:
        raise _Wrong(UNSUPPORTED, "expected text frames, as ?frames=json says, got a binary one")
    try:
        given = io.parsed(text)
    except ValueError as error:
        raise _Wrong(INVALID, f"expected frames of JSON: {error}") from None
    if not isinstance(given, dict) or [*given] != ["x"]:
        got = shown([*given] if isinstance(given, dict) else given)
        raise _Wrong(INVALID, f"expected frames with an object that has x alone, got {got}")
    return _of_index(given["x"], batcher) if batcher.indices else _of_numbers(given["x"], batcher)


def _of_index(x: Any, batcher: Batcher) -> bytes:
    try:
        return whole("x", x, 0, batcher.indices - 1).to_bytes(batcher.frame, "little")
    except (TypeError, ValueError) as error:
        raise _Wrong(INVALID, str(error)) from None


def _of_numbers(x: Any, batcher: Batcher) -> bytes:
    if not isinstance(x, list) or len(x) != batcher.inputs or not {*map(type, x)} <= {int, float}:
        got = len(x) if isinstance(x, list) and len(x) != batcher.inputs else shown(x)
        raise _Wrong(INVALID, f"x: expected a list of {batcher.inputs} numbers, got {got}")
    try:
        with np.errstate(over="ignore"):
            return np.asarray(x).astype(batcher.dtype).tobytes()
    except OverflowError:
        raise _Wrong(INVALID, f"x: expected finite numbers, got {shown(max(x, key=abs))}") from None
