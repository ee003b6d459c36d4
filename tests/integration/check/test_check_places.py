"""`casparian check` on directories: source roots, sinks, what a plugin may read."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from casparian.adapters.queue import open_sqlite, wall_clock_us
from tests.integration.check.spoilt import Project, only, project_database


def test_a_source_root_that_is_missing(project: Project) -> None:
    (project.directory / "inbox").rmdir()
    finding = only(project.check())
    assert "does not exist" in finding["what"]
    assert str(project.directory / "inbox") in finding["where"]


def test_a_source_root_that_is_a_file(project: Project) -> None:
    (project.directory / "inbox").rmdir()
    (project.directory / "inbox").touch()
    assert "no directory" in only(project.check())["what"]


@pytest.mark.parametrize("inner", ["inbox/sub", "link"])
def test_source_roots_in_each_other(project: Project, inner: str) -> None:
    (project.directory / "inbox" / "sub").mkdir()
    (project.directory / "link").symlink_to("inbox/sub")
    project.add(f'[[source_root]]\npath = "{inner}"')
    assert "each file in it is met twice" in only(project.check())["what"]


@pytest.mark.parametrize("sink", ["parquet://./inbox/out", "sqlite://inbox/out.sqlite3/rows"])
def test_output_in_a_source_root(project: Project, sink: str) -> None:
    project.configure('\nsink = "parquet://./output"', f'\nsink = "{sink}"')
    finding = only(project.check())
    assert finding["level"] == "problem"
    assert "would be taken for input" in finding["what"]


@pytest.mark.parametrize("granted", [False, True], ids=["source root", "grant"])
def test_the_engines_own_where_plugins_may_read(project: Project, granted: bool) -> None:
    """Each is named, with the place that holds it and what to do."""
    here = project.directory
    place = here / ("lookups" if granted else "inbox")
    (place / "keys").mkdir(parents=True, mode=0o700)
    project.config = place / "casparian.toml"
    project.config.write_text(f'''
[[source_root]]
path = "{here}/inbox"
[[rule]]
pattern = "*.csv"
tag = "csv"
[plugin.csv_table]
tags = ["csv"]
{f'allow_read = ["{place}"]' if granted else ""}
[plugin.csv_table.topics.output]
sink = "parquet://{here}/output"
[plugins]
directory = "{here}/plugins"
keys = "keys"
[database]
url = "sqlite:///queue.sqlite3"
[transport]
endpoint = "{here}/router.ipc"
[worker]
''')
    open_sqlite(str(place / "queue.sqlite3"), wall_clock_us).close()
    found = {finding["where"]: finding for finding in project.check()}
    holder = "[plugin.csv_table] allow_read" if granted else "and every plugin may read it"
    if not granted:
        # What is written there would be input besides.
        assert "every plugin may read it" in found.pop("[database]")["what"]
    for own in ("queue.sqlite3", "keys", "casparian.toml")[not granted :]:
        finding = found.pop(str(place / own))
        assert finding["level"] == "warning"
        assert str(place) in finding["what"]
        assert holder in finding["what"]
        assert "move" in finding["remedy"].lower()
    assert not found
    project.config.write_text(project.config.read_text() + 'verify = "snapshot"\n')
    assert len(project.check()) == (3 if granted else 1)


def test_a_sink_that_cannot_be_written(project: Project) -> None:
    (project.directory / "output").rmdir() if (project.directory / "output").exists() else None
    (project.directory / "output").touch()
    assert str(project.directory / "output") in only(project.check())["what"]


def test_rows_of_another_installation(project: Project) -> None:
    marker = {
        "installation": "f" * 32,
        "job_id": 1,
        "attempt": 1,
        "plugin": "csv_table",
        "topic": "output",
        "location_id": 1,
        "version_id": 0,
        "root_path": "/elsewhere",
        "path": "x.csv",
        "ordinal": 1,
        "rows": 1,
        "digest": "0" * 64,
    }
    slot = project.directory / "output" / "output" / "f1-csv_table"
    slot.mkdir(parents=True)
    (slot / "_casparian.json").write_text(json.dumps(marker))
    finding = only(project.check())
    assert "another installation (ffffffffffff, job 1)" in finding["what"]
    assert "`casparian adopt output`" in finding["remedy"]
    project_database(project).unlink()
    problems = [f for f in project.check() if f["level"] == "problem"]
    assert "no database that published them" in only(problems)["what"]
    assert "`casparian adopt output`" in only(problems)["remedy"]


@contextmanager
def mounted(kind: str, place: Path, *options: str) -> Iterator[None]:
    """A file system mounted at a place; skips where this user or this machine cannot."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", kind, *options, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no {kind} can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_staging_place_on_another_file_system(project: Project) -> None:
    with mounted("tmpfs", project.directory / ".output.casparian", "none"):
        finding = only(project.check())
    assert (finding["level"], finding["where"]) == (
        "problem",
        f"parquet://{project.directory}/output",
    )
    assert "are on different file systems" in finding["what"]
    assert finding["remedy"]


def test_an_output_that_is_a_mount_point_itself_is_in_order(project: Project) -> None:
    """Its staging place is inside of it then."""
    with mounted("tmpfs", project.directory / "output", "none"):
        assert project.check() == []


def test_an_output_below_a_mount_point_is_in_order(project: Project) -> None:
    with mounted("tmpfs", project.directory / "mnt", "none"):
        project.configure('\nsink = "parquet://./output"', '\nsink = "parquet://./mnt/output"')
        assert project.check() == []


def test_a_file_system_that_does_not_exchange_directories(project: Project) -> None:
    """Minix is one of the few that are left."""
    image = project.directory / "minix.img"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    try:
        subprocess.run(["mkfs.minix", str(image)], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("there is no mkfs.minix to make such a file system")
    with mounted("minix", project.directory / "mnt", "-o", "loop", str(image)):
        project.configure('\nsink = "parquet://./output"', '\nsink = "parquet://./mnt/output"')
        finding = only(project.check())
    assert "does not exchange directories" in finding["what"]


def test_a_kernel_that_does_not_exchange_directories(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(one: str, other: str) -> None:
        raise OSError(errno.EINVAL, "Invalid argument", one)

    monkeypatch.setattr("casparian.adapters.sink._probe.exchange", refuse)
    finding = only(project.check())
    assert "does not exchange directories" in finding["what"]
    assert "ext4" in finding["what"]


def test_a_source_root_that_may_not_be_read(project: Project) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (project.directory / "inbox").chmod(0)
    assert "may not be read" in only(project.check())["what"]
