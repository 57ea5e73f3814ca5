"""What all requests have: an id, a line in the log, figures, and somebody who sent them."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gru_native.arguments import one_of, shown
from gru_native.serve.errors import Refused, going_down
from gru_native.serve.metrics import Metrics
from gru_native.serve.settings import Settings

_log = logging.getLogger(__name__)
_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
_PART = 1 << 16  # bytes of an answer that are sent at a time
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
        begun, status, answered = time.monotonic(), 500, False

        async def noting(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request.encode())]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:  # the server ends, and waits for it no longer
            if not answered:
                await answer(going_down(), HTTPConnection(scope), self._metrics)(scope, receive, noting)
        finally:
            seconds = time.monotonic() - begun
            endpoint = getattr(scope.get("endpoint"), "__name__", "page")
            self._metrics.requests.labels(endpoint, status).inc()
            self._metrics.request_seconds.observe(seconds)
            fields = {"request": request, "method": scope["method"], "endpoint": endpoint, "status": status}
            _log.info("request", extra={"fields": {**fields, "seconds": round(seconds, 6), "client": address(scope)}})


class Answer(Response):
    """An answer that is over when the client has taken it. One that is not taken in time ends with its connection.

    Parameters
    ----------
    content, headers
    timeout
        In seconds.
    count
        Hears how many bytes more are on their way: less than none at the end.
    """

    def __init__(self, content: bytes, headers: dict[str, str], timeout: float, count: Callable[[int], None]) -> None:
        super().__init__(content, headers=headers)
        self._timeout, self._count = timeout, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, in parts: the server's `send` first waits until there is room, or the client is gone."""
        late = asyncio.get_running_loop().call_later(self._timeout, scope["state"]["connection"].transport.abort)
        self._count(len(self.body))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for start in range(0, len(self.body), _PART):
                part = self.body[start : start + _PART]
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            late.cancel()
            self._count(-len(self.body))


def address(scope: Scope) -> str:
    """Return the address that a request comes from."""
    return scope["client"][0] if scope.get("client") else "unix"


def owner_of(connection: HTTPConnection, settings: Settings) -> str:
    """Return who sent a request: the name of the token, or the address where no tokens are set.

    Raises
    ------
    Refused
        Without a token, or with a wrong one; where no tokens are set, for the page of another server.
    """
    if not settings.tokens:
        _refuse_pages_of_others(connection, settings.host)
        return f"address {address(connection.scope)}"
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        offered = [own for own in connection.scope.get("subprotocols", []) if own.startswith(BEARER)]
        token = unquote(offered[0].removeprefix(BEARER)) if offered else ""  # a subprotocol cannot have all characters
    found = [name for name, own in settings.tokens.items() if hmac.compare_digest(own.encode(), token.strip().encode())]
    if not found:
        raise Refused(401, "authorization: expected a bearer token that this server knows", "token")
    return f"token {found[0]}"


def _refuse_pages_of_others(connection: HTTPConnection, listening: str) -> None:
    """Refuse what a page of another server sends: a browser lets it, also to servers that only its user can reach.

    Who owns a domain can give its name to this server's address, after which a browser takes the server for that one's.
    """
    host, origin = connection.headers.get("host", ""), connection.headers.get("origin")
    if not _of_nobody_else(host, listening):
        expected = "an address, a name without a dot, or the one that the server listens on"
        raise Refused(403, f"host: expected {expected}, because no tokens are set, got {host}", "host")
    if origin is not None and origin.partition("://")[2] != host:
        raise Refused(403, f"origin: expected a page of this server, because no tokens are set, got {origin}", "origin")


def _of_nobody_else(host: str, listening: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return "." not in name or name == listening.lower() or ip_address(name) is not None
    except ValueError:
        return False


def asked(connection: HTTPConnection, *known: str) -> dict[str, str]:
    """Return the parameters in the query, of which each may stand there once.

    Raises
    ------
    Refused
    """
    found: dict[str, str] = {}
    try:
        for name, value in connection.query_params.multi_items():
            if one_of("query", name, known) in found:
                raise ValueError(f"{name}: expected it once in the query, got {shown(found[name])} and {shown(value)}")
            found[name] = value
    except ValueError as error:
        raise Refused(400, str(error), "input") from None
    return found


def no_such_path(connection: HTTPConnection) -> Refused:
    """Return the answer to a path that nothing is at."""
    expected = "one of those that /openapi.json describes"
    return Refused(404, f"path: expected {expected}, got {connection.scope['path']}", "path")


def answer(refused: Refused, connection: HTTPConnection, metrics: Metrics) -> JSONResponse:
    """Return the answer to a request that is refused."""
    metrics.refused.labels(refused.reason).inc()
    request = connection.scope["request"]
    headers: dict[str, Any] = {}
    if refused.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refused.status == 426:
        headers |= {"Upgrade": "websocket", "Connection": "upgrade"}
    if refused.retry is not None:
        headers["Retry-After"] = str(refused.retry)
    return JSONResponse({"error": str(refused), "request": request}, refused.status, headers)
