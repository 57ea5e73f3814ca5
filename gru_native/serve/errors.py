"""What a server answers when it does not do what it was asked."""

from __future__ import annotations

_LONGEST = 300  # characters of a message


class Refused(Exception):
    """A request that is answered with an HTTP status and a message.

    Parameters
    ----------
    status
        Of the answer.
    message
        For the client: what was expected, and what came. A long one is cut.
    reason
        One word, for the metrics.
    retry
        Seconds after which the client may try again.
    """

    def __init__(self, status: int, message: str, reason: str, retry: int | None = None) -> None:
        super().__init__(message[:_LONGEST].encode(errors="replace").decode())  # JSON has halves of surrogate pairs
        self.status, self.reason, self.retry = status, reason, retry


def going_down() -> Refused:
    """Return the answer to what comes when the server ends."""
    return Refused(503, "the server is going down; try again", "draining", retry=1)


# Codes of a WebSocket's end (RFC 6455; from 4000 on they are an application's own).
RESTART = 1012
UNSUPPORTED, INVALID, FAILED = 1003, 1007, 1011
IDLE, ELSEWHERE, REPLACED = 4408, 4409, 4410
REFUSED = 4000  # and the status that HTTP has for it
