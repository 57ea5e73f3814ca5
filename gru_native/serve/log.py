"""The log: an object of JSON a line, on standard error."""

from __future__ import annotations

import json
import logging
import time

#: What uvicorn says of each session that was refused with an answer of HTTP.
_NO_HANDSHAKE = "ASGI callable returned without completing handshake."


class Lines(logging.Formatter):
    """Turns a record into a line; `extra={"fields": {...}}` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        line |= {"event": record.getMessage(), **getattr(record, "fields", {})}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def to_standard_error() -> None:
    """Write what the server notes, and warnings of others: uvicorn has names of sessions in its other lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    handler.addFilter(lambda record: record.msg != _NO_HANDSHAKE)
    for name, level in (("gru_native.serve", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
    logging.lastResort = handler  # of warnings of asyncio's and others', where nobody has said what becomes of them
