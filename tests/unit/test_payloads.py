"""Payloads: a stream of one batch is read by its parts, small batches are made one, and anything
else is taken as it deserves."""

from __future__ import annotations

import pyarrow as pa
import pytest

from casparian.app import payloads
from casparian.app.payloads import GarbledPayload, read_batch, read_stream
from casparian.domain.errors import JobError
from casparian.domain.wire import DEFAULT_LIMITS
from casparian.sdk.convert import split
from casparian.sdk.gather import Gatherer
from casparian.sdk.sizes import written_out

ROWS = pa.record_batch({"n": [1, 2, None], "s": ["a", None, "ç"], "l": [[1], [], None]})
CODED = pa.record_batch({"d": pa.array(["x", "y", "x"]).dictionary_encode()})


def stream(*batches: pa.RecordBatch) -> bytes:
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return out.getvalue().to_pybytes()


def parts(batch: pa.RecordBatch) -> bytes:
    return b"".join((batch.schema.serialize(), batch.serialize()))


@pytest.mark.parametrize("payload", [parts(ROWS), stream(ROWS), memoryview(b"x" + parts(ROWS))[1:]])
def test_one_batch_comes_back(payload: bytes) -> None:
    schema, batch = read_stream(payload)
    assert schema.equals(ROWS.schema, check_metadata=True)
    assert batch.equals(ROWS)


@pytest.mark.parametrize("payload", [parts(ROWS), stream(ROWS, ROWS)])
def test_want_of_memory_is_not_the_payloads_fault(
    payload: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's error of it is one of its exceptions, as what it says of bytes that are no data."""

    def full(*_: object, **__: object) -> None:
        raise pa.ArrowMemoryError("malloc of size 64 failed")

    monkeypatch.setattr(payloads, "check_nested", full)
    with pytest.raises(MemoryError):
        read_stream(payload)


def test_metadata_is_kept() -> None:
    batch = ROWS.replace_schema_metadata({"unit": "m"})
    schema, _ = read_stream(parts(batch))
    assert schema.metadata == {b"unit": b"m"}


def test_dictionaries_come_with_their_values() -> None:
    _, batch = read_stream(stream(CODED))
    assert batch.to_pydict() == {"d": ["x", "y", "x"]}


def test_an_empty_batch_is_one() -> None:
    assert read_stream(parts(ROWS.slice(0, 0)))[1].num_rows == 0


@pytest.mark.parametrize(
    "payload",
    [
        stream(*[ROWS] * (DEFAULT_LIMITS.batches + 1)),
        stream(ROWS, ROWS) + b"more",
        ROWS.schema.serialize().to_pybytes(),
        parts(ROWS) + b"more",
        parts(ROWS)[:-200],
        b"",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 64,
        b"\xff\xff\xff\xff\x08\x00\x00\x00" + b"x" * 64,
        b"no Arrow at all, but long enough to be looked at",
    ],
    ids=lambda payload: f"{len(payload)} bytes",
)
def test_what_is_no_stream_of_batches_is_refused(payload: bytes) -> None:
    with pytest.raises(GarbledPayload):
        read_stream(payload)


@pytest.mark.parametrize("batch", [ROWS, CODED, ROWS.select([])], ids=["plain", "coded", "none"])
def test_small_batches_are_made_one_in_their_order(batch: pa.RecordBatch) -> None:
    parts_of_it = [batch.slice(at, 1) for at in range(batch.num_rows)]
    schema, whole = read_stream(stream(batch.slice(0, 0), *parts_of_it))
    assert whole.to_pylist() == batch.to_pylist()
    assert (whole.num_rows, whole.schema) == (batch.num_rows, schema)


def test_one_garbled_batch_among_good_ones_is_refused() -> None:
    """Text that is no UTF-8 is not seen where only the first is looked at."""
    bad = pa.RecordBatch.from_arrays(
        [pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())], names=["s"]
    )
    good = pa.record_batch({"s": ["a"]})
    assert read_stream(stream(good, good))[1].num_rows == 2
    with pytest.raises(GarbledPayload):
        read_stream(stream(good, bad))


def test_every_cut_and_every_flipped_byte_is_refused_or_read_in_full() -> None:
    whole = parts(ROWS)
    for at in range(len(whole)):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        for payload in (whole[:at], bytes(broken)):
            try:
                _, batch = read_stream(payload)
            except (GarbledPayload, JobError):
                continue
            batch.validate(full=True)


def test_a_batch_of_another_schema_is_refused() -> None:
    with pytest.raises(GarbledPayload):
        read_batch(ROWS.serialize(), pa.schema([("n", pa.string()), ("s", pa.int64())]))


# --- a few bytes that stand for very many -----------------------------------------------------

NULLS = pa.RecordBatch.from_arrays([pa.nulls(DEFAULT_LIMITS.rows + 1)], names=["a"])
NESTED = pa.RecordBatch.from_arrays(
    [pa.FixedSizeListArray.from_arrays(pa.nulls(1 << 26), 1 << 26)], names=["a"]
)


