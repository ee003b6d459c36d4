"""A plugin may do what it likes: its job fails with the reason, the others and the engine live."""

from __future__ import annotations

import pytest

from tests.support.project import Project

PLUGIN = """
import os, sys, time
import pyarrow as pa
import pyarrow.csv as pc
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        name = os.path.basename(file_path)
        table = pa.table({"a": [1, 2, 3]})
        self.publish("output", table)
        if name.startswith("raise"):
            raise ValueError("the middle of the file is missing")
        if name.startswith("sysexit"):
            sys.exit(3)
        if name.startswith("osexit"):
            os._exit(3)
        if name.startswith("hang"):
            time.sleep(3600)
        if name.startswith("loops"):
            while True:
                pass
        if name.startswith("eat"):
            self.big = [bytearray(64 << 20) for _ in range(24)]
        if name.startswith("abort"):
            os.abort()
        if name.startswith("drift"):
            self.publish("output", pa.table({"a": ["x", "y"]}))
        if name.startswith("unknown"):
            self.publish("elsewhere", table)
        if name.startswith("lineage"):
            self.publish("output", pa.table({"_casparian_job_id": [1]}))
        if name.startswith("twice"):
            self.publish("output", pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]))
"""

EXPECTED = {
    "raise.csv": ("DATA", "ValueError: the middle of the file is missing"),
    "sysexit.csv": ("DATA", "sys.exit(3)"),
    "osexit.csv": ("CRASH", "exit code 3"),
    "hang.csv": ("TIMEOUT", "did not finish the file within 9 s"),
    "loops.spin": ("TIMEOUT", "CPU"),
    "eat.csv": ("OOM", "MemoryError"),
    "abort.csv": ("OOM", "memory"),
    "drift.csv": ("SCHEMA_DRIFT", "(a: string)"),
    "unknown.csv": ("UNKNOWN_TOPIC", "it has: output"),
    "lineage.csv": ("DATA", "_casparian_"),
    "twice.csv": ("DATA", "'a'"),
}


@pytest.mark.slow
def test_each_ends_with_its_reason_and_harms_nobody_else(project: Project) -> None:
    project.plugin("naughty", PLUGIN)
    project.plugin("spinning", PLUGIN)
    project.configure(
        """
        [scout]
        settle_s = 0
        [worker]
        backoff_s = 0.1
        max_crashes = 2
        [[source_root]]
        path = "inbox"
        [[rule]]
        pattern = "*.csv"
        tag = "csv"
        [[rule]]
        pattern = "*.spin"
        tag = "spin"
        [plugin.naughty]
        tags = ["csv"]
        timeout_s = 9
        memory_mb = 1024
        [plugin.naughty.topics.output]
        sink = "parquet://./output"
        # However little of the processor it gets, its own seconds are up before the clock's.
        [plugin.spinning]
        tags = ["spin"]
        timeout_s = 3600
        cpu_s = 1
        [plugin.spinning.topics.output]
        sink = "parquet://./output"
        """
    )
    good = [f"good{n}.csv" for n in range(10)]
    for name in [*EXPECTED, *good]:
        project.drop(name, f"a\n{name}\n")

    assert project.drain() == 1, project.log()

    errors = project.errors()
    assert set(errors) == set(EXPECTED)
    for name, (kind, text) in EXPECTED.items():
        assert errors[name][0] == kind, (name, errors[name])
        assert text in errors[name][1], (name, errors[name])
    assert project.statuses() == {"COMPLETED": len(good), "FAILED": len(EXPECTED)}
    assert project.parquet().num_rows == 3 * len(good)
    assert project.stagings() == []


HOSTILE = """
import os, struct
import pyarrow as pa
from casparian.domain.message_codec import encode
from casparian.domain.messages import Done, Register, TopicTotals
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        name = os.path.basename(file_path).split(".")[0].rstrip("0123456789")
        runtime = self._ctx._runtime
        session = runtime.session
        def send(head, payload=b""):
            with runtime._changed:
                runtime._outbox.append((head, payload))
            runtime._connection.wake()
        if name == "good":
            self.publish("output", pa.table({"a": [1]}))
            return
        self.publish("output", pa.table({"a": [1, 2, 3]}))
        if name == "bytes":
            send(b"\\xff" * 40)
        if name == "version":
            send(struct.pack("!BBHIQ", 1, 5, 0, 0, session.current.job_id))
        if name == "register":
            send(encode(Register(session.secret, "hostile", "0" * 64, 1)))
        if name == "stranger":
            send(encode(Done("another", session.current.job_id, session.current.attempt, {})))
        if name == "otherjob":
            send(encode(Done(session.secret, session.current.job_id + 1, 1, {})))
        if name == "totals":
            send(encode(Done(session.secret, session.current.job_id, session.current.attempt,
                             {"output": TopicTotals(1, 3, 5)})))
        if name == "rows":
            totals = dict(session._totals)
            known = totals["output"]
            totals["output"] = TopicTotals(known.batches, known.rows + 7, known.bytes)
            job = session.current
            send(encode(Done(session.secret, job.job_id, job.attempt, totals)))
        if name == "arrow":
            batch = pa.record_batch({"a": [1, 2, 3]}).serialize().to_pybytes()
            broken = bytearray(batch)
            broken[8:40] = b"\\x7f" * 32
            with runtime._changed:
                message = session.data("output", 0, 3, len(broken))
                runtime._outbox.append((encode(message), bytes(broken)))
            runtime._connection.wake()
        import time
        time.sleep(30)
"""

HOSTILITIES = ("bytes", "version", "register", "stranger", "otherjob", "totals", "rows", "arrow")


@pytest.mark.slow
def test_whatever_a_sidecar_sends_the_router_lives(project: Project) -> None:
    project.plugin("hostile", HOSTILE)
    project.configure(
        """
        [scout]
        settle_s = 0
        [worker]
        max_crashes = 1
        [[source_root]]
        path = "inbox"
        [[rule]]
        pattern = "*.csv"
        tag = "csv"
        [plugin.hostile]
        tags = ["csv"]
        [plugin.hostile.topics.output]
        sink = "parquet://./output"
        """
    )
    # A good file between two offences, so that no three in a row end in quarantine.
    for number, name in enumerate(HOSTILITIES):
        project.drop(f"{name}.csv", name)
        assert project.drain(timeout=60) == 1, project.log()
        project.drop(f"good{number}.csv", f"{number}")
    assert project.drain() == 1, project.log()

    errors = project.errors()
    assert set(errors) == {f"{name}.csv" for name in HOSTILITIES}
    assert {kind for kind, _ in errors.values()} == {"PROTOCOL"}, errors
    assert all("broke the protocol" in message for _, message in errors.values())
    assert project.parquet().num_rows == len(HOSTILITIES)
    assert project.stagings() == []
