"""The fast path in plain Python: what it does, for readers and for installs without a compiler.

_speed.pyx does the same. What a function promises stands in _speed.pyi, for both.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from operator import index
from typing import Any

import pyarrow as pa

from casparian.domain import lineage
from casparian.domain.wire import HEADER, RemoteProtocolError, pack_header, unpack_header

__all__ = [
    "add_lineage",
    "batch_from_frame",
    "lineage_arrays",
    "pack_header",
    "split_head",
    "unpack_header",
    "write_directory",
]

INT64_MAX = 2**63 - 1
LINEAGE_FIELDS = tuple(pa.field(name, pa.int64(), nullable=False) for name in lineage.COLUMNS)


def split_head(frame: Any) -> tuple[int, int, int, int, memoryview]:
    view = memoryview(frame)
    version, opcode, flags, meta_length, job_id = unpack_header(view)
    if len(view) != HEADER.size + meta_length:
        raise RemoteProtocolError(
            f"the header announces {meta_length} bytes of metadata, {len(view) - HEADER.size} came"
        )
    return version, opcode, flags, job_id, view[HEADER.size :]


def lineage_arrays(
    first_row: int, rows: int, job_id: int, file_version_id: int
) -> tuple[Any, Any, Any]:
    first_row, rows = index(first_row), index(rows)
    job_id, file_version_id = index(job_id), index(file_version_id)
    if rows < 0 or first_row < 0 or first_row + rows > INT64_MAX:
        raise ValueError(f"{rows} rows from row {first_row} on cannot be numbered")
    if not (-INT64_MAX <= job_id <= INT64_MAX and -INT64_MAX <= file_version_id <= INT64_MAX):
        raise ValueError(f"job id {job_id} or file version id {file_version_id} is no int64")
    return (
        pa.repeat(pa.scalar(job_id, pa.int64()), rows),
        pa.repeat(pa.scalar(file_version_id, pa.int64()), rows),
        pa.arange(first_row, first_row + rows),
    )


def add_lineage(batch: Any, job_id: int, file_version_id: int, first_row: int) -> Any:
    for name in lineage.COLUMNS:
        if batch.schema.get_all_field_indices(name):
            raise ValueError(
                f"the batch already has a column {name!r}: names that begin with "
                f"{lineage.PREFIX!r} are the engine's, drop or rename it before publishing"
            )
    arrays = lineage_arrays(first_row, batch.num_rows, job_id, file_version_id)
    for field, array in zip(LINEAGE_FIELDS, arrays, strict=True):
        batch = batch.append_column(field, array)
    return batch


def batch_from_frame(payload: Any, schema: Any) -> Any:
    buffer = pa.py_buffer(payload)
    if buffer.address % 8:
        buffer = pa.py_buffer(bytes(payload))
    try:
        return pa.ipc.read_record_batch(buffer, schema)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, EOFError) as error:
        raise RemoteProtocolError(f"the payload is no Arrow record batch: {error}") from error


def write_directory(path: str, files: Sequence[tuple[str, Any]]) -> None:
    views = [(name, memoryview(content).cast("B")) for name, content in files]
    os.mkdir(path)
    for name, left in views:
        where = os.path.join(path, name)
        with open(where, "xb", buffering=0) as file:
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError as error:
                # Unlike the open, the write does not know what it is about.
                raise OSError(error.errno, error.strerror, where) from error
