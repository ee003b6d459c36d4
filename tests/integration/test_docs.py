"""The documents are followed literally: their shell blocks are run, their links are there."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shell(page: str, after: str = "") -> str:
    """The shell blocks of a page, below a heading, as one script."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(after)[2] if after else None
    blocks = BLOCK.findall(text or (ROOT / page).read_text(encoding="utf-8"))
    assert blocks
    return "\n".join(blocks)


def follow(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as a reader would who stands in `directory`, the programs on the PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_readmes_first_plugin(tmp_path: Path) -> None:
    done = follow(shell("README.md", "<!-- run by tests/integration/test_docs.py -->"), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "('203.0.113.7', '23/Nov/2026:10:01:02 +0000', 'GET', '/', 200, 5120, 1, 1, 0)" in (
        done.stdout
    )
    assert "COMPLETED" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_tutorial(tmp_path: Path) -> None:
    done = follow(shell("docs/tutorial.md"), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exit code 1" in done.stdout
    assert "line 2 has no semicolon" in done.stdout

    # The how-to reads what the tutorial has published.
    page = (ROOT / "docs/how-to/read-the-output.md").read_text(encoding="utf-8")
    readers = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    with contextlib.chdir(tmp_path / "station"):
        exec("\n".join(readers), names)
        [query] = re.findall(r"^select \* from read_parquet.*?;$", page, re.MULTILINE)
        assert len(duckdb.sql(query).fetchall()) == 7
    assert names["table"].num_rows == 7
    assert len(names["frame"]) == 7


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\[[^\]]+\]\(([^)\s]+)\)", text)
    local = [link.partition("#")[0] for link in links if "://" not in link]
    missing = [link for link in local if link and not (page.parent / link).exists()]
    assert not missing
