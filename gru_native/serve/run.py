"""The process that serves a model."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from threading import Event

import uvicorn

from gru_native.serve.app import Service
from gru_native.serve.connections import Http, WebSocket, most
from gru_native.serve.log import to_standard_error
from gru_native.serve.model import Served
from gru_native.serve.settings import Settings, SettingsError
from gru_native.serve.store import open_store

_log = logging.getLogger(__name__)
#: Of the time to end in: for clients to take what they get; and for the store to have what they leave.
_TAKING, _STORING = 0.75, 0.95


class _Server(uvicorn.Server):
    """uvicorn's server, which reads the model again at SIGHUP, and drains the sessions before it closes connections.

    Tasks are never cut off, so that sessions are stored: their connections are, and they end.
    """

    def __init__(self, config: uvicorn.Config, service: Service, reload: Event, seconds: float) -> None:
        super().__init__(config)
        self._service, self._reload, self._seconds = service, reload, seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._service.reload_soon)
        if self._reload.is_set():
            self._service.reload_soon()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(_TAKING * self._seconds, self._abort)
        loop.call_later(_STORING * self._seconds, self._service.keeper.give_up)
        await self._service.drain()
        await super().shutdown(sockets)

    def _abort(self) -> None:
        """End the connections that there are still, and let no more come."""
        for server in self.servers:
            server.close()
        for connection in [*self.server_state.connections]:
            connection.transport.abort()
        self._service.give_up()


def _allow_files(count: int) -> None:
    """Let the process have so many open files: each connection is one."""
    allowed, most_allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most_allowed != resource.RLIM_INFINITY and most_allowed < count:
        _log.warning("the system allows %d open files, and the limits on connections may need %d", most_allowed, count)
        count = most_allowed
    if allowed != resource.RLIM_INFINITY and allowed < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, most_allowed))


def _listening(settings: Settings) -> socket.socket:
    """Return a socket that connections come to."""
    host, port = settings.host, settings.port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(f"host, port: {host}:{port}: {error.strerror}") from None
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # what a client does not take in this time ends its connection
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * settings.timeout))
    return found


def serve(path: str, settings: Settings, reload: Event) -> None:
    """Serve a model until a signal ends it. A line on standard output says where, once connections are taken.

    Parameters
    ----------
    path
        Of the model's file.
    settings : Settings
    reload : Event
        Set by a SIGHUP that came before the server has a handler of its own.

    Raises
    ------
    ModelFileError, OSError
        When the file is no model, or cannot be read.
    SettingsError
        When the port or the store cannot be used.
    """
    to_standard_error()
    _allow_files(most(settings) + 100)
    served = Served.load(path)
    with _listening(settings) as listening:
        service = Service(path, served, open_store(settings), settings)
        config = uvicorn.Config(
            service.app(),
            http=Http,
            ws=WebSocket,
            ws_per_message_deflate=False,
            ws_ping_interval=settings.timeout,
            ws_ping_timeout=settings.timeout,
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            ssl_certfile=settings.ssl_certfile,
            ssl_keyfile=settings.ssl_keyfile,
        )
        try:
            config.load()
        except OSError as error:  # which does not say which file it is about
            files = f"{settings.ssl_certfile}, {settings.ssl_keyfile or settings.ssl_certfile}"
            raise SettingsError(f"ssl_certfile, ssl_keyfile: {files}: {error.strerror or error}") from None
        scheme = "http" if settings.ssl_certfile is None else "https"
        host, port = listening.getsockname()[:2]
        print(f"Serving {path} at {scheme}://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        _Server(config, service, reload, settings.drain).run([listening])
