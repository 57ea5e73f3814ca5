"""What a store of sessions does: `sqlite.py` and `redis.py` are two of them.

A session in a store has an owner (a token's name, or an address), and a fence: a number that grows whenever a server
takes the session. What is written with an older number than the store has is refused, so that of two servers only one
can go on with a session, whatever their clocks say.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from gru_native.serve.settings import Settings, SettingsError


@dataclass(frozen=True)
class Stored:
    """A session as the store has it.

    Attributes
    ----------
    fence
        By which the server that took it writes.
    step
        How many steps the state is of.
    state
        A snapshot of the pool's; none before the first one is stored.
    y
        The output of that step, as a frame has it; what a client sees that lost the reply.
    """

    model: str
    durability: str
    fence: int
    step: int
    state: bytes
    y: bytes


@dataclass(frozen=True)
class Write:
    """The state of a session that is to be stored; see `Stored`."""

    name: str
    fence: int
    step: int
    state: bytes
    y: bytes


class Full(Exception):
    """There is no place left for a session, as the setting says whose name this has."""


class Held(Exception):
    """Another server has the session, and was asked for it."""


class Store(Protocol):
    """The calls come from one thread, some of them together in a `transaction`."""

    #: Seconds that a lease lasts from before a call of `renew`; infinite where no other server can come.
    lease: float
    #: What a call may raise that leaves those beside it in a transaction as they are; anything else is of them all.
    alone: tuple[type[Exception], ...]

    def transaction(self) -> AbstractContextManager[object]:
        """Return what makes some calls one, stored when it ends, or raises."""

    def create(self, name: str, owner: str, model: str, durability: str) -> int:
        """Begin a session, which this server then has, and return its fence.

        Raises
        ------
        Full
        """

    def take(self, name: str, owner: str | None) -> Stored | None:
        """Take a session that no living server has, and give it a new fence; none for one that there is not.

        With an owner, those of others are not there either.

        Raises
        ------
        Held
        """

    def put(self, writes: Iterable[Write]) -> set[str]:
        """Store states, and return the names of sessions that another server has taken, or that are gone."""

    def release(self, name: str) -> None:
        """Let others take a session that this server has; it is kept from now on for as long as the settings say."""

    def delete(self, name: str, fence: int) -> None:
        """End a session."""

    def renew(self, names: list[str]) -> list[str]:
        """Renew the lease and the time of the sessions that this server has; return those that others ask for."""

    def close(self) -> None:
        """End the use of the store."""


def open_store(settings: Settings) -> Store:
    """Open the store that the settings name.

    Raises
    ------
    SettingsError
        When it cannot be used.
    """
    scheme, colon, rest = settings.store.partition(":")
    of_redis = colon and scheme in ("redis", "rediss", "unix")
    if rest.startswith("//") and not of_redis:
        raise SettingsError(f"store: expected a file, or a URL of redis, rediss or unix, got one of {scheme}")
    if of_redis:
        try:
            from gru_native.serve.redis import RedisStore
        except ImportError:
            raise SettingsError("store: needs redis (pip install 'gru_native[redis]')") from None
        return RedisStore(settings)
    from gru_native.serve.sqlite import SQLiteStore

    return SQLiteStore(settings)
