"""What CI asks of other tools fails when they find something, or have not looked."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SKIPPED = {"name": "zmq", "skip_reason": "Dependency not found on PyPI and could not be audited"}
GOOD = {"name": "zmq", "version": "1", "vulns": []}
BAD = {
    "name": "zmq",
    "version": "1",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"], "aliases": [], "description": ""}],
}

# In the place of pip-audit: answers as it does, the second time about what is installed.
STAND_IN = """
import json, sys
asked = "known" if "--requirement" in sys.argv else "installed"
answer = json.loads({answers!r})[asked]
if answer is None:
    sys.exit("ERROR: could not reach https://example.org")
print(json.dumps({{"dependencies": answer, "fixes": []}}))
"""


@pytest.mark.parametrize(
    ("known", "installed", "code", "said"),
    [
        ([BAD], [GOOD], 0, "1 packages, no known vulnerability"),
        ([BAD], [GOOD, BAD], 1, "zmq 1: PYSEC-1, fixed in 2"),
        ([BAD], [GOOD, SKIPPED], 1, "zmq: not audited: Dependency not found"),
        ([BAD], [], 1, ""),
        ([BAD], None, 1, "could not reach"),
        # Where pip-audit itself would end with 0.
        ([SKIPPED], [SKIPPED], 3, "nothing was audited: Dependency not found"),
        ([GOOD], [GOOD], 3, "nothing is known of"),
        (None, [GOOD], 3, "could not reach"),
    ],
)
def test_an_audit_that_did_not_look_is_no_success(
    tmp_path: Path, known: Any, installed: Any, code: int, said: str
) -> None:
    answers = json.dumps({"known": known, "installed": installed})
    (tmp_path / "pip_audit.py").write_text(STAND_IN.format(answers=answers))
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        text=True,
    )
    assert (done.returncode, done.stderr) == (code, "")
    assert said in done.stdout


def test_bandit_finds_what_has_no_exception(tmp_path: Path) -> None:
    """And tells of an exception that nothing needs."""
    if importlib.util.find_spec("bandit") is None:
        pytest.skip("bandit belongs to the extra dev")
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "bandit").write_text((ROOT / ".ci" / "bandit").read_text())
    for shipped in ("casparian", "plugins", "examples", "deploy"):
        (tmp_path / shipped).mkdir()
    (tmp_path / "casparian" / "new.py").write_text("import subprocess\nprint(eval(input()))\n")
    (tmp_path / "pyproject.toml").write_text(
        '[[tool.casparian.bandit]]\ntest = "B404"\nfiles = ["*"]\nwhy = "so"\n'
        '[[tool.casparian.bandit]]\ntest = "B999"\nfiles = ["*"]\nwhy = "so"\n'
    )
    done = subprocess.run(
        [sys.executable, tmp_path / ".ci" / "bandit"], capture_output=True, text=True
    )
    assert done.returncode == 1
    told = done.stdout.splitlines()
    assert len(told) == 2
    assert told[0].startswith("casparian/new.py:2: B307")
    assert "B999" in told[1]
