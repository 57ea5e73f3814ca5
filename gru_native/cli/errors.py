"""What the user can put right."""

from __future__ import annotations


class UserError(Exception):
    """Ends the command with this message in one line, without a traceback."""
