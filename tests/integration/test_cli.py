"""The operator's tool over a real history: made by the real programs, read by them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import structlog

from casparian.app.cli import main
from tests.support import forked

BIN = Path(sys.executable).parent
ENGINE = "casparian-engine"
ODD = b"odd \xff\n.csv"


def run(
    program: str, *arguments: str | os.PathLike[str], cwd: Path, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a console script as a user does, in a pipe."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CASPARIAN_")}
    environment |= {"CASPARIAN_SCOUT__SETTLE_S": "0", "CASPARIAN_WORKER__BACKOFF_S": "0.1"}
    done = forked.run(program, *map(str, arguments), cwd=cwd, env=environment)
    assert done.returncode == code, done.stderr
    # The engine's log may hold what a plugin wrote; the operator's tool shows none of its own.
    assert program == ENGINE or "Traceback" not in done.stderr
    return done


@pytest.fixture
def told(
    history: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Runs `casparian` in this process, below the project; what it wrote to standard output."""

    def call(*arguments: str, cwd: str = ".") -> str:
        monkeypatch.chdir(history / cwd)
        monkeypatch.setenv("CASPARIAN_CONFIG", str(history / "casparian.toml"))
        with pytest.raises(SystemExit) as end:
            main(arguments)
        output = capsys.readouterr()
        assert (end.value.code, output.err) == (0, "")
        return output.out

    yield call
    structlog.reset_defaults()


