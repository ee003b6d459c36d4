"""Both twins of the fast path, held to the same tests; and which of them the package chose."""

from __future__ import annotations

import os
import subprocess
import sys
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

import casparian._fastpath as fastpath
from casparian._fastpath import _pure
from casparian.domain import lineage
from casparian.domain.wire import (
    HEADER,
    Flag,
    Header,
    LocalProtocolError,
    OpCode,
    RemoteProtocolError,
)

try:
    from casparian._fastpath import _speed
except ImportError as error:
    COMPILED, WHY_NOT = None, str(error)
else:
    COMPILED, WHY_NOT = _speed, ""

HEAD = HEADER.pack(2, 3, 1, 4, 2**40) + b'{"":'


@pytest.fixture(params=["cython", "pure"])
def twin(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "pure":
        return _pure
    if COMPILED is None:
        pytest.skip(f"the compiled twin is not here: {WHY_NOT}")
    return COMPILED


def outcome(function: Any, *arguments: Any) -> Any:
    """What a call gives, or the class and text of what it raises."""
    try:
        return function(*arguments)
    except (RemoteProtocolError, LocalProtocolError, ValueError) as error:
        return type(error), str(error)


class TestChoice:
    def test_the_expected_twin_runs(self) -> None:
        """CI sets the variable in each lane, so that no lane runs on the wrong twin unseen."""
        expected = os.environ.get("CASPARIAN_EXPECT_FASTPATH", fastpath.IMPLEMENTATION)
        assert expected == fastpath.IMPLEMENTATION, fastpath.WHY

    def test_says_why_when_it_is_pure(self) -> None:
        assert bool(fastpath.WHY) == (fastpath.IMPLEMENTATION == "pure")

    def test_can_be_forced_to_the_pure_twin(self) -> None:
        code = "import casparian._fastpath as f; print(f.IMPLEMENTATION, f.pack_header.__module__)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "CASPARIAN_PURE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == ["pure", "casparian.domain.wire"]

    def test_the_stub_names_what_both_have(self, twin: ModuleType) -> None:
        for name in set(fastpath.__all__) - {"IMPLEMENTATION", "WHY"}:
            assert callable(getattr(twin, name))


class TestHeader:
    def test_packs_the_header(self, twin: ModuleType) -> None:
        assert twin.pack_header(3, 1, 4, 2**40) == HEAD[:16]

    @pytest.mark.parametrize("job_id", [0, 1, 255, 2**32, 2**63 - 1, 2**64 - 1])
    def test_round_trip(self, twin: ModuleType, job_id: int) -> None:
        header = twin.unpack_header(twin.pack_header(7, 2, 2**32 - 1, job_id))
        assert header == Header(2, OpCode.DEPLOY, Flag.STREAM, 2**32 - 1, job_id)
        assert isinstance(header, Header)
        assert isinstance(header.opcode, OpCode)
        assert isinstance(header.flags, Flag)

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, zmq.Frame])
    def test_splits_any_buffer(self, twin: ModuleType, kind: Any) -> None:
        version, opcode, flags, job_id, metadata = twin.split_head(kind(HEAD))
        assert (version, opcode, flags, job_id) == (2, OpCode.DATA, Flag.SCHEMA, 2**40)
        assert isinstance(metadata, memoryview)
        assert bytes(metadata) == HEAD[16:]

    def test_the_metadata_lies_in_the_frame(self, twin: ModuleType) -> None:
        frame = bytearray(HEAD)
        metadata = twin.split_head(frame)[4]
        frame[-1:] = b"!"
        assert bytes(metadata[-1:]) == b"!"

    @given(data=st.binary(max_size=20) | st.binary(max_size=4).map(lambda end: HEAD[:16] + end))
    def test_twins_agree_on_every_head(self, data: bytes) -> None:
        if COMPILED is None:
            pytest.skip(f"the compiled twin is not here: {WHY_NOT}")
        assert outcome(COMPILED.unpack_header, data) == outcome(_pure.unpack_header, data)
        assert outcome(COMPILED.split_head, data) == outcome(_pure.split_head, data)

    @given(
        header=st.builds(
            HEADER.pack,
            st.integers(0, 3), st.integers(0, 9), st.integers(0, 5), st.integers(0, 4),
            st.integers(0, 2**64 - 1),
        ),
        body=st.binary(max_size=4),
    )  # fmt: skip
    def test_twins_agree_on_what_is_nearly_a_head(self, header: bytes, body: bytes) -> None:
        if COMPILED is None:
            pytest.skip(f"the compiled twin is not here: {WHY_NOT}")
        assert outcome(COMPILED.split_head, header + body) == outcome(
            _pure.split_head, header + body
        )

    @pytest.mark.parametrize(
        "fields",
        [(0, 0, 0, 0), (8, 0, 0, 0), (2**40, 0, 0, 0), (-1, 0, 0, 0), (1, 4, 0, 0), (1, -1, 0, 0),
         (1, 0, -1, 0), (1, 0, 2**32, 0), (1, 0, 0, -1), (1, 0, 0, 2**64), (1, 0, 0, 1.5)],
    )  # fmt: skip
    def test_refuses_what_is_no_header(self, twin: ModuleType, fields: Any) -> None:
        with pytest.raises(LocalProtocolError):
            twin.pack_header(*fields)
        assert outcome(twin.pack_header, *fields) == outcome(_pure.pack_header, *fields)


def sample(rows: int = 3) -> pa.RecordBatch:
    return pa.record_batch(
        {"n": pa.array(range(rows), pa.int32()), "t": pa.array([str(i) for i in range(rows)])}
    ).replace_schema_metadata({"kept": "yes"})


