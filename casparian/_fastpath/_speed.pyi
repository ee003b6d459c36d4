"""The fast path, described once for both twins: _speed.pyx and _pure.py.

`Frame` stands for anything that gives its bytes by the buffer protocol: bytes, memoryview,
zmq.Frame. A view or batch made from a frame keeps the frame alive.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from casparian.domain.wire import Flag, Header, OpCode

Frame = Any

def pack_header(opcode: int, flags: int, meta_length: int, job_id: int) -> bytes:
    """16 bytes; LocalProtocolError for a value that has no place in them."""

def unpack_header(buffer: Frame) -> Header:
    """The header that begins the buffer, else RemoteProtocolError."""

def split_head(frame: Frame) -> tuple[int, OpCode, Flag, int, memoryview]:
    """(version, opcode, flags, job id, metadata) of a head; the metadata is not copied.

    RemoteProtocolError where the header is none, or announces another length than came.
    """

def lineage_arrays(
    first_row: int, rows: int, job_id: int, file_version_id: int
) -> tuple[pa.Int64Array, pa.Int64Array, pa.Int64Array]:
    """(job ids, file version ids, row numbers from `first_row` on), each of `rows` values.

    ValueError for what no int64 holds.
    """

def add_lineage(
    batch: pa.RecordBatch, job_id: int, file_version_id: int, first_row: int
) -> pa.RecordBatch:
    """The batch with the three lineage columns after its own, which are not copied.

    ValueError if the batch has a column of that name.
    """

def batch_from_frame(payload: Frame, schema: pa.Schema) -> pa.RecordBatch:
    """The record batch in an IPC message, its buffers lying in the payload.

    Copied first only where the transport left it off an address divisible by eight, which Arrow
    wants and which ZMQ does to frames below 8 KiB. Not validated: the caller must, before any
    kernel or sink reads it. RemoteProtocolError where the payload is no such message.
    """

def write_directory(path: str, files: Sequence[tuple[str, Frame]]) -> None:
    """Make a directory and these files in it (name, content), none of which may exist.

    OSError with the path it is about, as from os.mkdir and open; what was made by then stays.
    The compiled twin gives the interpreter's lock away once for all of it.
    """