@pytest.fixture
def listing(told: Callable[..., str]) -> Callable[..., Any]:
    """The document of a command with --json: standard output holds it and nothing else."""
    return lambda *arguments, cwd=".": json.loads(told(*arguments, "--json", cwd=cwd))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project from `init` whose inbox saw a corrected file, a broken one, one without rule
    and one with an odd name."""
    top = tmp_path_factory.mktemp("cli")
    run("casparian", "init", "flights", cwd=top)
    project = top / "flights"
    inbox = project / "inbox"
    (inbox / "good.csv").write_text("a,b\n1,x\n2,y\n")
    (inbox / "bad.csv").write_text("a,b\n1,x,3\n")
    (inbox / "notes.txt").write_text("hello\n")
    Path(os.fsdecode(os.fsencode(inbox) + b"/" + ODD)).write_text("a,b\n7,z\n")
    run(ENGINE, "run", "--drain", "--config", "flights/casparian.toml", cwd=top, code=1)
    (inbox / "good.csv").write_text("a,b\n1,x\n2,y\n3,z\n")
    run(ENGINE, "--config", "flights/casparian.toml", "run", "--drain", cwd=top, code=1)
    return project


def test_after_init_and_a_drain_rows_are_in_the_output(history: Path) -> None:
    tables = [pq.read_table(f) for f in (history / "output" / "output").rglob("*.parquet")]
    assert sorted(value for t in tables for value in t["a"].to_pylist()) == [1, 2, 3, 7]


def test_status(told: Callable[..., str], listing: Callable[..., Any]) -> None:
    document = listing("status")
    assert document["jobs"] == {"COMPLETED": 3, "FAILED": 1}
    assert document["files"] == 4
    assert document["versions"] == 5
    assert [plugin["name"] for plugin in document["plugins"]] == ["csv_table"]
    assert all(worker["stopped"] for worker in document["workers"])
    lines = told("status").splitlines()
    assert "COMPLETED\t3" in lines
    assert any(line.startswith("csv_table\t1\tcsv\tactive\t3 COMPLETED") for line in lines)


def test_files(listing: Callable[..., Any]) -> None:
    by_path = {file["path"]: file for file in listing("files")}
    odd = ODD.decode("utf-8", "surrogateescape")
    assert sorted(by_path) == sorted(["good.csv", "bad.csv", "notes.txt", odd])
    good = by_path["good.csv"]
    keys = {"path", "source_root", "content_hash", "size", "version", "versions", "tags", "deleted"}
    assert keys <= good.keys()
    assert (good["version"], good["versions"], good["tags"]) == (2, 2, ["csv"])
    assert by_path["notes.txt"]["tags"] == []


def test_an_odd_name_cannot_break_a_line(told: Callable[..., str]) -> None:
    lines = told("files").splitlines()
    assert len(lines) == 5
    assert any(line.startswith("odd \\xff\\n.csv\t") for line in lines)
    assert len({line.count("\t") for line in lines}) == 1


def test_jobs(listing: Callable[..., Any]) -> None:
    documents = listing("jobs")
    keys = {"id", "status", "plugin", "plugin_hash", "path", "file_version_id", "attempt"}
    keys |= {"priority", "rows", "rejects", "error"}
    assert all(keys <= job.keys() for job in documents)
    assert sorted(job["status"] for job in documents) == ["COMPLETED"] * 3 + ["FAILED"]


def test_jobs_by_status_and_plugin(listing: Callable[..., Any]) -> None:
    (job,) = listing("jobs", "--status", "failed", "--plugin", "csv_table")
    assert job["path"] == "bad.csv"
    assert job["error"]["class"] == "DATA"
    assert "Expected 2 columns, got 3" in job["error"]["message"]
    assert listing("jobs", "--status", "BLOCKED") == []


# --- why --------------------------------------------------------------------------------


def test_why_tells_versions_rules_jobs_and_where_the_rows_are(
    history: Path, listing: Callable[..., Any]
) -> None:
    document = listing("why", "good.csv")
    assert document["path"] == "good.csv"
    assert document["advice"] == []
    assert document["others"] == []
    first, second = document["versions"]
    assert (first["current"], second["current"]) == (False, True)
    assert second["rules"] == [{"tag": "csv", "pattern": "**/*.csv", "priority": 0}]
    (job,) = second["jobs"]
    assert job["subscription"] == ["csv"]
    (output,) = job["outputs"]
    assert output["target"] == f"parquet://{history}/output/output"
    assert output["rows"] == 3


def test_why_reads_as_a_story(history: Path, told: Callable[..., str]) -> None:
    story = told("why", "good.csv")
    assert f"good.csv, in {history}/inbox" in story
    assert "since the rule **/*.csv matches (priority 0)" in story
    assert "plugin csv_table subscribes to csv" in story
    assert f"2 rows in parquet://{history}/output/output" in story
    assert "until version 2 replaced them" in story
    assert story.endswith("What to do\n  Nothing: all is done.\n")


def test_why_tells_an_error_in_full_and_what_to_do(
    told: Callable[..., str], listing: Callable[..., Any]
) -> None:
    story = told("why", "bad.csv")
    (job,) = listing("jobs", "--status", "FAILED")
    for line in job["error"]["attempts"][0]["detail"].splitlines():
        assert line in story
    assert f"on worker {job['worker']}: FAILED (DATA)" in story
    assert f"casparian retry {job['id']}" in story.partition("What to do")[2]


def test_why_of_a_file_that_no_rule_matches(told: Callable[..., str]) -> None:
    story = told("why", "notes.txt")
    assert "none: no rule matched it" in story
    assert "[[rule]]" in story


@pytest.mark.parametrize(
    ("directory", "path"),
    [
        (".", "inbox/good.csv"),
        ("inbox", "good.csv"),
        ("plugins", "../inbox/./good.csv"),
        (".", "{project}/inbox/good.csv"),
        (".", "link/good.csv"),
        (".", "{project}/link/good.csv"),
        ("link", "{project}/plugins/../inbox/good.csv"),
    ],
)
def test_why_takes_paths_of_the_file_system(
    history: Path, directory: str, path: str, listing: Callable[..., Any]
) -> None:
    link = history / "link"
    if not link.is_symlink():
        link.symlink_to("inbox")
    document = listing("why", path.format(project=history), cwd=directory)
    assert document["path"] == "good.csv"
    assert len(document["versions"]) == 2


def test_why_takes_bytes_that_are_no_utf8(
    told: Callable[..., str], listing: Callable[..., Any]
) -> None:
    document = listing("why", os.fsdecode(ODD))
    assert document["path"].encode("utf-8", "surrogateescape") == ODD
    assert "odd \\xff\\n.csv, in " in told("why", os.fsdecode(ODD))


def test_the_console_script_lists_as_one_document(history: Path) -> None:
    done = run("casparian", "--config", "inbox/../casparian.toml", "files", "--json", cwd=history)
    assert len(json.loads(done.stdout)) == 4
    assert done.stderr == ""


def test_check_finds_no_problem(listing: Callable[..., Any]) -> None:
    document = listing("check")
    assert document["problems"] == 0
    assert {f["level"] for f in document["findings"]} <= {"ok", "warning"}
    assert any("fingerprint" in finding["what"] for finding in document["findings"])


# --- the program itself -----------------------------------------------------------------


def test_help_does_not_import_what_commands_need(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from casparian.app.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0, end.code\n"
        "heavy = {'pyarrow', 'sqlalchemy', 'pydantic', 'zmq', 'rich', 'structlog'}\n"
        "sys.exit(f'{heavy & sys.modules.keys()} imported' if heavy & sys.modules.keys() else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Commands:" in done.stdout


def test_a_reader_that_goes_away_is_no_error(history: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as broken:
        done = subprocess.run(
            [BIN / "casparian", "files"],
            cwd=history,
            stdout=broken,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == ""


def test_upgrade_names_both_revisions_and_leaves_a_current_database_alone(history: Path) -> None:
    said = run("casparian", "upgrade", cwd=history).stdout
    with sqlite3.connect(history / "casparian_flow.sqlite3") as database:
        (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    database.close()
    assert f"has schema {revision} already" in said


def test_a_terminal_gets_tables(history: Path) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen(
            [BIN / "casparian", "jobs"],
            cwd=history,
            stdout=theirs,
            env=os.environ | {"TERM": "xterm"},
        )
        os.close(theirs)
        drawn = b""
        with contextlib.suppress(OSError):  # Linux ends a closed terminal with EIO.
            while part := terminal.read(65536):
                drawn += part
        assert process.wait(timeout=60) == 0
    assert "─────" in drawn.decode()
    assert b"good.csv" in drawn
    assert b"\t" not in drawn
