"""A client of `gru-native serve`: many live sessions over WebSocket, in one process and one thread.

Frames are made and read by the `websockets` package without its coroutines, which would take longer than the server.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

HEAD = 16  # bytes of a reply before the output
TICK = 0.001  # seconds between two looks at what is due
CONNECTING = 50  # sessions at a time
PATIENCE = 60  # seconds for all sessions to end


class Session(asyncio.Protocol):
    """A session, and the seconds that its steps took.

    Parameters
    ----------
    url
        Of the endpoint.
    frame
        What each step sends.
    answered : callable
        Called after each reply.
    """

    def __init__(self, url: str, frame: bytes, answered: Callable[[Session], None]) -> None:
        self._protocol = ClientProtocol(parse_uri(url))
        self._frame, self._answered = frame, answered
        self._sent: deque[float] = deque()  # when the steps were due that wait for a reply
        self.seconds: list[float] = []
        self.first = b""  # the first reply
        self.closing = False
        self.greeted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._protocol.send_request(self._protocol.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                if self._protocol.handshake_exc is not None:
                    self.greeted.set_exception(self._protocol.handshake_exc)
            elif event.opcode is Opcode.BINARY:
                self.seconds.append(perf_counter() - self._sent.popleft())
                self.first = self.first or bytes(event.data)
                self._answered(self)
            elif event.opcode is Opcode.TEXT:
                self.greeted.set_result(json.loads(event.data))
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        lost = error or ConnectionError("the server ended a session")
        if not self.greeted.done():
            self.greeted.set_exception(lost)
        if self.closing:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(lost)

    @property
    def waits(self) -> bool:
        """Whether the reply to a step is still to come."""
        return bool(self._sent)

    def send(self, due: float) -> None:
        """Send a step, which was due at this time."""
        self._sent.append(due)
        self._protocol.send_binary(self._frame)
        self._flush()

    def close(self) -> None:
        """Begin the end of the connection."""
        self.closing = True
        self._protocol.send_close()
        self._flush()

    def _flush(self) -> None:
        if output := b"".join(self._protocol.data_to_send()):
            self._transport.write(output)


class Load:
    """What sessions send, and what comes of it.

    Parameters
    ----------
    frames
        What each session sends as a step: one for each session.
    rate
        Steps a second of all sessions together, sent when they are due; 0 for the next step of a session when the
        reply to the last one has come.
    """

    def __init__(self, frames: list[bytes], rate: float) -> None:
        self._frames, self._rate = frames, rate
        self._sends = True

    def _answered(self, session: Session) -> None:
        if self._sends and not self._rate:
            session.send(perf_counter())

    async def run(self, url: str, pid: int, warm: float, seconds: float) -> dict[str, float]:
        """Return what was measured of an endpoint and its process, for some seconds after others to warm up."""
        await self._connect(url)
        for session in self._sessions if not self._rate else ():
            session.send(perf_counter())
        await self._for(warm)
        for session in self._sessions:
            session.seconds.clear()
        cpu, begun = cpu_seconds(pid), perf_counter()
        await self._for(seconds)
        taken = [own for session in self._sessions for own in session.seconds]
        cpu, wall = cpu_seconds(pid) - cpu, perf_counter() - begun
        memory = resident_bytes(pid)
        await self._end()
        return {
            "steps_per_second": len(taken) / wall,
            **{f"p{share:g}_ms": 1e3 * float(np.percentile(taken, share)) for share in (50, 99, 99.9)},
            "cpu_us_per_step": 1e6 * cpu / len(taken),
            "cpu": cpu / wall,
            "memory_mb": memory / 1e6,
        }

    async def _connect(self, url: str) -> None:
        self._sessions = [Session(url, frame, self._answered) for frame in self._frames]
        loop, address = asyncio.get_running_loop(), parse_uri(url)
        for at in range(0, len(self._sessions), CONNECTING):
            some = self._sessions[at : at + CONNECTING]
            connections = (loop.create_connection(lambda own=own: own, address.host, address.port) for own in some)
            await asyncio.gather(*connections, *(own.greeted for own in some))

    async def _for(self, seconds: float) -> None:
        """Let some time pass, and send what becomes due in it."""
        begun, sent = perf_counter(), 0
        while (passed := perf_counter() - begun) < seconds:
            while sent < passed * self._rate:
                self._sessions[sent % len(self._sessions)].send(begun + sent / self._rate)
                sent += 1
            await asyncio.sleep(TICK if self._rate else seconds - passed)

    async def _end(self) -> None:
        """Take the replies that are still to come, and end all sessions."""
        self._sends = False
        ended = asyncio.gather(*(session.ended for session in self._sessions))
        while any(session.waits for session in self._sessions) and not ended.done():
            await asyncio.sleep(TICK)
        for session in self._sessions:
            session.close()
        await asyncio.wait_for(ended, PATIENCE)

    def outputs(self) -> bytes:
        """Return the outputs of all sessions' first steps."""
        return b"".join(session.first[HEAD:] for session in self._sessions)


def cpu_seconds(pid: int) -> float:
    """Return the time that a process has had of CPUs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
