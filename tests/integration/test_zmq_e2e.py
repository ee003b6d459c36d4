"""The whole system as processes: engines, sidecars, two transports, halves of an engine."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.support.project import CSV_PLUGIN, Project, documents, read_parquet, wait_for

CSV = "a,b\n1,x\n2,y\n"


def completed(project: Project) -> int:
    return project.statuses().get("COMPLETED", 0)


@pytest.mark.slow
def test_two_workers_of_one_toml_share_the_work_without_a_double(project: Project) -> None:
    project.csv_to("parquet://./output")
    # Slow enough that one worker cannot take all of it before the other looks.
    slow = "import time; time.sleep(0.02)\n        options ="
    project.plugin("csv_table", CSV_PLUGIN.replace("options =", slow, 1))
    # The scout brings the configuration to the database, then both workers wait for work.
    assert project.drain("--role", "scout") == 0, project.log()[-3000:]
    with project.running("--role", "worker") as one, project.running("--role", "worker") as two:
        wait_for(lambda: project.log().count("worker started") == 2)
        for number in range(300):
            project.drop(f"f{number}.csv", f"n\n{number}\n")
        assert project.drain("--role", "scout") == 0, project.log()[-3000:]
        wait_for(lambda: completed(project) == 300)
        for worker in (one, two):
            worker.send_signal(signal.SIGTERM)
        assert (one.wait(30), two.wait(30)) == (0, 0), project.log()[-3000:]

    table = read_parquet(project.directory / "output" / "output")
    assert sorted(table.column("n").to_pylist()) == list(range(300))
    ended = [d["job"] for d in documents(project.log()) if d["event"] == "job completed"]
    assert sorted(ended) == sorted(set(ended))
    workers = project.query("select worker, count(*) from processing_job group by worker")
    assert len(workers) == 2, workers
    assert project.query("select max(attempt) from processing_job") == [(1,)]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["zmq-ipc", "zmq-tcp"])
def test_a_file_dropped_while_the_engine_runs_is_published_soon_after_it_settles(
    project: Project, transport: str
) -> None:
    """Settled is not published: the bound is the median over several files, since the machine
    that runs this may be busy with something else."""
    settle = 0.3
    project.csv_to("parquet://./output")
    text = (project.directory / "casparian.toml").read_text()
    endpoint = 'endpoint = "127.0.0.1:0"\n' if transport == "zmq-tcp" else ""
    project.configure(
        text.replace("settle_s = 0", f"settle_s = {settle}").replace(
            "interval_s = 0.5", "interval_s = 60"
        )
        + f'\n[transport]\nadapter = "{transport}"\n{endpoint}'
    )
    output = project.directory / "output" / "output"
    with project.running() as engine:
        wait_for(lambda: "worker started" in project.log())
        waits = []
        for number in range(7):
            project.drop(f"f{number}.csv", CSV)
            settled = time.monotonic() + settle
            wait_for(
                lambda n=number: len(list(output.glob("**/*.parquet"))) == n + 1,  # type: ignore[misc]
                every=0.005,
            )
            waits.append(time.monotonic() - settled)
        assert sorted(waits)[len(waits) // 2] < 1.0, waits
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(30) == 0


@pytest.mark.slow
def test_a_sidecar_killed_while_idle_is_replaced_when_work_comes(project: Project) -> None:
    project.csv_to("parquet://./output")
    with project.running() as engine:
        # One is started before any work is there.
        first = wait_for(lambda: project.sidecar_pids(engine.pid))
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not set(first) & set(project.sidecar_pids(engine.pid)))
        project.drop("f.csv", CSV)
        wait_for(lambda: completed(project) == 1)
        assert project.query("select attempt, crashes from processing_job") == [(1, 0)]


@pytest.mark.slow
def test_sidecars_end_with_their_engine_however_it_ends(project: Project) -> None:
    project.csv_to("parquet://./output")
    with project.running() as engine:
        sidecars = wait_for(lambda: project.sidecar_pids(engine.pid))
        engine.kill()
        engine.wait()
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in sidecars))


@pytest.mark.slow
def test_sigterm_finishes_what_is_held(project: Project) -> None:
    project.plugin(
        "slow",
        """
        import pathlib, time
        import pyarrow as pa
        from casparian.sdk import BasePlugin

        class Handler(BasePlugin):
            def execute(self, file_path):
                started = pathlib.Path(self.config["started"])
                started.touch()
                while not started.with_name("go").exists():
                    time.sleep(0.01)
                self.publish("output", pa.table({"a": [1]}))
        """,
    )
    started = project.directory / "started"
    project.configure(
        f"""
        [scout]
        settle_s = 0
        [plugins]
        sandbox = "off"  # The plugin tells by a file where it is.
        [plugin_host]
        sidecars = 1
        [[source_root]]
        path = "inbox"
        [[rule]]
        pattern = "*"
        tag = "any"
        [plugin.slow]
        tags = ["any"]
        settings = {{ started = "{started}" }}
        [plugin.slow.topics.output]
        sink = "parquet://./output"
        """
    )
    for number in range(5):
        project.drop(f"f{number}", str(number))
    with project.running() as engine:
        wait_for(started.exists)
        engine.send_signal(signal.SIGTERM)
        wait_for(lambda: project.statuses().get("QUEUED", 0) >= 3)
        (project.directory / "go").touch()
        assert engine.wait(30) == 0
    statuses = project.statuses()
    assert statuses["COMPLETED"] >= 1
    assert set(statuses) == {"COMPLETED", "QUEUED"}, project.log()[-3000:]
    assert project.stagings() == []
    assert project.query("select max(tries) from processing_job") == [(0,)]


@pytest.mark.slow
def test_new_plugin_code_is_used_after_a_restart_and_recorded(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.drop("a.csv", CSV)
    assert project.drain() == 0
    project.plugin(
        "csv_table", (project.plugins / "csv_table.py").read_text() + "\n# another version\n"
    )
    project.drop("b.csv", CSV)
    assert project.drain() == 0
    hashes = project.query("select plugin_hash from processing_job order by id")
    # A change of code publishes nothing anew by itself.
    assert len(hashes) == 2
    assert hashes[0] != hashes[1]
