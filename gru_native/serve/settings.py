"""What a server is told: the same names in a TOML file, in the environment and as options, the later going first."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from gru_native.arguments import mapping, number, shown, text, whole
from gru_native.functional import MAX_THREADS

PREFIX = "GRU_NATIVE_SERVE_"
ADMIN = "admin"  # whose token may have the model read again


class SettingsError(ValueError):
    """A setting that is not what it should be, in a line for the user."""


def steps_of(name: str, durability: Any) -> int:
    """Return how often the state of a session is stored before a step is acknowledged: each so many steps, 0 for never.

    Raises
    ------
    ValueError
        For anything but ``none``, ``each`` or a whole number of steps.
    """
    if durability in ("none", "each"):
        return int(durability == "each")
    decimal = isinstance(durability, str) and durability.isascii() and durability.isdecimal()
    try:
        return whole(name, int(durability) if decimal else durability, most=2**31 - 1)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected none, each or a whole number of steps, got {shown(durability)}") from None


def level_of(steps: int) -> str:
    """Return the word or the number that `steps_of` takes."""
    return {0: "none", 1: "each"}.get(steps, str(steps))


def _from(least: int, most: int = 2**31 - 1) -> Callable[[str, Any], int]:
    return lambda name, value: whole(name, value, least, most)


def _seconds(name: str, value: Any) -> float:
    return number(name, value, below=math.inf)


def _some_seconds(name: str, value: Any) -> float:
    return number(name, value, least=0.1, below=math.inf)


def _level(name: str, value: Any) -> str:
    return level_of(steps_of(name, value))


def _tokens(name: str, value: Any) -> dict[str, str]:
    found = {own: text(f"{name}.{own}", token) for own, token in mapping(name, value, "tokens").items()}
    for own, token in found.items():
        if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError(f"{name}.{own}: expected 16 or more printable ASCII characters without a space")
    if len({*found.values()}) < len(found):
        raise ValueError(f"{name}: expected another token for each name")
    return found


def _setting(default: Any, check: Callable[[str, Any], Any], what: str, kind: type = int, metavar: str = "N") -> Any:
    return field(default=default, metadata={"check": check, "what": what, "kind": kind, "metavar": metavar})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a model is served; each field says in its metadata what it is, and how it is checked.

    Raises
    ------
    SettingsError
        For a value that is not what it should be, or that does not go with another one.
    """

    host: str = _setting("127.0.0.1", text, "address to listen on", str, "HOST")
    port: int = _setting(8000, _from(0, 65535), "port to listen on, 0 for a free one")
    store: str = _setting(
        "sessions.db",
        text,
        "where sessions are kept: a file of SQLite, for one server, or redis://HOST:PORT/DB, which several share",
        str,
        "STORE",
    )
    durability: str = _setting(
        "100",
        _level,
        "of which steps the state is stored before they are acknowledged: none, each, or a number N for each N-th",
        str,
        "LEVEL",
    )
    deadline: float = _setting(0.0, _seconds, "seconds that a step may wait for others", float, "S")
    batch: int = _setting(256, _from(1), "steps that are computed together, at most")
    threads: int | None = _setting(
        None, _from(1, MAX_THREADS), "threads to compute with (default: OMP_NUM_THREADS, or the CPUs of the process)"
    )
    connected: int = _setting(10_000, _from(1), "sessions that are connected at a time")
    kept: int = _setting(100_000, _from(1), "sessions in the store")
    kept_per_client: int = _setting(2_000, _from(1), "sessions in the store that a token, or an address, has")
    pending: int = _setting(16, _from(1), "steps of a session that wait; what comes later is not read yet")
    requests: int = _setting(64, _from(1), "HTTP batches that wait or are computed")
    body: int = _setting(8 << 20, _from(1), "bytes of an HTTP body")
    json: int = _setting(
        1 << 19, _from(1), "bytes of one in JSON, and of an answer: no session steps while Python reads or writes it"
    )
    steps: int = _setting(100_000, _from(1), "time steps of an HTTP batch, over all sequences")
    timeout: float = _setting(
        30.0, _some_seconds, "seconds for a request to arrive, and for a client to take what is sent", float, "S"
    )
    idle: float = _setting(300.0, _some_seconds, "seconds without a step after which a session is let go", float, "S")
    keep: float = _setting(86_400.0, _some_seconds, "seconds that a session is kept in the store", float, "S")
    lease: float = _setting(
        10.0, _some_seconds, "seconds after which another server may go on with the sessions of a dead one", float, "S"
    )
    drain: float = _setting(20.0, _seconds, "seconds to finish in after SIGTERM", float, "S")
    ssl_certfile: str | None = _setting(None, text, "certificate for TLS (default: no TLS)", str, "PEM")
    ssl_keyfile: str | None = _setting(None, text, "its private key (default: in the same file)", str, "PEM")
    tokens: dict[str, str] = field(
        default_factory=dict,
        metadata={"check": _tokens, "what": "bearer tokens by the name of who has them", "kind": dict},
    )

    def __post_init__(self) -> None:
        for own in fields(self):
            value = getattr(self, own.name)
            if value is not None or own.default is not None:
                try:
                    object.__setattr__(self, own.name, own.metadata["check"](own.name, value))
                except (TypeError, ValueError) as error:
                    raise SettingsError(str(error)) from None
        if self.keep < self.idle:
            raise SettingsError(f"keep: expected at least idle, {self.idle:g} seconds, got {self.keep:g}")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise SettingsError("ssl_keyfile: expected ssl_certfile beside it, got none")

    def limit(self, name: str) -> str:
        """Return what a client is told for whom there is no room."""
        return f"{name}: expected up to {getattr(self, name)} {KNOWN[name].metadata['what']}"


KNOWN = {own.name: own for own in fields(Settings)}
#: Those that are options, too: a command line can be read by everybody on the machine.
OPTIONS = {name: own for name, own in KNOWN.items() if own.metadata["kind"] is not dict}


def settings_of(config: Path | None, environment: Mapping[str, str], options: Mapping[str, Any]) -> Settings:
    """Return the settings of a TOML file, the environment and the command line.

    Raises
    ------
    SettingsError
        For what is no TOML, a name that is no setting, or a value that is not what it should be.
    OSError
        When the file cannot be read.
    """
    from gru_native.tables.settings import TableError, read_settings

    try:
        file = {} if config is None else read_settings(config)
    except TableError as error:
        raise SettingsError(str(error)) from None
    if file.get("tokens") == {}:
        raise SettingsError(f"{config}: tokens: expected at least one, got an empty table, which lets everybody in")
    variables = sorted(name for name in environment if name.startswith(PREFIX))
    named = {_known(own, own.removeprefix(PREFIX).lower()): _value(own, environment[own]) for own in variables}
    return Settings(**{**{_known(config, name): value for name, value in file.items()}, **named, **options})


def _known(place: Path | str | None, name: str) -> str:
    if name not in KNOWN:
        raise SettingsError(f"{place}: expected one of the settings {', '.join(KNOWN)}, got {name!r}")
    return name


def _value(variable: str, value: str) -> Any:
    """Return what a text in the environment stands for."""
    kind = KNOWN[variable.removeprefix(PREFIX).lower()].metadata["kind"]
    try:
        if kind is dict:
            return dict(part.strip().split("=", 1) for part in value.split(","))
        return kind(value)
    except ValueError:
        expected = {int: "a whole number", float: "a number"}.get(kind, "NAME=TOKEN,NAME=TOKEN")
        got = "" if kind is dict else f", got {shown(value)}"  # tokens are secret
        raise SettingsError(f"{variable}: expected {expected}{got}") from None
