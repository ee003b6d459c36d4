"""Archives and compressed files through a real engine and its sidecars."""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from pathlib import Path

from tests.support.project import Project, wait_for

ROOT = '[[source_root]]\npath = "inbox"\n'
RULE = '[[rule]]\npattern = "**/*.csv.gz"\ntag = "csv"\n'


def configured(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    project.csv_to("parquet://./output")
    text = (project.directory / "casparian.toml").read_text()
    project.configure(text.replace(ROOT, f"{ROOT}unpack = true\n{RULE}"))
    return project


def zipped(members: dict[str, str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def why(project: Project, path: str, code: int = 0) -> str:
    done = project.casparian("why", path, code=code)
    return done.stdout + done.stderr


def numbers(project: Project) -> list[int]:
    return sorted(project.parquet()["n"].to_pylist())


def test_archives_and_compressed_files(tmp_path: Path) -> None:
    project = configured(tmp_path)
    project.drop("d/drop.zip", zipped({"a.csv": "n\n1\n", "x/b.csv": "n\n2\n", "note.txt": "x"}))
    project.drop("c.csv.gz", gzip.compress(b"n\n3\n"))
    project.drop("plain.csv", "n\n4\n")
    project.drop("evil.zip", zipped({"../../out.csv": "n\n5\n"}))
    assert project.drain() == 0
    assert numbers(project) == [1, 2, 3, 4]
    assert "refused: its member b'../../out.csv' leads out of it" in project.log()
    assert "is refused: its member b'../../out.csv' leads out" in why(project, "inbox/evil.zip", 2)
    assert "is refused: its member" in why(project, "inbox/evil.zip!/out.csv", 2)
    assert "published 1 row" in why(project, "d/drop.zip!/x/b.csv")
    assert "its members are files of their own" in why(project, "d/drop.zip")

    project.drop("d/drop.zip", zipped({"a.csv": "n\n1\n", "x/b.csv": "n\n20\n"}))
    assert project.drain() == 0
    assert numbers(project) == [1, 3, 4, 20]
    assert project.query("select count(*) from processing_job") == [(5,)]
    # Nothing private is left.
    assert [f for _, _, files in os.walk(project.directory / "run") for f in files] == []


def test_a_running_engine_takes_members_as_their_archive_changes(tmp_path: Path) -> None:
    project = configured(tmp_path)
    with project.running():
        for last in range(1, 4):
            path = project.directory / "next.zip"
            members = {f"{n}.csv": f"n\n{n}\n" for n in range(last)}
            path.write_bytes(zipped(members))
            path.rename(project.inbox / "drop.zip")
            wait_for(lambda last=last: project.statuses() == {"COMPLETED": last})  # type: ignore[misc]
    assert numbers(project) == [0, 1, 2]
