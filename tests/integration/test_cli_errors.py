"""Commands in this process: what is refused, with which exit code and in which words."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from casparian.app.cli import main

LISTINGS = ["status", "files", "jobs"]


@dataclass
class Ended:
    code: object
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


class Project:
    """A directory made by `casparian init`, with the tool run in it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self._capsys = directory, capsys
        self.inbox = directory / "inbox"
        self.config = directory / "casparian.toml"
        self.database = directory / "casparian_flow.sqlite3"
        assert self("init", str(directory)).code == 0

    def __call__(self, *arguments: str) -> Ended:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        captured = self._capsys.readouterr()
        ended = Ended(end.value.code, captured.out, captured.err)
        assert "Traceback" not in ended.err
        return ended

    def refused(self, *arguments: str, code: int = 2) -> str:
        """The one line that a refused command writes."""
        ended = self(*arguments)
        assert (ended.code, ended.out) == (code, ""), ended
        assert ended.err.startswith("error: ")
        assert ended.err.count("\n") == 1
        return ended.err

    def put(self, name: str, text: str = "a,b\n1,2\n") -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def configure(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))


@pytest.fixture
def project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    monkeypatch.setenv("CASPARIAN_SCOUT__SETTLE_S", "0")
    monkeypatch.delenv("CASPARIAN_CONFIG", raising=False)
    directory = tmp_path / "project"
    project = Project(directory, capsys)
    monkeypatch.chdir(directory)
    yield project
    structlog.reset_defaults()


# --- configuration ----------------------------------------------------------------------


@pytest.mark.parametrize("command", [*LISTINGS, "scan", "check", "upgrade"])
def test_without_a_configuration(project: Project, command: str) -> None:
    assert "'nowhere.toml'" in project.refused(command, "--config", "nowhere.toml")


