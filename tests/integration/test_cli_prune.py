"""`casparian prune` over a real history."""

from __future__ import annotations

import json
import subprocess

from casparian.app.cli._jobs import actor
from tests.support.project import Project


def prune(project: Project, before: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return project.casparian("prune", "--before", before, "--json", code=code)


def test_old_failures_go_and_rows_stay_traced(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.drop("a.csv", "a\n1,2\n")
    assert project.drain() == 1
    project.drop("a.csv", "a\n1\n")
    assert project.drain() == 0
    assert json.loads(prune(project, "2001-01-01").stdout) == {
        "jobs": 0,
        "events": 0,
        "environments": 0,
    }
    assert project.statuses() == {"FAILED": 1, "COMPLETED": 1}
    assert json.loads(prune(project, "2999-01-01T00:00:00").stdout) == {
        "jobs": 1,
        "events": 1,
        "environments": 0,
    }
    assert project.statuses() == {"COMPLETED": 1}
    (pruned,) = project.query("select actor, jobs, events from pruning")
    assert pruned == (actor(), 1, 1)
    ((job,),) = project.query("select id from processing_job")
    assert "a.csv" in project.casparian("trace", str(job), "0").stdout
    assert "is no date" in prune(project, "yesterday", code=2).stderr
