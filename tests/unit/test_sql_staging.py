"""Rows on their way into a server, and no thread to send them by."""

from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa
import pytest

from casparian.adapters.sink import _sql_staging
from casparian.adapters.sink._sql_staging import ChunkedStaging, Rows
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.lineage import JobLineage
from casparian.domain.ports import StageRequest
from casparian.domain.publish import StagingKey, Target
from casparian.testing.sink import batch, values


class Plain:
    """Forms in which every value is stored as it is, and where they are stored."""

    def __init__(self) -> None:
        self.rows = 0

    def refuse_unsupported(self, schema: pa.Schema, where: str) -> None: ...

    def encode(self, array: pa.Array, column: str, where: str) -> pa.Array:
        return array

    def digestible(self, array: pa.Array, stored: pa.Array) -> pa.Array:
        return array

    def begin(self, request: StageRequest) -> None:
        self.rows = 0

    def add(self, request: StageRequest, rows: Rows) -> None:
        self.rows += rows.rows

    end = add

    def drop(self, request: StageRequest) -> None:
        self.rows = 0


def test_where_no_thread_can_be_had_the_rows_are_not_to_blame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_sql_staging, "CHUNK_BYTES", 1)
    server = Plain()
    request = StageRequest(
        StagingKey("0123456789ab", 1, 1, "ab" * 16),
        Target("server", "schema", "rows"),
        JobLineage(1, 1, "in/a.csv", "c" * 64, "plug", "p" * 64),
    )
    staging = ChunkedStaging(server, server, request, None)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        with pytest.raises(JobError, match="start new thread") as refused:
            staging.write(batch(values(3), 1))
        assert refused.value.error_class is ErrorClass.INFRASTRUCTURE
        staging.discard()
    staging.write(batch(values(3), 1))
    staging.finish()
    assert server.rows == 3
