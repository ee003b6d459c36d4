"""One topic's rows on their way into a server: Arrow batches in rows of one table of its own.

A staging is no table: making one for each small file would cost more than its rows. The rows go
into their target once, when they are published; until then they lie compressed and in their stored
form, in the target's database, so that whoever takes a job over finds them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import pyarrow as pa

from casparian.adapters.sink._rowdigest import RowDigest
from casparian.adapters.sink._schema import Shaper
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.ports import StagedRows, StageRequest
from casparian.domain.publish import SHORT, StagingKey
from casparian.domain.schemas import TargetSchema

CHUNK_ROWS = 64 * 1024
CHUNK_BYTES = 4 * 1024 * 1024
MOST_BYTES = 128 * 1024 * 1024
"""Of one row: a value of a server ends at 1 or 2 GB, and some of its types earlier."""
FENCE = ""
"""In place of a target: what holds a job's place that stages no rows."""
READ_BYTES = 4 * 1024 * 1024
"""Staged bytes, which are compressed, that are in memory at a time."""
Sent = TypeVar("Sent")
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


class Chunk(NamedTuple):
    """A row of the table of stagings, without its body."""

    id: int
    target: str
    rows: int
    size: int


class Rows(NamedTuple):
    """What one chunk holds: batches, whose rows are of `schema` in their stored form, and the
    same as they are kept."""

    schema: pa.Schema
    batches: Sequence[pa.RecordBatch]
    body: bytes | None

    @property
    def rows(self) -> int:
        return sum(batch.num_rows for batch in self.batches)


class Forms(Protocol):
    """The stored form of values in one kind of database. Raises JobError (DATA)."""

    def refuse_unsupported(self, schema: pa.Schema, where: str) -> None: ...

    def encode(self, array: pa.Array, column: str, where: str) -> pa.Array: ...

    def digestible(self, array: pa.Array, stored: pa.Array) -> pa.Array:
        """The values as the digest takes them; `stored` is what `encode` made of `array`."""
        ...


class ChunkStore(Protocol):
    """The table of stagings. Raises JobError."""

    def add(self, request: StageRequest, rows: Rows) -> None: ...

    def begin(self, request: StageRequest) -> None:
        """Remove what an earlier staging of the same key and target has left."""
        ...

    def end(self, request: StageRequest, rows: Rows) -> None:
        """As `add`, for the last chunk: it is durable then, as are those before it."""
        ...

    def drop(self, request: StageRequest) -> None: ...


def names_of(key: StagingKey) -> tuple[str, int, int, str]:
    """A staging's key as it stands in the table, and in its name: shortened."""
    return key.installation[:SHORT], key.job_id, key.attempt, key.token[:SHORT]


