"""Deployment end to end: keys, a running engine, versions, rollback, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import Project, wait_for

DOUBLED = """
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        with open(file_path) as lines:
            rows = [{"a": int(line) * 2} for line in list(lines)[1:]]
        self.publish("output", rows)
"""
BROKEN = "class Handler: pass\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "flow")
    project.csv_to("parquet://./output")
    (tmp_path / "doubled.py").write_text(DOUBLED)
    (tmp_path / "broken.py").write_text(BROKEN)
    return project


@pytest.fixture
def engine(project: Project) -> Iterator[Project]:
    """A project whose engine runs, with the key `office`."""
    project.casparian("keys", "new", "office")
    with project.running():
        wait_for(lambda: project.database.exists() and _alive(project))
        yield project


def _alive(project: Project) -> bool:
    try:
        return bool(project.query("select 1 from worker_node where endpoint <> '' and not stopped"))
    except Exception:
        return False


def deploy(project: Project, file: str, code: int = 0, key: str = "office") -> str:
    path = str(project.directory.parent / file)
    done = project.casparian(
        "deploy", path, "--plugin", "csv_table", "--key-id", key, "--json", code=code
    )
    return done.stdout if code == 0 else done.stderr


def told(project: Project, command: str = "deployments", *arguments: str) -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = json.loads(
        project.casparian(command, *arguments, "--json").stdout
    )
    return document


def numbers(project: Project) -> list[int]:
    table = project.parquet()
    return sorted(table.column("a").to_pylist()) if table.num_columns else []


def test_deployed_code_runs_the_next_files(engine: Project) -> None:
    engine.drop("one.csv", "a\n1\n")
    wait_for(lambda: numbers(engine) == [1])
    document = json.loads(deploy(engine, "doubled.py"))
    assert (document["plugin"], document["version"]) == ("csv_table", 2)
    engine.drop("two.csv", "a\n5\n")
    wait_for(lambda: numbers(engine) == [1, 10])
    hashes = dict(engine.query("select id, plugin_hash from processing_job"))
    assert hashes[2] == document["content_hash"] != hashes[1]
    (plugin,) = [p for p in told(engine, "plugins") if p["name"] == "csv_table"]
    assert (plugin["origin"], plugin["version"]) == ("deploy", 2)
    assert [(d["version"], d["origin"], d["live"]) for d in told(engine)] == [
        (1, "directory", False),
        (2, "deploy", True),
    ]
