"""The hot steps from frames to batches: compiled where possible, the same in Python where not.

CASPARIAN_PURE=1 in the environment asks for the Python twin. IMPLEMENTATION says which one runs,
WHY is a sentence for people when it is the pure one, and empty otherwise.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

__all__ = [
    "IMPLEMENTATION",
    "WHY",
    "add_lineage",
    "batch_from_frame",
    "lineage_arrays",
    "pack_header",
    "split_head",
    "unpack_header",
    "write_directory",
]

# A file's name, without directory, and its bytes: whatever has the buffer protocol.
NewFile = tuple[str, Any]

IMPLEMENTATION: Literal["cython", "pure"]
WHY: str

if TYPE_CHECKING:
    from casparian._fastpath._speed import (
        add_lineage,
        batch_from_frame,
        lineage_arrays,
        pack_header,
        split_head,
        unpack_header,
        write_directory,
    )

    IMPLEMENTATION, WHY = "cython", ""
else:
    if os.environ.get("CASPARIAN_PURE", "") not in {"", "0"}:
        _twin = None
        WHY = "The environment variable CASPARIAN_PURE asks for the pure-Python fast path."
    else:
        try:
            _twin = import_module("casparian._fastpath._speed")
            WHY = ""
        except ImportError as error:
            _twin = None
            WHY = (
                f"The compiled fast path cannot be imported ({error}): install a C compiler and"
                " run `pip install --force-reinstall --no-deps casparian-flow` again."
            )
    if _twin is None:
        from casparian._fastpath import _pure as _twin

        IMPLEMENTATION = "pure"
    else:
        IMPLEMENTATION = "cython"

    add_lineage = _twin.add_lineage
    batch_from_frame = _twin.batch_from_frame
    lineage_arrays = _twin.lineage_arrays
    pack_header = _twin.pack_header
    split_head = _twin.split_head
    unpack_header = _twin.unpack_header
    write_directory = _twin.write_directory
