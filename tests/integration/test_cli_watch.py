"""`casparian status --watch` beside what it watches, and completion as a shell asks for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import Project

BIN = Path(sys.executable).parent


def test_a_pipe_gets_a_line_for_every_change(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.drop("a.csv", "a\n1\n")
    subprocess.run([BIN / "casparian", "scan"], cwd=project.directory, check=True)
    watching = subprocess.Popen(
        [BIN / "casparian", "status", "--watch"],
        cwd=project.directory,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    try:
        line = watching.stdout.readline()
        assert line.endswith("\t0 COMPLETED, 0 FAILED, 1 QUEUED; 1 file\n")
        assert project.drain() == 0
        while "1 COMPLETED, 0 FAILED; 1 file" not in line:
            line = watching.stdout.readline()
            assert line
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130
    finally:
        if watching.poll() is None:
            watching.kill()
        watching.wait()
        watching.stdout.close()


def test_watching_is_no_document(project: Project) -> None:
    project.csv_to("parquet://./output")
    done = subprocess.run(
        [BIN / "casparian", "status", "--watch", "--json"],
        cwd=project.directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: --watch has no end")


@pytest.mark.parametrize(
    ("words", "offered"),
    [("casparian st", ["status"]), ("casparian jobs --pl", ["--plugin"])],
)
def test_a_shell_is_told_how_words_end(words: str, offered: list[str]) -> None:
    asked = {"_CASPARIAN_COMPLETE": "complete_bash", "COMP_WORDS": words}
    asked["COMP_CWORD"] = str(len(words.split()) - 1)
    done = subprocess.run(
        [BIN / "casparian"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.split() == offered


@pytest.mark.parametrize("program", ["casparian", "casparian-engine"])
def test_what_a_shell_needs_for_it_can_be_shown(program: str) -> None:
    done = subprocess.run(
        [BIN / program, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "COMPREPLY" in done.stdout
