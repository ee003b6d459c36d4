"""Freed memory is kept for the next batch instead of being given back to the system.

Batches of some megabytes come and go; fresh pages for each cost a tenth of all CPU time in a
profile of large files, as the system clears every one. Up to KEPT bytes stay with a process.
"""

from __future__ import annotations

import ctypes
import os

KEPT = 256 << 20
# glibc's own limit for what may come from its heap.
FROM_HEAP = 32 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# Arrow's allocator gives back what nobody used for so long.
_ARROW = {"MIMALLOC_PURGE_DELAY": "1000"}
KEEP_FREED_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(FROM_HEAP),
    "MALLOC_TRIM_THRESHOLD_": str(KEPT),
    **_ARROW,
}
"""For a process that is about to be started; other allocators ignore it."""


def keep_freed_memory() -> None:
    """For the process that calls, before it loads Arrow."""
    for name, value in _ARROW.items():
        os.environ.setdefault(name, value)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, FROM_HEAP)
        mallopt(_M_TRIM_THRESHOLD, KEPT)
