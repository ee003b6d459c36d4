"""Payloads: a stream of one batch is read by its parts, small batches are made one, and anything
else is taken as it deserves."""

from __future__ import annotations

import pyarrow as pa
import pytest

from casparian.app.payloads import GarbledPayload, read_batch, read_stream
from casparian.domain.errors import JobError
from casparian.domain.wire import DEFAULT_LIMITS

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
