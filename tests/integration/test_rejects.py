"""Rejected rows through the real programs: exact, in their own place, and bounded."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support.plugins import PLUGINS
from tests.support.project import FAST, Project

LINES = [b"%d,name %d,%d.5" % (n, n, n) for n in range(2000)]
BAD = {17: b"17,too,many,values", 800: b"800", 1999: b"x,y,z"}


def content(bad: dict[int, bytes] = BAD) -> bytes:
    lines = [bad.get(n, line) for n, line in enumerate(LINES)]
    return b"\n".join([b"id,name,amount", *lines]) + b"\n"


def configure(project: Project, sink: str = "parquet://./output", more: str = "") -> None:
    project.plugin("csv_table", (PLUGINS / "csv_table.py").read_text())
    project.configure(
        f"""{FAST}
[[source_root]]
path = "inbox"
[[rule]]
pattern = "**/*.csv"
tag = "csv"
[plugin.csv_table]
tags = ["csv"]
settings = {{ types = {{ id = "int64", amount = "double" }}, block_bytes = 4000 }}
{more}
[plugin.csv_table.topics.output]
sink = "{sink}"
"""
    )


def told(project: Project, *arguments: str) -> Any:
    """What `casparian` says, from JSON where it is asked for."""
    done = project.casparian(*arguments)
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def query(project: Project, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute(f"set file_search_path = '{project.directory}'")
        return connection.execute(sql).fetchall()


def table(file: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(sql).fetchall()


ROWS = "read_parquet('output/output/**/*.parquet')"
REJECTS = "read_parquet('output/csv_table_rejects/**/*.parquet')"


def test_rows_and_rejects_are_exact(project: Project) -> None:
    configure(project)
    project.drop("a.csv", content())
    assert project.drain() == 0

    good = [n for n in range(2000) if n not in BAD]
    assert query(project, f"select id, name, amount from {ROWS} order by _casparian_row") == [
        (n, f"name {n}", n + 0.5) for n in good
    ]
    whole = content()
    assert query(project, f'select topic, line, "offset", raw from {REJECTS} order by line') == [
        ("output", n + 2, whole.index(raw + b"\n"), raw) for n, raw in BAD.items()
    ]
    assert query(project, f"select reason from {REJECTS} order by line") == [
        ("expected 3 columns, got 4",),
        ("expected 3 columns, got 1",),
        ("column 'id': CSV conversion error to int64: invalid value 'x'",),
    ]
    (job,) = told(project, "jobs", "--json")
    assert (job["status"], job["rows"], job["rejects"]) == ("COMPLETED", 1997, 3)
    assert job["rows_read"] == 2000
    lineage = "_casparian_job_id, _casparian_file_version_id, _casparian_row"
    assert query(project, f"select {lineage} from {REJECTS} order by 3") == [
        (job["id"], job["file_version_id"], n) for n in range(3)
    ]
    story = told(project, "why", "a.csv")
    assert "read 2,000 rows: 1,997 published, 3 rejected" in story
    assert "rows of topic _rejects: 3 rows in parquet://" in story
    assert "output/csv_table_rejects, slot" in story

    # The version that is corrected has none, so none stands.
    project.drop("a.csv", content({}))
    assert project.drain() == 0
    assert query(project, f"select count(*), sum(id) from {ROWS}") == [(2000, sum(range(2000)))]
    assert project.parquet("csv_table_rejects").num_rows == 0
    assert [job["rejects"] for job in told(project, "jobs", "--json")] == [3, 0]


def test_rejects_have_a_table_of_their_own(project: Project) -> None:
    configure(project, "sqlite://./out.db/orders")
    project.drop("a.csv", content())
    assert project.drain() == 0
    file = project.directory / "out.db"
    assert table(file, "select count(*) from orders") == [(1997,)]
    whole = content()
    assert table(file, 'select line, raw, "offset" from csv_table_rejects order by 1') == [
        (n + 2, r, whole.index(r + b"\n")) for n, r in BAD.items()
    ]


@pytest.mark.parametrize(
    ("bound", "completes"), [("3", True), ("2", False), ("0.0015", True), ("0.0014", False)]
)
def test_max_rejects_as_count_and_as_share(project: Project, bound: str, completes: bool) -> None:
    configure(project, more=f"max_rejects = {bound}")
    project.drop("a.csv", content())
    assert project.drain() == (0 if completes else 1)
    if completes:
        assert project.parquet().num_rows == 1997
        return
    error_class, message = project.errors()["a.csv"]
    assert error_class == "DATA"
    counted = "3 rows were rejected so far" if "." not in bound else "3 of 2000 rows were rejected"
    assert message.startswith(counted)
    assert "line 19: expected 3 columns, got 4; line 802: expected 3 columns, got 1" in message
    assert "max_rejects of plugin csv_table" in message
    assert not list((project.directory / "output").rglob("*.parquet"))
    assert project.stagings() == []


ENDLESS = """
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        line = 0
        while True:
            line += 1
            self.reject(b"x" * 50, "it is endless", line=line)
"""


def test_a_job_of_endless_rejects_is_stopped_by_the_engine(project: Project) -> None:
    configure(project, more="max_rejects = 5000")
    project.plugin("csv_table", ENDLESS)
    project.drop("a.csv", content())
    assert project.drain() == 1
    error_class, message = project.errors()["a.csv"]
    assert error_class == "DATA"
    assert "more than the 5000" in message
    assert "line 1: it is endless" in message
    assert project.stagings() == []


def test_a_file_of_too_many_rejects_leaves_its_earlier_version(project: Project) -> None:
    configure(project, more="max_rejects = 3")
    project.drop("a.csv", content())
    assert project.drain() == 0
    project.drop("a.csv", content({**BAD, 5: b"5"}))
    assert project.drain() == 1
    assert project.parquet().num_rows == 1997
    assert project.parquet("csv_table_rejects").num_rows == 3
    job = told(project, "why", "a.csv", "--json")["versions"][-1]["jobs"][-1]
    assert "4 rows were rejected so far" in job["error"]["message"]


def test_the_configuration_may_send_rejects_elsewhere(project: Project) -> None:
    configure(
        project,
        more='[plugin.csv_table.topics._rejects]\nsink = "sqlite://./bad.db/any"\n',
    )
    project.drop("a.csv", content())
    assert project.drain() == 0
    file = project.directory / "bad.db"
    assert table(file, "select count(*) from csv_table_rejects") == [(3,)]
