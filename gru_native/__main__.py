"""``python -m gru_native`` is the command ``gru-native``."""

from __future__ import annotations

import sys

from gru_native.cli import main

if __name__ == "__main__":
    sys.exit(main())
