"""What sidecars send, read: Arrow schemas, batches, and streams of one batch.

Nothing is believed: a batch's head is looked at before it is read, and each is validated in full
before anything touches it.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa

from casparian import _fastpath
from casparian.app.arrow_checks import check_fields, check_nested
from casparian.app.arrow_heads import batch_head, problem_of
from casparian.domain import lineage
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.ports import Buffer
from casparian.domain.wire import DEFAULT_LIMITS, RemoteProtocolError
from casparian.sdk.convert import has_dictionaries
from casparian.sdk.sizes import expands, written_out

# An encapsulated message: a mark, the length of its metadata, the metadata, the body.
_MARK = b"\xff\xff\xff\xff"
_HEAD = 8


class GarbledPayload(Exception):
    """A payload is not the Arrow data it claims to be. Want of memory, for which Arrow has an
    exception among its own, does not show that."""


def read_schema(payload: Buffer) -> pa.Schema:
    """Raises GarbledPayload, or JobError for columns that cannot be published."""
    return _parsed(bytes(payload)).schema


class _Parsed(NamedTuple):
    schema: pa.Schema
    dictionaries: bool


@lru_cache(maxsize=256)
def _parsed(payload: bytes) -> _Parsed:
    """Files of one kind have one schema: it is parsed once."""
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(payload))
        _check_columns(schema)  # Names that are no UTF-8 cannot even be looked at.
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise GarbledPayload(f"a payload is no Arrow schema: {error}") from error
    return _Parsed(schema, has_dictionaries(schema))


def read_batch(payload: Buffer, schema: pa.Schema) -> pa.RecordBatch:
    """Raises GarbledPayload."""
    view = memoryview(payload)
    _check_head(view[_HEAD : _HEAD + int.from_bytes(view[4:_HEAD], "little")], len(view))
    try:
        batch = _fastpath.batch_from_frame(payload, schema)
        batch.validate(full=True)
        check_nested(batch)
        _check_written_out(batch)
    except MemoryError:
        raise
    except (RemoteProtocolError, pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise GarbledPayload(f"a payload is no valid Arrow batch: {error}") from error
    return batch


def read_stream(payload: Buffer) -> tuple[pa.Schema, pa.RecordBatch]:
    """A stream of one batch, or of several small ones, which are made one. Raises as
    `read_schema` and `read_batch`."""
    split = _split(payload)
    if split is not None:
        schema_payload, rest = split
        schema, dictionaries = _parsed(schema_payload)
        if not dictionaries and _is_one_message(rest):
            return schema, read_batch(rest, schema)
    return _read_any_stream(payload)


def _split(payload: Buffer) -> tuple[bytes, memoryview] | None:
    """A stream's schema message and what follows; None where it does not begin with one."""
    view = memoryview(payload)
    if view[:4] != _MARK:
        return None
    end = _HEAD + int.from_bytes(view[4:_HEAD], "little")
    return (bytes(view[:end]), view[end:]) if _HEAD < end < len(view) else None


def _is_one_message(payload: memoryview) -> bool:
    reader = pa.BufferReader(payload)
    try:
        pa.ipc.read_message(reader)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, EOFError) as error:
        raise GarbledPayload(f"a payload is no valid Arrow stream: {error}") from error
    return bool(reader.tell() == len(payload))


def _check_head(metadata: memoryview, size: int) -> int:
    """Refuse a batch, of so many bytes in all, that would become far more than it came as.
    Returns its rows."""
    try:
        head = batch_head(metadata)
    except ValueError as error:
        raise GarbledPayload(f"a payload is no valid Arrow batch: {error}") from error
    if head is None:
        return 0
    problem = problem_of(head, size)
    if problem is not None:
        raise GarbledPayload(f"a batch is refused: {problem}")
    return head.rows


def _check_heads(payload: Buffer) -> None:
    rows, size = 0, len(payload)
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(payload)):
        rows += _check_head(memoryview(message.metadata), size)
    if rows > DEFAULT_LIMITS.rows:
        raise GarbledPayload(f"a stream of {rows:,} rows, at most {DEFAULT_LIMITS.rows:,}")


def _read_any_stream(payload: Buffer) -> tuple[pa.Schema, pa.RecordBatch]:
    try:
        _check_heads(payload)
        source = pa.BufferReader(payload)
        with pa.ipc.open_stream(source) as reader:
            _check_columns(reader.schema)
            most = DEFAULT_LIMITS.batches
            batches = list(itertools.islice(reader, most + 1))
            if not 1 <= len(batches) <= most:
                raise GarbledPayload(f"a stream of no batch, or of more than {most:,}")
            _check_end(source)
        pa.Table.from_batches(batches).validate(full=True)
        for batch in batches:
            check_nested(batch)
        batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
        _check_written_out(batch)
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, StopIteration) as error:
        raise GarbledPayload(f"a payload is no valid Arrow stream: {error}") from error
    return batch.schema, batch


def _check_end(source: pa.BufferReader) -> None:
    """Arrow takes a stream that stops for one that ends: what lies behind its end is refused."""
    if source.tell() != source.size():
        raise GarbledPayload("a stream is followed by something else")


def _check_written_out(batch: pa.RecordBatch) -> None:
    """A value that stands once for many rows is written out by every sink: a few bytes could take
    all memory there is, and the disk."""
    if not expands(batch.schema):
        return
    size, most = written_out(batch), DEFAULT_LIMITS.written_out
    if size > most:
        raise JobError(
            ErrorClass.DATA,
            f"A batch of {batch.num_rows:,} rows says values once for many rows, in a dictionary, "
            f"runs, or views of lists. Written out they take {size:,} bytes, at most {most:,} can "
            "be sent at once. Publish fewer rows at a time.",
        )


def _check_columns(schema: pa.Schema) -> None:
    if len(schema) > DEFAULT_LIMITS.columns:
        raise JobError(
            ErrorClass.DATA,
            f"A table of {len(schema):,} columns was published; "
            f"at most {DEFAULT_LIMITS.columns:,} are possible.",
        )
    views = [field.name for field in schema if _has_views(field.type)]
    if views:
        raise JobError(
            ErrorClass.DATA,
            f"The column {views[0]!r} was sent with views of text or bytes, which cannot be "
            "checked in full. Publish it as text or bytes; the SDK does that by itself.",
        )
    check_fields(schema)
    taken = [name for name in schema.names if name in lineage.COLUMNS]
    if taken:
        raise JobError(
            ErrorClass.DATA,
            f"A table with a column {taken[0]!r} was published, but the names that begin with "
            "'_casparian_' are kept for lineage. Drop or rename it.",
        )


@lru_cache(maxsize=1024)
def _has_views(kind: pa.DataType) -> bool:
    """True for views of text or bytes, at any depth: Arrow's validation passes over those of
    NULLs, and its casts then read wherever they point to."""
    if isinstance(kind, pa.BaseExtensionType):
        return _has_views(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _has_views(kind.value_type)
    if pa.types.is_run_end_encoded(kind):
        return _has_views(kind.value_type)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return True
    return any(_has_views(kind.field(i).type) for i in range(kind.num_fields))
