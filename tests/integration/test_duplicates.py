"""Files with the same content under real engines: each content is published once."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from casparian import Engine, Settings
from casparian.domain.errors import ConfigurationError
from tests.integration.test_embedding import inline, load
from tests.support.project import Project, wait_for

SKIP = 'duplicates = "skip"'


def skipping(project: Project) -> None:
    file = project.directory / "casparian.toml"
    text = file.read_text()
    file.write_text(text.replace('mode = "replace"', 'mode = "replace"\nduplicates = "skip"'))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "project")
    inline(project)
    skipping(project)
    return project


def rows(project: Project) -> list[int]:
    return sorted(project.parquet()["n"].to_pylist())


def drain(project: Project) -> bool:
    return Engine(load(project)).drain().ok


def test_each_content_stands_once_whatever_becomes_of_its_files(project: Project) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        project.drop(name, "n\n1\n")
    assert drain(project)
    assert rows(project) == [1]
    assert project.statuses() == {"COMPLETED": 1, "SKIPPED": 2}
    (found,) = project.query(
        "select l.path from processing_job j join file_location l on l.id = j.location_id "
        "where j.status = 'COMPLETED'"
    )
    done = found[0]
    others = sorted({b"a.csv", b"b.csv", b"c.csv"} - {done})
    project.drop(done.decode(), "n\n2\n")
    assert drain(project)
    assert rows(project) == [1, 2]
    # The third file has no rows of its own; the second one's are withdrawn.
    for other in others:
        project.drop(other.decode(), "n\n2\n")
    assert drain(project)
    assert rows(project) == [2]
    assert project.query("select status from processing_job where kind = 'WITHDRAW'") == [
        ("COMPLETED",)
    ]


def test_a_copy_of_a_file_that_fails_is_tried_and_a_repaired_one_published(
    project: Project,
) -> None:
    project.drop("a.csv", b"")
    project.drop("b.csv", b"")
    assert not drain(project)
    assert project.statuses() == {"FAILED": 2, "SUPERSEDED": 1}
    project.drop("a.csv", "n\n1\n")
    project.drop("b.csv", "n\n1\n")
    assert drain(project)
    assert rows(project) == [1]


def test_engines_that_are_killed_publish_each_content_once(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.csv_to("parquet://./output")
    skipping(project)
    chance = random.Random(4)
    held = {f"{number}.csv": number % 12 for number in range(24)}
    for name, number in held.items():
        project.drop(name, f"n\n{number}\n")
    for wanted in (4, 14):
        process = project.start()
        try:
            wait_for(lambda wanted=wanted: project.statuses().get("COMPLETED", 0) >= wanted)  # type: ignore[misc]
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for name in chance.sample(sorted(held), 10):
            held[name] = chance.randrange(16)
            project.drop(name, f"n\n{held[name]}\n")
    assert project.drain() == 0
    assert rows(project) == sorted(set(held.values()))


@pytest.mark.parametrize(
    ("topics", "words"),
    [
        ('[{0}.a]\nsink="parquet://o"\n' + SKIP + '\n[{0}.b]\nsink="parquet://o"', "'b'"),
        (
            f'[{{0}}.a]\nsink="parquet://o"\n{SKIP}\n'
            f'[{{0}}.b]\nsink="parquet://o"\nmode="append"\n{SKIP}',
            "one mode",
        ),
        (f'[{{0}}.a]\nsink="parquet://o"\n[{{0}}._rejects]\nsink="parquet://o"\n{SKIP}', "'a'"),
    ],
)
def test_topics_that_cannot_be_skipped_together_are_refused_at_start(
    tmp_path: Path, topics: str, words: str
) -> None:
    project = Project(tmp_path / "project")
    project.plugin("p", "class Handler:\n    def execute(self, file_path): pass\n")
    project.configure("[plugin.p]\n" + topics.format("plugin.p.topics"))
    with pytest.raises(ConfigurationError, match=words) as refused:
        Engine(Settings.load(project.directory / "casparian.toml")).drain()
    assert "duplicates" in str(refused.value)
