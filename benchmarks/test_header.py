"""Heads: packing, unpacking, splitting, whole metadata; and lineage columns. Both twins."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from casparian._fastpath import _pure
from casparian.domain.wire import OpCode, decode_head, encode_head

METADATA = {"topic": "output", "attempt": 1, "sequence": 17, "rows": 50_000}
HEAD = encode_head(OpCode.DATA, 0, 7, METADATA)


@pytest.fixture(params=["cython", "pure"])
def twin(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "pure":
        return _pure
    return pytest.importorskip("casparian._fastpath._speed")


def test_pack_header(benchmark: Any, twin: ModuleType) -> None:
    assert len(benchmark(twin.pack_header, 3, 0, 60, 7)) == 16


def test_unpack_header(benchmark: Any, twin: ModuleType) -> None:
    assert benchmark(twin.unpack_header, HEAD).job_id == 7


def test_split_head(benchmark: Any, twin: ModuleType) -> None:
    assert benchmark(twin.split_head, HEAD)[3] == 7


def test_encode_head(benchmark: Any) -> None:
    assert benchmark(encode_head, OpCode.DATA, 0, 7, METADATA) == HEAD


def test_decode_head(benchmark: Any) -> None:
    assert benchmark(decode_head, HEAD, 0)[1] == METADATA


@pytest.mark.parametrize("rows", [100, 65_536])
def test_add_lineage(benchmark: Any, twin: ModuleType, rows: int) -> None:
    batch = pa.record_batch({f"c{number}": pa.array(range(rows)) for number in range(10)})
    assert benchmark(twin.add_lineage, batch, 7, 8, 0).num_columns == 13


@pytest.mark.parametrize("rows", [100, 65_536])
def test_batch_from_frame(benchmark: Any, twin: ModuleType, rows: int) -> None:
    batch = pa.record_batch({f"c{number}": pa.array(range(rows)) for number in range(10)})
    frame = batch.serialize().to_pybytes()
    assert benchmark(twin.batch_from_frame, frame, batch.schema).num_rows == rows
