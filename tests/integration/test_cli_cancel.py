"""`casparian cancel`: what waits and what runs, under an engine that works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.project import FAST, Project, wait_for

PLUGIN = """
import pathlib, time
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        name = pathlib.Path(file_path).name
        self.publish("output", [{"name": name}])
        if name == "endless.txt":
            (pathlib.Path(file_path).parents[1] / "began").touch()
            time.sleep(3600)
"""
SHORT_LEASES = FAST.replace("[worker]", "[worker]\nlease_s = 3")
SET_UP = f"""{SHORT_LEASES}
[plugins]
sandbox = "off"  # The plugin tells by a file where it is.
[[source_root]]
path = "inbox"
[[rule]]
pattern = "*.txt"
tag = "text"
[plugin.names]
tags = ["text"]
[plugin.names.topics.output]
sink = "parquet://./output"
"""


def cancel(project: Project, *arguments: str, code: int = 0) -> tuple[Any, str]:
    done = project.casparian(
        "cancel", *arguments, "--json", "--config", "casparian.toml", code=code
    )
    return json.loads(done.stdout) if done.stdout else None, done.stderr


def test_a_running_job_is_ended_and_publishes_nothing(project: Project) -> None:
    project.plugin("names", PLUGIN)
    project.configure(SET_UP.replace("sidecars = 2", "sidecars = 1"))
    project.drop("endless.txt", "x")
    with project.running() as engine:
        wait_for((project.directory / "began").exists)
        (pid,) = project.sidecar_pids(engine.pid)
        # The only sidecar is taken, so this one waits (maybe sent ahead), and goes on when the
        # other is ended.
        project.drop("next.txt", "y")
        wait_for(lambda: sum(project.statuses().values()) == 2)
        document, _ = cancel(project, "1")
        assert [(job["id"], job["status"]) for job in document["cancelled"]] == [(1, "RUNNING")]
        wait_for(lambda: project.statuses() == {"CANCELLED": 1, "COMPLETED": 1})
        assert not Path(f"/proc/{pid}").exists()
        wait_for(lambda: not project.stagings())
        assert engine.poll() is None
    assert project.parquet()["name"].to_pylist() == ["next.txt"]
    ((actor,),) = project.query("select actor from job_event where event = 'CANCELLED'")
    assert "@" in actor
    document, _ = cancel(project, "2", "1", code=1)
    assert document["cancelled"] == []
    assert [(job["id"], job["reason"]) for job in document["left"]] == [
        (2, "its rows are published"),
        (1, "it is cancelled already"),
    ]
    _, said = cancel(project, "1", "99", code=2)
    assert said.startswith("error: There is no job 99; nothing was cancelled.")


def test_a_waiting_job_never_runs(project: Project) -> None:
    project.plugin("names", PLUGIN)
    project.configure(SET_UP)
    project.drop("endless.txt", "x")
    project.casparian("scan")
    document, _ = cancel(project, "1", "1")
    assert [(job["id"], job["status"]) for job in document["cancelled"]] == [(1, "QUEUED")]
    assert project.drain() == 0
    assert not (project.directory / "began").exists()
