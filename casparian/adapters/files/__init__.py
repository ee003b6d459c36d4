"""Where input files come from: walking, reading and watching them."""

from __future__ import annotations

from casparian.adapters.files.local import LocalFileSource
from casparian.adapters.files.parallel import Hashed, ParallelFileScanner
from casparian.adapters.files.watch import Watcher

__all__ = ["Hashed", "LocalFileSource", "ParallelFileScanner", "Watcher"]
