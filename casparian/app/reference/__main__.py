"""Writes the generated pages into a directory."""

from __future__ import annotations

import sys
from pathlib import Path

from casparian.app.reference import pages

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m casparian.app.reference DIRECTORY")
    for name, make in pages().items():
        (Path(sys.argv[1]) / name).write_text(make(), encoding="utf-8")
