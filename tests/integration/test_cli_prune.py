"""`casparian prune` over a real history."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from casparian.app.cli._jobs import actor
from tests.support.project import Project

PROGRAM = Path(sys.executable).parent / "casparian"


def prune(project: Project, before: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PROGRAM, "prune", "--before", before, "--json"],
        cwd=project.directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_old_failures_go_and_rows_stay_traced(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.drop("a.csv", "a\n1,2\n")
    assert project.drain() == 1
    project.drop("a.csv", "a\n1\n")
    assert project.drain() == 0
    assert json.loads(prune(project, "2001-01-01").stdout) == {"jobs": 0, "events": 0}
    assert project.statuses() == {"FAILED": 1, "COMPLETED": 1}
    assert json.loads(prune(project, "2999-01-01T00:00:00").stdout) == {"jobs": 1, "events": 1}
    assert project.statuses() == {"COMPLETED": 1}
    (pruned,) = project.query("select actor, jobs, events from pruning")
    assert pruned == (actor(), 1, 1)
    ((job,),) = project.query("select id from processing_job")
    traced = subprocess.run(
        [PROGRAM, "trace", str(job), "0"], cwd=project.directory, check=True, capture_output=True
    )
    assert b"a.csv" in traced.stdout
    assert "is no date" in prune(project, "yesterday", code=2).stderr
