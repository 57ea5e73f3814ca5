"""``gru-native serve``: a model behind HTTP and WebSocket."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

from gru_native.cli.errors import UserError
from gru_native.serve.settings import OPTIONS, PREFIX, SettingsError, settings_of

NEEDED = ("starlette", "uvicorn", "websockets", "prometheus_client")


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        help="serve a model: batches over HTTP, live sessions over WebSocket",
        description="Serve a model until SIGTERM or Ctrl-C: batches over HTTP, and live sessions over WebSocket, which "
        "a store keeps. Needs gru_native[serve]. Settings come from --config, then from the environment, such as "
        f"{PREFIX}PORT, then from the options; bearer tokens only from the first two. SIGHUP reads MODEL again.",
    )
    parser.add_argument("model", metavar="MODEL", help="a safetensors file of gru_native")
    parser.add_argument(
        "--config", type=Path, metavar="TOML", help="a file with the names of the options below (default: none)"
    )
    for name, own in OPTIONS.items():
        note = own.metadata
        text = note["what"] + ("" if own.default is None else f" (default: {own.default})")
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=note["kind"], metavar=note["metavar"], default=None, help=text)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Serve until a signal comes."""
    if missing := [name for name in NEEDED if not find_spec(name)]:
        raise UserError(f"serve: needs {', '.join(missing)} (pip install 'gru_native[serve]')")
    options = {name: getattr(arguments, name) for name in OPTIONS if getattr(arguments, name) is not None}
    reload = Event()  # asked for before there is a server, where a signal without a handler would end the process
    handlers = {signal.SIGHUP: lambda *_: reload.set(), signal.SIGTERM: lambda *_: sys.exit()}
    before = {number: signal.signal(number, own) for number, own in handlers.items()}
    signal.siginterrupt(signal.SIGHUP, False)  # OpenSSL does not go on with a file whose reading was interrupted
    try:
        settings = settings_of(arguments.config, os.environ, options)
        from gru_native.serve.run import serve

        serve(arguments.model, settings, reload)
    except (SettingsError, ImportError) as error:
        raise UserError(str(error)) from error
    finally:
        for number, own in before.items():
            signal.signal(number, own)
