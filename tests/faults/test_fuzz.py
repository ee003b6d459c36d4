"""Some cases of the fuzz, by a seed that changes; and what once brought the engine down."""

from __future__ import annotations

import os
import random

import pyarrow as pa
import pytest

from casparian.app.arrow_checks import check_fields, check_nested
from casparian.app.payloads import GarbledPayload, read_stream
from casparian.domain.errors import JobError
from tests.faults.fuzz import in_a_process, reason_of
from tests.faults.fuzz_streams import Message, taken_apart

COUNTS = {"frames": 10_000, "streams": 5_000}
REFUSED_IN_MANY_WAYS = 30


@pytest.mark.parametrize("kind", sorted(COUNTS))
def test_whatever_comes_is_read_or_refused(kind: str) -> None:
    seed = int(os.environ.get("CASPARIAN_TEST_SEED", random.randrange(1 << 30)))
    print(f"CASPARIAN_TEST_SEED={seed}")
    ends = in_a_process(kind, seed, 0, COUNTS[kind])
    assert ends.total() == COUNTS[kind]
    assert len(ends) > REFUSED_IN_MANY_WAYS, ends
    good = ends["accepted"] if kind == "streams" else ends["read: Data"]
    assert 0 < good < COUNTS[kind] / 2


def test_a_reason_is_the_same_for_all_its_cases() -> None:
    assert reason_of("column 'a' has 12 values, b'\\xff' came") == reason_of(
        "column 'bc' has 7,000 values, b'' came"
    )


# --- what validation passes over --------------------------------------------------------------


def stream_of(messages: list[Message]) -> bytes:
    return b"".join(map(bytes, messages))


def test_views_of_text_are_refused_at_any_depth() -> None:
    """Arrow's cast of a NULL's view read where it pointed to: the engine died of it."""
    texts = pa.array(["a", None], pa.string_view())
    for column in (
        texts,
        pa.array([[b"a"], None], pa.list_(pa.binary_view())),
        pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), texts),
    ):
        batch = pa.RecordBatch.from_arrays([column], names=["c"])
        with pytest.raises(JobError, match="views of text or bytes"):
            read_stream(stream_of(taken_apart([batch])))


def test_an_empty_list_that_begins_elsewhere_is_refused() -> None:
    """Writing it as Parquet read at its first offset: the engine died of it."""
    offsets = pa.py_buffer((2**31 - 1).to_bytes(4, "little"))
    inner = pa.Array.from_buffers(
        pa.list_(pa.int8()), 0, [None, offsets], children=[pa.array([], pa.int8())]
    )
    outer = pa.Array.from_buffers(
        pa.list_(inner.type), 1, [None, pa.py_buffer(bytes(8))], children=[inner]
    )
    batch = pa.RecordBatch.from_arrays([outer], names=["l"])
    batch.validate(full=True)
    with pytest.raises(ValueError, match="an empty list<item: int8> begins at 2147483647 of 0"):
        check_nested(batch)
    with pytest.raises(GarbledPayload):
        read_stream(stream_of(taken_apart([batch])))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[], None], pa.list_(pa.list_(pa.string()))),
        pa.array([[["a"]], []]).slice(1),
        pa.array([{"a": []}, None], pa.struct([("a", pa.map_(pa.string(), pa.list_(pa.int8())))])),
        pa.array([[], None], pa.large_list(pa.large_string())),
        pa.array(["a", None]).dictionary_encode(),
        pa.array([[None]], pa.list_(pa.null())),
    ],
    ids=lambda values: str(values.type),
)
def test_honest_empty_ones_come_through(values: pa.Array) -> None:
    batch = pa.RecordBatch.from_arrays([values], names=["c"])
    check_fields(batch.schema)
    assert read_stream(stream_of(taken_apart([batch])))[1].to_pylist() == batch.to_pylist()
