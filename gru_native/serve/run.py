"""The process that serves a model."""

from __future__ import annotations

import socket

import uvicorn

from gru_native.serve.app import Service
from gru_native.serve.connections import Http, WebSocket
from gru_native.serve.log import to_standard_error
from gru_native.serve.model import Served
from gru_native.serve.settings import Settings, SettingsError
from gru_native.serve.store import open_store


class _Server(uvicorn.Server):
    """uvicorn's server, which drains the sessions before it closes connections."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._service.drain()
        await super().shutdown(sockets)


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that connections come to."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(f"host, port: {host}:{port}: {error.strerror}") from None


def serve(path: str, settings: Settings) -> None:
    """Serve a model until a signal ends it. A line on standard output says where, once connections are taken.

    Raises
    ------
    ModelFileError, OSError
        When the file is no model, or cannot be read.
    SettingsError
        When the port or the store cannot be used.
    """
    to_standard_error()
    served = Served.load(path)
    with _listening(settings.host, settings.port) as listening:
        service = Service(path, served, open_store(settings), settings)
        config = uvicorn.Config(
            service.app(),
            http=Http,
            ws=WebSocket,
            ws_max_size=service.sessions.largest_message,
            ws_per_message_deflate=False,
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=5,
            ssl_certfile=settings.ssl_certfile,
            ssl_keyfile=settings.ssl_keyfile,
        )
        scheme = "http" if settings.ssl_certfile is None else "https"
        host, port = listening.getsockname()[:2]
        print(f"Serving {path} at {scheme}://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        _Server(config, service).run([listening])
