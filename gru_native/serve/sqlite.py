"""Sessions in a file of SQLite, which one server uses: the embedded store."""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from gru_native.serve.settings import Settings, SettingsError
from gru_native.serve.store import Full, Stored, Write

_TABLE = """
CREATE TABLE IF NOT EXISTS sessions (
    name TEXT PRIMARY KEY, owner TEXT, model TEXT, durability TEXT, fence INTEGER, step INTEGER, state BLOB, y BLOB,
    used REAL
);
CREATE INDEX IF NOT EXISTS owners ON sessions (owner);
CREATE INDEX IF NOT EXISTS times ON sessions (used);
"""
_COLUMNS = ["name", "owner", "model", "durability", "fence", "step", "state", "y", "used"]


def _tables(file: sqlite3.Connection) -> dict[str, list[str]]:
    """Return the columns of each table."""
    names = file.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'").fetchall()
    query = "SELECT name FROM pragma_table_info(?) ORDER BY cid"
    return {name: [column for (column,) in file.execute(query, (name,))] for (name,) in names}


class SQLiteStore:
    """See `gru_native.serve.store.Store`.

    The lock on the file is held until it is closed, or the process has died: no lease is needed. A transaction is on
    the disk when it ends (a write-ahead log, synced at each commit).
    """

    lease = math.inf
    alone: tuple[type[Exception], ...] = ()

    def __init__(self, settings: Settings) -> None:
        self._keep, self._most, self._most_of_owner = settings.keep, settings.kept, settings.kept_per_client
        try:
            self._file = sqlite3.connect(settings.store, 0, isolation_level="IMMEDIATE", check_same_thread=False)
            self._file.execute("PRAGMA locking_mode=EXCLUSIVE")
            if (found := _tables(self._file)) not in ({}, {"sessions": _COLUMNS}):
                got = f"one of another program, with {', '.join(found)}"
                raise SettingsError(f"store: {settings.store}: expected a file of this server's, got {got}")
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                self._file.execute(f"PRAGMA {pragma}")
            self._file.executescript(_TABLE)
            self._names = {own: os.stat(own) for own in (settings.store, f"{settings.store}-wal")}
            with self._file:
                self._file.execute("DELETE FROM sessions WHERE used < ?", (time.time() - self._keep,))
        except (sqlite3.Error, OSError) as error:
            hint = "; another server has it, and several share a store of Redis" if "locked" in str(error) else ""
            raise SettingsError(f"store: {settings.store}: {error}{hint}") from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._file:
            yield
            for name, own in self._names.items():  # what is written to a file without a name is lost with the process
                if not os.path.samestat(os.stat(name), own):
                    raise OSError(f"{name}: expected the file that was opened, got another one")

    def create(self, name: str, owner: str, model: str, durability: str) -> int:
        for limit, which, given, most in (
            ("kept", "", (), self._most),
            ("kept_per_client", " WHERE owner = ?", (owner,), self._most_of_owner),
        ):
            (count,) = self._file.execute(f"SELECT count(*) FROM sessions{which}", given).fetchone()
            if count >= most:
                raise Full(limit)
        row = (name, owner, model, durability, 1, 0, b"", b"", time.time())
        self._file.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return 1

    def take(self, name: str, owner: str | None) -> Stored | None:
        row = self._file.execute(
            "UPDATE sessions SET fence = fence + 1, used = ? WHERE name = ? AND owner = coalesce(?, owner) "
            "RETURNING model, durability, fence, step, state, y",
            (time.time(), name, owner),
        ).fetchone()
        return row and Stored(*row)

    def put(self, writes: Iterable[Write]) -> set[str]:
        now, lost = time.time(), set()
        for own in writes:
            done = self._file.execute(
                "UPDATE sessions SET step = ?, state = ?, y = ?, used = ? WHERE name = ? AND fence = ?",
                (own.step, own.state, own.y, now, own.name, own.fence),
            )
            if not done.rowcount:
                lost.add(own.name)
        return lost

    def release(self, name: str) -> None:
        """Do nothing: no other server asks."""

    def delete(self, name: str, fence: int) -> None:
        self._file.execute("DELETE FROM sessions WHERE name = ? AND fence = ?", (name, fence))

    def renew(self, names: list[str]) -> list[str]:
        now = time.time()
        self._file.executemany("UPDATE sessions SET used = ? WHERE name = ?", [(now, name) for name in names])
        self._file.execute("DELETE FROM sessions WHERE used < ?", (now - self._keep,))
        return []

    def close(self) -> None:
        self._file.close()