def test_the_option_beats_the_environment_on_either_side(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASPARIAN_CONFIG", "environment.toml")
    assert "environment.toml" in project.refused("files")
    assert "before.toml" in project.refused("--config", "before.toml", "files")
    assert "after.toml" in project.refused("files", "--config", "after.toml")


def test_an_unknown_key_is_told_by_every_command(project: Project) -> None:
    project.configure("settle_s", "setle_s")
    assert "Did you mean 'settle_s'?" in project.refused("scan")


# --- init -------------------------------------------------------------------------------


def test_init_overwrites_nothing(project: Project) -> None:
    before = project.config.read_bytes()
    said = project.refused("init", ".")
    assert "casparian.toml, plugins, inbox" in said
    assert project.config.read_bytes() == before


def test_init_leaves_a_directory_alone_that_holds_one_of_its_names(project: Project) -> None:
    other = project.directory / "other"
    (other / "inbox").mkdir(parents=True)
    assert "already holds inbox" in project.refused("init", "other")
    assert [p.name for p in other.iterdir()] == ["inbox"]


def test_init_takes_a_directory_that_holds_other_things(project: Project) -> None:
    (project.directory / "repository").mkdir()
    (project.directory / "repository" / "README").touch()
    assert project("init", "repository").code == 0
    assert (project.directory / "repository" / "casparian.toml").is_file()


def test_init_below_a_file(project: Project) -> None:
    assert "cannot be made" in project.refused("init", "casparian.toml/below")


# --- databases --------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*LISTINGS, "upgrade", "why x.csv"])
def test_without_a_database_nothing_is_made(project: Project, command: str) -> None:
    said = project.refused(*command.split(), code=3)
    assert "`casparian-engine run` or `casparian scan`" in said
    assert not project.database.exists()


def test_a_database_that_cannot_be_opened(project: Project) -> None:
    project.database.mkdir()
    project.refused("status", code=3)


def test_a_file_that_is_no_database(project: Project) -> None:
    project.database.write_bytes(b"no database" * 100)
    assert "no SQLite database" in project.refused("status")


def test_a_database_without_a_queue_is_left_alone(project: Project) -> None:
    with closing(sqlite3.connect(project.database)) as database:
        database.execute("CREATE TABLE mine (x)")
    project.refused("status")
    project.refused("upgrade")
    with closing(sqlite3.connect(project.database)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


@pytest.mark.parametrize("command", [*LISTINGS, "scan", "upgrade"])
def test_a_newer_schema_is_refused_by_every_command(project: Project, command: str) -> None:
    project("scan")
    with closing(sqlite3.connect(project.database)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    said = project.refused(command)
    assert "schema 9999" in said
    assert "casparian upgrade" in said


def test_an_unknown_kind_of_database(project: Project) -> None:
    project.configure("sqlite:///casparian_flow.sqlite3", "oracle://host/db")
    refused = project.refused("status")
    assert "begins with 'oracle'; known: mssql, postgresql, sqlite." in refused


# --- scan -------------------------------------------------------------------------------


def test_scan_counts(project: Project) -> None:
    project.put("a.csv")
    project.put("sub/b.csv")
    first = project("scan", "--json").document
    assert first == {
        "new": 2,
        "changed": 0,
        "unchanged": 0,
        "deferred": 0,
        "deleted": 0,
        "unreadable": 0,
        "waiting": 0,
        "complete": True,
        "left": [],
        "jobs": 2,
    }
    project.put("a.csv", "a,b\n1,2\n3,4\n")
    (project.inbox / "sub" / "b.csv").unlink()
    assert project("scan", "--json").document["changed"] == 1
    assert project("scan", "--json").document["deleted"] == 1
    lines = project("scan").out.splitlines()
    assert lines[0] == "found\tfiles"
    assert lines[-1] == "0 jobs enqueued."


def test_scan_names_what_is_deferred(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASPARIAN_SCOUT__SETTLE_S", "3600")
    path = project.put("new\n.csv")
    ended = project("scan", "--json")
    assert ended.code == 0
    assert ended.document["deferred"] == 1
    assert ended.err.startswith(f"deferred: {project.inbox}/new\\n.csv: ")
    path.unlink()


def test_scan_without_its_source_root_ends_with_1(project: Project) -> None:
    project.inbox.rmdir()
    ended = project("scan", "--json")
    assert ended.code == 1
    assert ended.document["unreadable"] == 1
    assert ended.document["complete"] is False
    assert f"unreadable: {project.inbox}: " in ended.err


def test_scan_needs_the_plugins_files(project: Project) -> None:
    (project.directory / "plugins" / "csv_table.py").unlink()
    assert "csv_table.py" in project.refused("scan")


# --- jobs and why -----------------------------------------------------------------------


def test_an_unknown_status_names_the_known_ones(project: Project) -> None:
    said = project.refused("jobs", "--status", "DONE")
    assert "'DONE'" in said
    assert "COMPLETED, FAILED, BLOCKED" in said


def test_an_unknown_plugin_names_the_known_ones(project: Project) -> None:
    project("scan")
    assert "known: csv_table" in project.refused("jobs", "--plugin", "csv")
    assert project("jobs", "--plugin", "csv_table", "--json").document == []


def test_why_of_an_unknown_path_names_the_nearest(project: Project) -> None:
    project.put("2013/flights.csv")
    project.put("2014/weather.csv")
    project("scan")
    said = project.refused("why", "2013/flihgts.csv")
    assert "'2013/flihgts.csv'" in said
    assert "'2013/flights.csv'" in said
    assert "'2014/weather.csv'" in project.refused("why", "weather.csv")
    assert "'2013/flights.csv'" in project.refused("why", "2013")


def test_why_of_a_file_that_no_scan_has_seen(project: Project) -> None:
    project("scan")
    assert "No file is known yet" in project.refused("why", "x.csv")
    project.put("x.csv")
    assert "run `casparian scan`" in project.refused("why", "inbox/x.csv")


def test_why_of_a_file_outside_of_every_root(project: Project) -> None:
    project("scan")
    assert f"these are: {project.inbox}" in project.refused("why", "casparian.toml")


def test_why_of_a_queued_job(project: Project) -> None:
    project.put("x.csv")
    project("scan")
    story = project("why", "x.csv").out
    assert "QUEUED: plugin csv_table subscribes to csv" in story
    assert "casparian-engine run" in story.partition("What to do")[2]


def test_why_of_a_path_that_two_roots_know(project: Project) -> None:
    project.configure('path = "inbox"', 'path = "inbox"\n[[source_root]]\npath = "more"')
    (project.directory / "more").mkdir()
    (project.directory / "more" / "x.csv").write_text("a\n1\n")
    project.put("x.csv")
    project("scan")
    document = project("why", "x.csv", "--json").document
    assert document["source_root"] == str(project.inbox)
    assert [other["source_root"] for other in document["others"]] == [
        str(project.directory / "more")
    ]
    assert f"casparian why {project.directory}/more/x.csv" in project("why", "x.csv").out
    named = project("why", "more/x.csv", "--json").document
    assert named["source_root"] == str(project.directory / "more")
    assert named["others"] == []


def test_why_of_a_subscription_that_is_gone(project: Project) -> None:
    project.put("x.csv")
    project("scan")
    project.configure('tags = ["csv"]', 'tags = ["other"]')
    project("scan")
    assert "subscribed to it then, and no longer does" in project("why", "x.csv").out


def test_files_of_a_directory_that_may_not_be_read_are_named(project: Project) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every directory")
    closed = project.inbox / "closed"
    closed.mkdir(mode=0o000)
    ended = project("scan")
    closed.chmod(0o755)
    assert ended.code == 1
    assert f"unreadable: {closed}: " in ended.err
