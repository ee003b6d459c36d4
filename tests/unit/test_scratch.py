"""Scratch directories: what a killed process leaves behind is removed, nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from casparian.adapters.host.scratch import PREFIXES, YOUNG_S, Scratch, sweep

HOLDER = """
import sys, time
from casparian.adapters.host.scratch import Scratch
print(Scratch(sys.argv[1]).path, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def later() -> float:
    return time.time() + YOUNG_S + 1


def test_what_is_held_stays() -> None:
    scratch = Scratch()
    assert sweep(later()) == 0
    assert os.path.isdir(scratch.path)
    scratch.remove()
    assert not os.path.exists(scratch.path)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_a_killed_process_held_goes(tmp_path: Path, prefix: str) -> None:
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, prefix], stdout=subprocess.PIPE, text=True, env=variables
    )
    assert holder.stdout is not None
    path = Path(holder.stdout.readline().strip())
    (path / "left").mkdir()
    (path / "left" / "rows").write_text("1")
    assert sweep(later()) == 0
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert sweep(later()) == 1
    assert not path.exists()


def test_what_was_just_made_and_what_others_made_stays(tmp_path: Path) -> None:
    young = Path(tempfile.mkdtemp(prefix="casparian-sidecar-"))
    (tmp_path / "casparian-sidecar-link").symlink_to(young)
    (tmp_path / "another").mkdir()
    assert sweep() == 0
    assert young.is_dir()
    assert sweep(later()) == 1
    assert {p.name for p in tmp_path.iterdir()} == {"casparian-sidecar-link", "another"}
