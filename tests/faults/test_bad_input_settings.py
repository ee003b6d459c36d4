"""Configurations that could not work: one line that says why, exit code 2, nothing begun."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from casparian import Engine, Settings
from casparian.domain.errors import ConfigurationError
from tests.support.project import Project, wait_for

SINK = "parquet://./output"


def refused(project: Project, *program: str, code: int = 2) -> str:
    """The one line of a program that does not begin."""
    ended = subprocess.run(
        project.command(*program),
        cwd=project.directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert (ended.returncode, ended.stdout) == (code, ""), ended
    assert len(lines) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return lines[0]


def drain(project: Project) -> str:
    return refused(project, "casparian-engine", "run", "--drain")


WRONG = [
    ("[scout]", "[scuot]\ninterval_s = 1\n[scout]", "Did you mean 'scout'"),
    ("[worker]", '[transport]\nadapter = "zmq-icp"\n[worker]', "zmq-ipc"),
    (SINK, "parket://./output", "known: mssql, parquet, postgresql, sqlite"),
    ('path = "inbox"', 'path = "inbox"\n[[source_root]]\npath = "inbox/deeper"', "met twice"),
    ('path = "inbox"', 'path = "inbox/deeper"\n[[source_root]]\npath = "link"', "met twice"),
    ('path = "inbox"', 'path = "inbox"\n[[source_root]]\npath = "link"', "met twice"),
    (SINK, "parquet://./inbox/out", "taken for input"),
    (SINK, "parquet://./link", "taken for input"),
    (SINK, "sqlite://inbox/out.db/rows", "taken for input"),
    ("topics.output]", 'topics."../../x"]', r"\.\./\.\./x"),
    ('tags = ["csv"]', 'tags = ["csv"]\n[plugin.absent]\ntags = ["csv"]', r"absent\.py"),
]


@pytest.mark.parametrize(("old", "new", "said"), WRONG)
def test_a_configuration_that_cannot_work(project: Project, old: str, new: str, said: str) -> None:
    project.csv_to(SINK)
    (project.inbox / "deeper").mkdir()
    (project.directory / "link").symlink_to(project.inbox)
    project.drop("a.csv", "a\n1\n")
    file = project.directory / "casparian.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=said):
        Engine(Settings.load(file)).drain()
    # Nothing was published, and nothing of the wrong configuration is left behind.
    assert project.statuses() == {}
    assert not list(project.directory.rglob("*.parquet"))


def test_a_wrong_configuration_ends_the_program_with_2_and_is_right_once_mended(
    project: Project,
) -> None:
    project.csv_to("parquet://./inbox/out")
    project.drop("a.csv", "a\n1\n")
    assert "taken for input" in drain(project)
    project.csv_to(SINK)
    assert project.drain() == 0, project.log()
    assert project.parquet()["a"].to_pylist() == [1]


def test_roots_side_by_side_are_no_overlap(project: Project) -> None:
    """Not even where one's name begins with the other's."""
    project.csv_to("parquet://./inbox-output", '[[source_root]]\npath = "inbox2"')
    (project.directory / "inbox2").mkdir()
    (project.directory / "inbox2" / "b.csv").write_text("a\n2\n")
    project.drop("a.csv", "a\n1\n")
    assert project.drain() == 0, project.log()
    assert sorted(project.parquet(root="inbox-output")["a"].to_pylist()) == [1, 2]


def test_a_directory_that_is_missing_is_waited_for(project: Project) -> None:
    """It may be a mount that comes later: the engine says so and lives."""
    project.csv_to(SINK)
    project.inbox.rmdir()
    with project.running():
        wait_for(lambda: str(project.inbox) in project.log())
        project.drop("a.csv", "a\n1\n")
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
    assert project.parquet().num_rows == 1


# --- endpoints --------------------------------------------------------------------------


def endpoint(path: object) -> str:
    return f'[transport]\nendpoint = "{path}"\n'


@pytest.fixture
def short_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sockets have short paths; pytest's own directories are named after tests."""
    return tmp_path_factory.mktemp("s")


def test_a_second_engine_on_the_same_endpoint(project: Project, short_dir: Path) -> None:
    socket = short_dir / "router.ipc"
    project.csv_to(SINK, endpoint(socket))
    with project.running() as first:
        wait_for(lambda: "worker started" in project.log())
        said = drain(project)
        assert f"another engine listens at {str(socket)!r}: pid {first.pid} on " in said
        assert "{pid}" in said
        # The first one has lost nothing by it.
        project.drop("a.csv", "a\n1\n")
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
    assert first.returncode == 0
    assert project.parquet()["a"].to_pylist() == [1]
    assert list(short_dir.iterdir()) == []


def test_an_engine_that_was_killed_leaves_its_endpoint_to_the_next(
    project: Project, short_dir: Path
) -> None:
    project.csv_to(SINK, endpoint(short_dir / "router.ipc"))
    with project.running() as killed:
        wait_for(lambda: "worker started" in project.log())
        killed.kill()
        killed.wait()
    assert (short_dir / "router.ipc").exists()
    project.drop("a.csv", "a\n1\n")
    assert project.drain() == 0, project.log()
    assert project.parquet()["a"].to_pylist() == [1]
    assert list(short_dir.iterdir()) == []


def test_an_endpoint_whose_path_is_too_long(project: Project, short_dir: Path) -> None:
    path = f"{short_dir}/{'x' * (108 - len(str(short_dir)) - 1)}"
    project.csv_to(SINK, endpoint(path))
    said = drain(project)
    assert f"108 bytes long, the system allows 107: {path!r}" in said
    assert "Choose a shorter one" in said
    assert project.statuses() == {}


def test_a_project_so_deep_that_the_default_endpoint_is_too_long(tmp_path: Path) -> None:
    project = Project(tmp_path / ("deep" * 30))
    project.csv_to(SINK)
    with pytest.raises(ConfigurationError, match=r"\[transport\] endpoint.*Choose a shorter one"):
        Engine(Settings.load(project.directory / "casparian.toml")).drain()