def addresses(batch: pa.RecordBatch) -> list[int | None]:
    return [
        None if buffer is None else buffer.address
        for column in batch.columns
        for buffer in column.buffers()
    ]


class TestLineage:
    @pytest.mark.parametrize("rows", [0, 1, 7, 10_000])
    def test_arrays(self, twin: ModuleType, rows: int) -> None:
        jobs, versions, numbers = twin.lineage_arrays(5, rows, 2**62, -3)
        assert jobs.to_pylist() == [2**62] * rows
        assert versions.to_pylist() == [-3] * rows
        assert numbers.to_pylist() == list(range(5, 5 + rows))
        for array in (jobs, versions, numbers):
            array.validate(full=True)
            assert array.type == pa.int64()
            assert array.null_count == 0

    @pytest.mark.parametrize(
        "arguments",
        [(0, -1, 1, 1), (-1, 1, 1, 1), (2**63 - 2, 2, 1, 1), (0, 1, 2**63, 1), (0, 1, 1, -(2**63))],
    )
    def test_refuses_what_no_int64_holds(self, twin: ModuleType, arguments: Any) -> None:
        with pytest.raises(ValueError, match=r"cannot be numbered|no int64"):
            twin.lineage_arrays(*arguments)
        assert outcome(twin.lineage_arrays, *arguments) == outcome(_pure.lineage_arrays, *arguments)

    @pytest.mark.parametrize("place", range(4))
    def test_a_float_is_not_cut_to_a_number(self, twin: ModuleType, place: int) -> None:
        arguments: list[float] = [1, 1, 1, 1]
        arguments[place] = 1.5
        with pytest.raises(TypeError):
            twin.lineage_arrays(*arguments)

    def test_columns_are_appended_and_never_null(self, twin: ModuleType) -> None:
        wider = twin.add_lineage(sample(), 11, 22, 100)
        wider.validate(full=True)
        assert wider.schema.names == ["n", "t", *lineage.COLUMNS]
        assert wider.schema.metadata == {b"kept": b"yes"}
        assert wider.to_pydict() == {
            "n": [0, 1, 2], "t": ["0", "1", "2"],
            lineage.JOB_ID: [11] * 3, lineage.FILE_VERSION_ID: [22] * 3,
            lineage.ROW: [100, 101, 102],
        }  # fmt: skip
        for name in lineage.COLUMNS:
            assert not wider.schema.field(name).nullable
            assert wider.schema.field(name).type == pa.int64()

    def test_other_columns_are_not_copied(self, twin: ModuleType) -> None:
        batch = sample(1000)
        assert addresses(twin.add_lineage(batch, 1, 2, 0).select(["n", "t"])) == addresses(batch)

    def test_a_batch_without_columns_keeps_its_rows(self, twin: ModuleType) -> None:
        empty = sample(4).select([])
        assert twin.add_lineage(empty, 1, 2, 0).to_pydict()[lineage.ROW] == [0, 1, 2, 3]

    def test_a_slice_is_numbered_from_its_first_row(self, twin: ModuleType) -> None:
        wider = twin.add_lineage(sample(10).slice(4, 3), 1, 2, 50)
        assert wider.to_pydict()["n"] == [4, 5, 6]
        assert wider.to_pydict()[lineage.ROW] == [50, 51, 52]

    @pytest.mark.parametrize("times", [1, 2])
    @pytest.mark.parametrize("name", lineage.COLUMNS)
    def test_a_taken_name_is_refused(self, twin: ModuleType, name: str, times: int) -> None:
        batch = pa.RecordBatch.from_arrays([pa.array([1])] * times, names=[name] * times)
        with pytest.raises(ValueError, match=name):
            twin.add_lineage(batch, 1, 2, 0)


class TestBatchFromFrame:
    @pytest.mark.parametrize("kind", [bytes, memoryview, zmq.Frame])
    def test_lies_in_the_frame(self, twin: ModuleType, kind: Any) -> None:
        frame = kind(sample(50_000).serialize().to_pybytes())
        whole = pa.py_buffer(frame)
        batch = twin.batch_from_frame(frame, sample().schema)
        batch.validate(full=True)
        assert batch.equals(sample(50_000))
        found = [address for address in addresses(batch) if address is not None]
        assert found
        assert all(whole.address <= at < whole.address + whole.size for at in found)

    def test_outlives_the_callers_name_for_the_frame(self, twin: ModuleType) -> None:
        frame = zmq.Frame(sample(50_000).serialize().to_pybytes())
        batch = twin.batch_from_frame(frame, sample().schema)
        del frame
        assert batch.equals(sample(50_000))

    def test_an_unaligned_frame_is_copied_to_where_arrow_wants_it(self, twin: ModuleType) -> None:
        raw = b"x" + sample().serialize().to_pybytes()
        start = pa.py_buffer(raw).address
        frame = memoryview(raw)[1 if start % 8 == 0 else 0 :]
        shifted = pa.py_buffer(frame).address % 8
        assert shifted, "the sample happens to be aligned"
        batch = twin.batch_from_frame(frame, sample().schema)
        assert batch.equals(sample())
        assert all(at % 8 == 0 for at in addresses(batch) if at is not None)

    @pytest.mark.parametrize(
        "payload",
        [b"", b"no arrow at all", sample().schema.serialize().to_pybytes(),
         sample(100).serialize().to_pybytes()[:200]],
    )  # fmt: skip
    def test_what_is_no_batch_is_the_peers_error(self, twin: ModuleType, payload: bytes) -> None:
        with pytest.raises(RemoteProtocolError, match="no Arrow record batch"):
            twin.batch_from_frame(payload, sample().schema)
