"""The examples: each is run as its reader would run it, and its adapters keep their contracts."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from casparian.adapters.host.subprocess import SubprocessHost
from casparian.adapters.queue import QueueStores, open_memory
from casparian.domain.ports import JobQueue, SinkFactory
from casparian.domain.publish import Target
from casparian.testing.queue import JobQueueContract
from casparian.testing.sink import SinkContract
from casparian.testing.world import Stores, VirtualClock
from tests.support.project import Project, wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("own_sink", "{'COMPLETED': 2}: 3 rows, cities"),
        ("own_queue", "in the order of their claims: [5, 15, 100, 200, 2500]"),
        ("own_plugin_host", "{'COMPLETED': 1}: the plugin ran with niceness"),
    ],
)
def test_an_example_runs_and_says_what_it_did(name: str, says: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_example_is_in_the_list_and_run_here() -> None:
    told = (EXAMPLES / "README.md").read_text()
    files = sorted(p.name for p in EXAMPLES.iterdir() if p.suffix in (".py", ".ipynb"))
    assert all(f"`{name}`" in told for name in files)
    assert files == [
        "notebook.ipynb",
        "own_plugin_host.py",
        "own_queue.py",
        "own_sink.py",
        "service.py",
    ]


def test_the_host_of_the_example_lowers_the_priority() -> None:
    module = load("own_plugin_host")
    assert issubclass(module.NiceHost, SubprocessHost)
    niceness = min(19, os.nice(0) + module.NICENESS)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "own_plugin_host.py")],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert f"niceness {niceness}" in done.stdout


# --- the adapters keep their contracts --------------------------------------------------------


@dataclass
class ArrowPlace:
    factory: SinkFactory
    uri: str
    base: str

    def read(self, target: Target) -> pa.Table | None:
        table: pa.Table | None = load("own_sink").read(Path(target.location) / target.name)
        return table


class TestArrowSink(SinkContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Any:
        return ArrowPlace(load("own_sink").ArrowSinkFactory(), "arrow://./out", str(tmp_path))


class TestSmallFirst(JobQueueContract):
    @pytest.fixture
    def stores(self, clock: VirtualClock) -> Stores:
        opened: QueueStores = open_memory(clock)
        queue: JobQueue = load("own_queue").SmallFirst(opened.queue, delay_us=0)
        return opened._replace(queue=queue)


# --- embeddings -------------------------------------------------------------------------------


@pytest.fixture
def service(project: Project) -> Iterator[Any]:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    project.csv_to("parquet://./output")
    app = load("service").make_app(str(project.directory / "casparian.toml"))
    with TestClient(app) as client:
        yield client


def test_a_service_takes_files_in_and_tells_what_became_of_them(
    service: Any, project: Project
) -> None:
    assert service.get("/files/a.csv").status_code == 404
    assert service.put("/files/a.csv", content=b"n\n1\n2\n").status_code == 202
    assert service.put("/files/bad.csv", content=b"a,b\n1\n").status_code == 202
    assert service.put("/files/.hidden", content=b"x").status_code == 400

    def ended(name: str) -> list[str]:
        answer = service.get(f"/files/{name}")
        if answer.status_code == 404:
            return []
        jobs = [job for v in answer.json()[0]["versions"] for job in v["jobs"]]
        return [j["status"] for j in jobs if j["status"] in ("COMPLETED", "FAILED")]

    assert wait_for(lambda: ended("a.csv")) == ["COMPLETED"]
    assert wait_for(lambda: ended("bad.csv")) == ["FAILED"]
    assert project.parquet()["n"].to_pylist() == [1, 2]
    assert service.get("/status").json()["jobs"]["COMPLETED"] == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_notebook_runs_from_its_first_cell_to_its_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    # The kernel is this interpreter, whatever kernels are installed for this user.
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    nbclient.NotebookClient(notebook, timeout=100, kernel_name="python3").execute(cwd=tmp_path)
    shown = str(notebook.cells[-1]["outputs"])
    assert "oslo.csv" in shown
    assert "DATA" in shown