class ChunkedStaging:
    """Port `Staging`."""

    def __init__(
        self, forms: Forms, store: ChunkStore, request: StageRequest, known: TargetSchema | None
    ) -> None:
        self._forms = forms
        self._store = store
        self._request = request
        self._where = str(request.target)
        self._shaper = Shaper(known, self._where)
        self._accepted: pa.Schema | None = None
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._digest = RowDigest()
        self._sender = _Sender(partial(store.add, request))
        store.begin(request)

    def write(self, batch: Any) -> None:
        shaped = self._shaper.shape(batch)
        self._accept(shaped.schema)
        for piece in _pieces(shaped, self._where):
            stored = self._encoded(piece)
            if self._waiting and stored.schema != self._waiting[0].schema:
                self._send()
            self._waiting.append(stored)
            self._waiting_bytes += stored.nbytes
            if self._waiting_bytes >= CHUNK_BYTES:
                self._send()

    def finish(self) -> StagedRows:
        self._accept(self._shaper.arrow)
        batches = self._taken()
        last = Rows(self._shaper.arrow, batches, to_bytes(batches))
        self._sender.end()
        self._store.end(self._request, last)
        return StagedRows(self._digest.rows, self._digest.hexdigest(), self._shaper.columns, ())

    def discard(self) -> None:
        self._waiting = []
        with contextlib.suppress(JobError):
            # Why the staging is discarded was told when it failed.
            self._sender.end()
        self._store.drop(self._request)

    def _accept(self, schema: pa.Schema) -> None:
        if schema != self._accepted:
            self._forms.refuse_unsupported(schema, self._where)
            self._accepted = schema

    def _encoded(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        stored: dict[str, pa.Array] = {}
        digested: dict[str, pa.Array] = {}
        for field, array in zip(rows.schema, rows.columns, strict=True):
            encoded = self._forms.encode(array, field.name, self._where)
            stored[field.name] = encoded
            digested[field.name] = self._forms.digestible(array, encoded)
        self._digest.update(digested, rows.num_rows)
        return pa.RecordBatch.from_pydict(stored)

    def _send(self) -> None:
        assert self._accepted is not None
        self._sender.add(self._accepted, self._taken())

    def _taken(self) -> list[pa.RecordBatch]:
        """The batches that wait, which do so no longer."""
        batches, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return batches


class _Sender:
    """Compresses a chunk while the one before is sent, and the rows of the next are shaped and
    digested. Chunks arrive in their order. There are threads only where there are chunks."""

    def __init__(self, send: Callable[[Rows], None]) -> None:
        self._send = send
        self._threads: ThreadPoolExecutor | None = None
        self._sending: Future[None] | None = None

    def add(self, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> None:
        """Raises what a chunk before raised."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, thread_name_prefix="sink-sender")
        body = _begun(self._threads, partial(to_bytes, batches))
        self._wait()
        self._sending = _begun(
            self._threads, lambda: self._send(Rows(schema, batches, body.result()))
        )

    def end(self) -> None:
        """After it nothing is on its way, whatever it raises."""
        try:
            self._wait()
        finally:
            if self._threads is not None:
                self._threads.shutdown()
                self._threads = None

    def _wait(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.result()


def _begun(threads: ThreadPoolExecutor, work: Callable[[], Sent]) -> Future[Sent]:
    try:
        return threads.submit(work)
    except RuntimeError as error:
        raise JobError(
            ErrorClass.INFRASTRUCTURE, f"No thread can be had to send rows: {error}."
        ) from error


def _pieces(batch: pa.RecordBatch, where: str) -> Iterator[pa.RecordBatch]:
    """The rows in slices that are neither long nor large."""
    start, rows = 0, batch.num_rows
    while start < rows:
        count = min(CHUNK_ROWS, rows - start)
        piece = batch.slice(start, count)
        while piece.nbytes > 2 * CHUNK_BYTES and count > 1:
            count = max(1, min(count // 2, count * CHUNK_BYTES // piece.nbytes))
            piece = batch.slice(start, count)
        if piece.nbytes > MOST_BYTES:
            raise JobError(
                ErrorClass.DATA,
                f"A row for {where} has {piece.nbytes} bytes; in this sink it may have "
                f"{MOST_BYTES}. Publish its values in parts, or use a Parquet sink.",
            )
        yield piece
        start += count


def to_bytes(batches: Sequence[pa.RecordBatch]) -> bytes | None:
    """The body of a chunk; None without rows."""
    if not batches:
        return None
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, batches[0].schema, options=_OPTIONS) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(stream.getvalue())


def from_bytes(bodies: Iterable[bytes | None]) -> Iterator[pa.RecordBatch]:
    for body in bodies:
        if body is not None:
            yield from pa.ipc.open_stream(body)


def in_portions(chunks: Sequence[Chunk]) -> Iterator[list[Chunk]]:
    """As many at a time as memory should hold."""
    some: list[Chunk] = []
    for chunk in chunks:
        if some and sum(c.size for c in some) + chunk.size > READ_BYTES:
            yield some
            some = []
        some.append(chunk)
    if some:
        yield some


def count_rows(held: Iterable[tuple[StagingKey, Chunk]]) -> dict[StagingKey, dict[str, int]]:
    """Rows of each target in each staging that is there."""
    counted: dict[StagingKey, dict[str, int]] = {}
    for key, chunk in held:
        rows = counted.setdefault(key, {})
        rows[chunk.target] = rows.get(chunk.target, 0) + chunk.rows
    return counted
