"""The demo, once, as `make demo` runs it; and that it fails when a total is wrong."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

DEMO = Path(__file__).parents[2] / "demo"


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    """The demo's program as a module."""
    spec = importlib.util.spec_from_file_location("demo_run", DEMO / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(DEMO))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DEMO))
    return module


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_demo_publishes_what_the_source_says(tmp_path: Path, demo: ModuleType) -> None:
    directory = tmp_path / "out"
    result = subprocess.run(
        [sys.executable, str(DEMO / "run.py"), str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "336,776" in result.stdout
    assert "FAILED (DATA)" in result.stdout
    assert "expected 19 columns" in result.stdout

    query = result.stdout.partition('-c "')[2].partition('"\n')[0]
    shown = subprocess.run(
        [sys.executable, "-c", query], capture_output=True, text=True, check=True
    ).stdout
    assert "United Air Lines Inc." in shown

    # Every row of a file is traced to the file by the file's own metadata.
    [february] = [
        entry
        for file in (directory / "lake" / "flights").rglob("*.parquet")
        for entry in json.loads(pq.read_metadata(file).metadata[b"casparian.jobs"])
        if entry["source_path"] == "flights/2013-02.csv"
    ]
    assert february["rows"] == 24_086

    # A lost file is noticed: the demo's checks are no decoration.
    read = demo.Demo(directory)
    expected = read.read_flights()
    read.check("flights", read.read_flights(), expected)
    next((directory / "lake" / "flights").rglob("*.parquet")).unlink()
    with pytest.raises(demo.Wrong, match="flights are wrong"):
        read.check("flights", read.read_flights(), expected)


def test_demo_refuses_a_directory_that_is_not_its_own(tmp_path: Path, demo: ModuleType) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(SystemExit, match="not empty and not a demo's"):
        demo.Demo(tmp_path).set_up()
    assert (tmp_path / "precious").exists()
