"""The server's routes, and what is behind them for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from gru_native.io import ModelFileError
from gru_native.serve import batches, openapi
from gru_native.serve.errors import Refused, going_down
from gru_native.serve.keeper import Keeper
from gru_native.serve.metrics import Metrics
from gru_native.serve.model import Served
from gru_native.serve.pages import Page
from gru_native.serve.requests import Answer, Requests, answer, asked, no_such_path, owner_of
from gru_native.serve.sessions import Sessions
from gru_native.serve.settings import ADMIN, Settings
from gru_native.serve.store import Store
from gru_native.serve.streams import Streams

_log = logging.getLogger(__name__)


class Service:
    """A model that is served.

    Parameters
    ----------
    path
        Of the model's file, which is read again when the server is told to.
    served : Served
        What the file held.
    store : Store
    settings : Settings
    """

    def __init__(self, path: str, served: Served, store: Store, settings: Settings) -> None:
        self._path, self._settings = path, settings
        self.metrics = Metrics()
        self.keeper = Keeper(store, self.metrics)
        self.sessions = Sessions(served, settings, self.keeper, self.metrics)
        self._computing = ThreadPoolExecutor(1, "batches")
        self._requests = 0  # batches that wait or are computed
        self._arriving: set[asyncio.Task[bytes]] = set()  # bodies that are not whole yet
        self._moving = 0  # bytes of these, and of answers that are not taken yet
        self._reloading = asyncio.Lock()
        self.metrics.watch("sessions", "Sessions that are connected", lambda: len(self.sessions.live))
        self.metrics.watch("batches", "HTTP batches that wait or are computed", lambda: self._requests)

    def app(self) -> Starlette:
        """Return the application."""
        streams = Streams(self.sessions, self._settings, self.metrics)
        routes = [
            Route("/healthz", self.alive),
            Route("/readyz", self.ready),
            Route("/metrics", self.figures),
            Route("/openapi.json", self.openapi),
            Route("/v1/model", self.model),
            Route("/v1/predict", self.predict, methods=["POST"]),
            Route("/v1/sessions", self.session),
            Route("/v1/sessions/{id}", self.session, methods=["GET", "DELETE"]),
            Route("/admin/reload", self.reload, methods=["POST"]),
            WebSocketRoute("/v1/sessions", streams),
            WebSocketRoute("/v1/sessions/{id}", streams),
        ]
        app = Starlette(
            routes=routes,
            middleware=[Middleware(Requests, metrics=self.metrics)],
            exception_handlers={Refused: self._refuse, HTTPException: self._refuse_route},
            lifespan=self._lifespan,
        )
        page = Page()

        async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
            await (page if scope["type"] == "http" else streams)(scope, receive, send)

        app.router.default, app.router.redirect_slashes = elsewhere, False
        return app

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[dict[str, Any]]:
        watch = asyncio.create_task(self.sessions.watch())
        yield {"settings": self._settings, "sessions": self.sessions}
        watch.cancel()
        self.give_up()
        await self.keeper.close()

    async def drain(self) -> None:
        """Finish what was taken, and give all sessions back."""
        _log.info("draining", extra={"fields": {"sessions": len(self.sessions.live)}})
        for arriving in self._arriving:
            arriving.cancel()
        await self.sessions.drain()

    def give_up(self) -> None:
        """Compute no batch that waits."""
        self._computing.shutdown(wait=False, cancel_futures=True)

    async def _refuse(self, request: Request, refused: Refused) -> Response:
        return answer(refused, request, self.metrics)

    async def _refuse_route(self, request: Request, error: HTTPException) -> Response:
        if error.status_code != 405:
            return answer(no_such_path(request), request, self.metrics)
        allowed = (error.headers or {}).get("Allow", "GET, HEAD")  # older Starlettes do not say it of files
        refused = Refused(error.status_code, f"method: expected {allowed}, got {request.method}", "method")
        response = answer(refused, request, self.metrics)
        response.headers["Allow"] = allowed
        return response

    async def alive(self, request: Request) -> Response:
        """Say that the process answers."""
        return PlainTextResponse("alive\n")

    async def ready(self, request: Request) -> Response:
        """Say whether sessions and batches are taken."""
        if self.sessions.draining:
            return PlainTextResponse("draining\n", 503)
        if not await self.keeper.ready():
            return PlainTextResponse("the store fails\n", 503)
        return PlainTextResponse("ready\n")

    async def figures(self, request: Request) -> Response:
        """Return the metrics."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def openapi(self, request: Request) -> Response:
        """Return the description of all routes."""
        return JSONResponse(openapi.document())

    async def model(self, request: Request) -> Response:
        """Return what the model is."""
        owner_of(request, self._settings)
        return JSONResponse(self.sessions.description())

    async def predict(self, request: Request) -> Response:
        """Compute a batch."""
        owner_of(request, self._settings)
        if self.sessions.draining:
            raise going_down()
        shapes = [*asked(request, "shape").values(), *request.headers.getlist(batches.SHAPE)]
        if len(shapes) > 1:
            raise Refused(400, f"shape: expected one, got {' and '.join(shapes)}", "input")
        if (encoding := request.headers.get("content-encoding", "identity").lower()) != "identity":
            raise Refused(415, f"content-encoding: expected none, got {encoding}", "input")
        timeout = self._settings.timeout
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        most = min(self._settings.body, self._settings.json) if kind == batches.JSON else self._settings.body
        arriving = asyncio.create_task(self._body(request, most))
        self._arriving.add(arriving)
        arriving.add_done_callback(self._arriving.discard)
        try:
            body = await asyncio.wait_for(arriving, timeout)
        except asyncio.TimeoutError:
            raise Refused(408, f"body: expected all of it within {timeout:g} seconds, got a part", "timeout") from None
        if self._requests >= self._settings.requests:
            raise Refused(503, self._settings.limit("requests"), "requests", retry=1)
        self._requests += 1
        try:
            return await asyncio.wait_for(self._predicted(request, kind, body, *shapes), timeout)
        except asyncio.TimeoutError:
            raise Refused(503, f"the batch was not computed within {timeout:g} seconds", "timeout", retry=5) from None
        finally:
            self._requests -= 1

    async def _predicted(self, request: Request, kind: str, body: bytes, shape: str = "") -> Response:
        given = self.sessions.served, body, kind, shape, ",".join(request.headers.getlist("accept"))
        limits = self._settings.steps, self._settings.json, self._settings.threads
        content, headers = await asyncio.get_running_loop().run_in_executor(
            self._computing, batches.answer_to, *given, *limits
        )
        return Answer(content, headers, self._settings.timeout, self._move)

    def _move(self, count: int) -> None:
        self._moving += count

    async def _body(self, request: Request, most: int) -> bytes:
        """Return a body. With answers that are not taken yet, those that come have a share of memory, and no places."""
        refused = Refused(413, f"body: expected up to {most} bytes, got more", "size")
        room = self._settings.requests * self._settings.body
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            raise refused
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                self._move(len(part))
                if len(body) > most:
                    raise refused
                if self._moving > room:
                    expected = f"up to {room} bytes of all bodies and answers that are on their way"
                    raise Refused(503, f"body: expected {expected}", "bodies", retry=1)
        except ClientDisconnect:
            raise Refused(400, "body: expected more, but the client went away", "gone") from None
        finally:
            self._move(-len(body))
        return bytes(body)

    async def session(self, request: Request) -> Response:
        """End a session for good; all else that there is to do with one takes a WebSocket."""
        if request.method != "DELETE":
            expected = "Upgrade: websocket and Connection: Upgrade"
            raise Refused(426, f"upgrade: expected {expected}, got a request without them", "upgrade")
        await self.sessions.end(request.path_params["id"], owner_of(request, self._settings))
        return Response(status_code=204)

    async def reload(self, request: Request) -> Response:
        """Take over the model file as it is now."""
        if owner_of(request, self._settings) != f"token {ADMIN}":
            raise Refused(403, f"authorization: expected the token of {ADMIN}", "token")
        try:
            await self._reload()
        except (ModelFileError, OSError) as error:
            raise Refused(409, f"the model stays as it is: {error}", "model") from None
        return JSONResponse(self.sessions.description())

    async def _reload(self) -> None:
        async with self._reloading:
            served = await asyncio.get_running_loop().run_in_executor(None, Served.load, self._path)
            self.sessions.replace(served)
            _log.info("reloaded", extra={"fields": {"model": served.digest}})

    def reload_soon(self) -> None:
        """Take over the model file as it is now, and note what is wrong with it."""
        self._reload_task = asyncio.create_task(self._reload_at_signal())

    async def _reload_at_signal(self) -> None:
        try:
            await self._reload()
        except (ModelFileError, OSError) as error:
            _log.error("the model stays as it is: %s", error)