def compressed(codec: str) -> bytes:
    zeros = pa.array([0] * 10_000, pa.int64())
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with pa.ipc.new_stream(sink, pa.schema([("a", pa.int64())]), options=options) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([zeros], names=["a"]))
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (parts(NULLS), "4,194,305 rows, at most 4,194,304"),
        (stream(NULLS), "4,194,305 rows, at most 4,194,304"),
        (stream(NULLS.slice(1), NULLS.slice(0, 1)), "a stream of 4,194,305 rows"),
        (parts(NESTED), "a column has 67,108,864 values in"),
        (compressed("zstd"), "its body is compressed"),
        (compressed("lz4"), "its body is compressed"),
    ],
    ids=["nulls", "nulls in a stream", "nulls in two", "nested", "zstd", "lz4"],
)
def test_what_would_become_far_more_than_it_came_as_is_refused(payload: bytes, why: str) -> None:
    """224 bytes were 300 million rows, whose lineage took 7 GB of the engine; 6 KB of zstd were
    200 MB. Both are refused by their heads."""
    with pytest.raises(GarbledPayload, match=why):
        read_stream(payload)


def test_as_many_rows_as_are_possible_come_through() -> None:
    batch = NULLS.slice(1)
    assert read_stream(parts(batch))[1].num_rows == DEFAULT_LIMITS.rows


@pytest.mark.parametrize("columns", [1, 0])
def test_a_longer_batch_is_split_by_its_sender(columns: int) -> None:
    batch = NULLS.select(range(columns))
    sizes = [part.num_rows for part in split(batch, 1 << 20)]
    assert sizes == [DEFAULT_LIMITS.rows, 1]


def test_small_batches_of_many_rows_do_not_go_together() -> None:
    sent: list[int] = []
    gatherer = Gatherer(lambda _topic, rows, _batches: sent.append(rows))
    for rows in (DEFAULT_LIMITS.rows - 1, 1, 1):
        gatherer.add("t", rows, pa.py_buffer(b"x"))
    gatherer.flush_all()
    assert sent == [DEFAULT_LIMITS.rows, 1]


# --- values that stand once for many rows -------------------------------------------------

LONG = "x" * 60_000_000
MANY = 1_000_000


def once(rows: int, value: str = LONG) -> dict[str, pa.Array]:
    """A value that comes once and is meant `rows` times, in each way that Arrow has."""
    values = pa.array([value])
    zeros, ones = pa.array([0] * rows, pa.int32()), pa.array([1] * rows, pa.int32())
    coded = pa.DictionaryArray.from_arrays(zeros, values)
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([rows], pa.int32()), values)
    every = pa.array(range(rows + 1), pa.int32())
    return {
        "dictionary": coded,
        "runs": runs,
        "views of a list": pa.ListViewArray.from_arrays(zeros, ones, values),
        "dictionary in a list": pa.ListArray.from_arrays(every, coded),
        "dictionary in a struct": pa.StructArray.from_arrays([coded], ["f"]),
        "dictionary in a map": pa.MapArray.from_arrays(every, zeros, coded),
        "dictionary in lists of two": pa.FixedSizeListArray.from_arrays(coded, 2),
    }


@pytest.mark.parametrize("how", once(2, "x"))
def test_what_would_take_terabytes_written_out_is_refused(how: str) -> None:
    column = once(MANY)[how]
    payload = stream(pa.RecordBatch.from_arrays([column], ["c"]))
    assert len(payload) < DEFAULT_LIMITS.message + (16 << 20)
    with pytest.raises(JobError, match="Publish fewer rows at a time"):
        read_stream(payload)


@pytest.mark.parametrize("how", once(2, "x"))
def test_what_is_written_out_is_counted_where_it_is(how: str) -> None:
    """To the byte, slices too; but for lists of a fixed size, which count as their largest."""
    column = once(10, "abc")[how]
    per_row = {"dictionary in a map": 4 + 3, "dictionary in lists of two": 2 * 3}.get(how, 3)
    batch = pa.RecordBatch.from_arrays([column], ["c"])
    for start, rows in [(0, len(column)), (1, 3), (2, 0)]:
        assert written_out(batch.slice(start, rows)) == rows * per_row


def test_nulls_and_columns_that_are_plain_take_nothing() -> None:
    coded = pa.DictionaryArray.from_arrays(pa.array([0, None, 1]), pa.array(["ab", None]))
    batch = pa.record_batch({"d": coded, "s": ["long", "longer", "longest"]})
    assert written_out(batch) == 2


def test_more_than_can_be_counted_is_garbled() -> None:
    """Views of a list of views of a list, each of all items of the next."""
    column: pa.Array = pa.array(["x"] * MANY)
    for _ in range(3):
        starts = pa.array([0] * MANY, pa.int32())
        column = pa.ListViewArray.from_arrays(starts, pa.array([MANY] * MANY, pa.int32()), column)
    with pytest.raises(GarbledPayload, match="overflow"):
        read_stream(stream(pa.RecordBatch.from_arrays([column], ["c"])))


def test_the_sdk_sends_so_few_rows_at_once_as_can_be_written_out() -> None:
    column = once(5_000, "x" * 100_000)["dictionary"]
    sent = list(split(pa.RecordBatch.from_arrays([column], ["c"]), 8 << 20))
    assert sum(part.num_rows for part in sent) == 5_000
    assert len(sent) == 2
    assert all(written_out(part) <= DEFAULT_LIMITS.written_out for part in sent)
