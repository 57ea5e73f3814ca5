"""What all requests have: an id, a line in the log, figures, and somebody who sent them."""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gru_native.serve.errors import Refused
from gru_native.serve.metrics import Metrics

_log = logging.getLogger(__name__)
_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
BEARER = "bearer."  # what a subprotocol begins with that is a token: browsers send no headers with a WebSocket


class Requests:
    """Middleware: gives requests ids, which replies carry too, and notes how they ended."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        scope["request"] = request = given if _ID.fullmatch(given) else secrets.token_hex(8)
        if scope["type"] == "websocket":  # its frames have no more to go through
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request.encode())]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = time.monotonic() - begun
            endpoint = getattr(scope.get("endpoint"), "__name__", "page")
            self._metrics.requests.labels(endpoint, status).inc()
            self._metrics.request_seconds.observe(seconds)
            fields = {"request": request, "method": scope["method"], "endpoint": endpoint, "status": status}
            _log.info("request", extra={"fields": {**fields, "seconds": round(seconds, 6), "client": address(scope)}})


def address(scope: Scope) -> str:
    """Return the address that a request comes from."""
    return scope["client"][0] if scope.get("client") else "unix"


def owner_of(connection: HTTPConnection, tokens: dict[str, str]) -> str:
    """Return who sent a request: the name of the token, or the address where no tokens are set.

    Raises
    ------
    Refused
        Without a token, or with a wrong one.
    """
    if not tokens:
        return f"address {address(connection.scope)}"
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        offered = [own for own in connection.scope.get("subprotocols", []) if own.startswith(BEARER)]
        token = unquote(offered[0].removeprefix(BEARER)) if offered else ""  # a subprotocol cannot have all characters
    found = [name for name, own in tokens.items() if hmac.compare_digest(own.encode(), token.strip().encode())]
    if not found:
        raise Refused(401, "authorization: expected a bearer token that this server knows", "token")
    return f"token {found[0]}"


def answer(refused: Refused, connection: HTTPConnection, metrics: Metrics) -> JSONResponse:
    """Return the answer to a request that is refused."""
    metrics.refused.labels(refused.reason).inc()
    request = connection.scope["request"]
    headers: dict[str, Any] = {}
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refused.retry is not None:
        headers["Retry-After"] = str(refused.retry)
    return JSONResponse({"error": str(refused), "request": request}, refused.status, headers)
