"""Plugins with packages of their own, which are made once, and whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from casparian.adapters.host.environments import RESOLVED, Found, PluginEnvironments
from casparian.app import environments as environments_of_plugins
from casparian.app.environments import Environments
from casparian.domain.requirements import EnvironmentFailedError, Requirements
from tests.support.project import Project, wait_for
from tests.support.wheels import only_from, write_wheel

pytestmark = pytest.mark.slow

UNITS = "def kelvin(text):\n    return float(text) + 273.0\n"
PLUGIN = """
# /// script
# dependencies = ["units>=1"]
# ///
import pyarrow
import units
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        with open(file_path) as file:
            self.publish("output", [{"kelvin": units.kelvin(line)} for line in file])
"""


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


def configured(project: Project) -> Project:
    project.csv_to("parquet://./output")
    project.plugin("csv_table", PLUGIN)
    project.drop("a.csv", "17\n18\n")
    return project


def places(project: Project) -> list[Path]:
    return sorted((project.directory / "run" / "environments").iterdir())


def not_run(project: Project) -> str:
    plugin, _ = json.loads(project.casparian("plugins", "--json").stdout)
    return str(plugin["not_run"])


def test_a_plugin_has_the_packages_that_it_asks_for(project: Project, index: Path) -> None:
    configured(project)
    write_wheel(index, "units", "1.2", UNITS, "helper")
    write_wheel(index, "helper", "3.0", "")
    assert project.drain(**only_from(index)) == 0, project.log()
    assert project.parquet()["kelvin"].to_pylist() == [290.0, 291.0]
    (place,) = places(project)
    assert (place / "resolved.txt").read_text() == "helper==3.0\nunits==1.2\n"
    # It is made once: the index is gone, and is not missed. Nor has another plugin its packages.
    shutil.rmtree(index)
    project.drop("b.csv", "19\n")
    assert project.drain() == 0
    assert places(project) == [place]
    pruned = json.loads(project.casparian("prune", "--before", "2099-01-01", "--json").stdout)
    assert (pruned["environments"], places(project)) == (0, [place])
    project.plugin("csv_table", PLUGIN.replace('"units>=1"', ""))
    project.drop("c.csv", "20\n")
    assert project.drain() == 1
    assert "No module named 'units'" in str(project.errors()["c.csv"])
    assert "1 environment." in project.casparian("prune", "--before", "2099-01-01").stdout
    assert places(project) == []


def test_one_that_cannot_be_made_waits_for_it(project: Project, index: Path) -> None:
    configured(project)
    index.mkdir()
    assert project.drain(**only_from(index)) == 1
    assert "its environment could not be made" in project.log()
    assert "units" in project.log()
    # Nothing is lost: the job waits, without a try used up, as others of its engine do not.
    assert project.query("select status, attempt from processing_job") == [("QUEUED", 0)]
    assert places(project) == []
    toml = project.directory / "casparian.toml"
    toml.write_text(toml.read_text().replace("[worker]", "[worker]\nrenew_s = 0.3"))
    with project.running(**only_from(index)):
        wait_for(lambda: "could not be made" in not_run(project))
    write_wheel(index, "units", "1.2", UNITS)
    assert project.drain(**only_from(index)) == 0
    assert project.parquet()["kelvin"].to_pylist() == [290.0, 291.0]


def test_a_plugin_whose_metadata_is_wrong_is_named(project: Project) -> None:
    configured(project)
    project.plugin("csv_table", PLUGIN.replace("# ///\nimport", "import"))
    found = json.loads(project.casparian("check", "--json", code=1).stdout)
    assert any("has no end" in one["what"] for one in found["findings"])
    assert project.drain() == 1
    assert "has no end" in project.log()
    assert project.statuses() == {"QUEUED": 1}
    project.plugin("csv_table", PLUGIN.replace("units>=1", "pyarrow").replace("import units\n", ""))
    assert project.drain() == 1
    assert "name 'units' is not defined" in str(project.errors()["a.csv"])


def test_check_makes_what_is_missing(project: Project, index: Path) -> None:
    configured(project)
    index.mkdir()

    def check() -> list[str]:
        done = subprocess.run(
            [Path(sys.executable).parent / "casparian", "check", "--json"],
            cwd=project.directory,
            env={
                **os.environ,
                **only_from(index),
                "PIP_INDEX_URL": "https://me:secret@127.0.0.1:9/",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        findings = json.loads(done.stdout)["findings"]
        return [f["what"] for f in findings if "Its environment" in f["what"]]

    (problem,) = check()
    assert "units" in problem
    assert "secret" not in problem
    write_wheel(index, "units", "1.2", UNITS)
    (told,) = check()
    assert told.startswith("Its environment has casparian-flow==")
    assert told.endswith("units==1.2.")


def test_deployed_code_has_its_packages_before_it_is_live(
    project: Project, index: Path, tmp_path: Path
) -> None:
    project.csv_to("parquet://./output")
    project.casparian("keys", "new", "office")
    index.mkdir()
    (tmp_path / "new.py").write_text(PLUGIN)
    deploy = ["deploy", str(tmp_path / "new.py"), "--plugin", "csv_table", "--key-id", "office"]

    def listens() -> bool:
        # Until the tables are made there is nobody.
        with contextlib.suppress(sqlite3.Error):
            workers = "select 1 from worker_node where endpoint <> ''"
            return project.database.exists() and bool(project.query(workers))
        return False

    with project.running(**only_from(index)):
        wait_for(listens)
        refused = project.casparian(*deploy, code=1).stderr
        assert "is recorded, and not live" in refused
        assert "units" in refused
        write_wheel(index, "units", "1.2", UNITS)
        project.casparian(*deploy)
        project.drop("a.csv", "17\n")
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
    assert project.parquet()["kelvin"].to_pylist() == [290.0]


def test_a_row_tells_which_packages_made_it(project: Project, index: Path) -> None:
    """Also when others have been chosen since, for the same requirements."""
    configured(project)
    write_wheel(index, "units", "1.2", UNITS)
    assert project.drain(**only_from(index)) == 0, project.log()
    write_wheel(index, "units", "1.3", UNITS)
    (place,) = places(project)
    shutil.rmtree(place)
    project.drop("b.csv", "19\n")
    assert project.drain(**only_from(index)) == 0, project.log()
    assert len(project.query("select 1 from plugin_environment")) == 2
    digests = []
    for job, (name, version) in enumerate((("a.csv", "1.2"), ("b.csv", "1.3")), 1):
        (told,) = json.loads(project.casparian("why", name, "--json").stdout)["versions"]
        ran_in = told["jobs"][0]["environment"]
        assert f"units=={version}" in ran_in["packages"]
        assert any(p.startswith("pyarrow==") for p in ran_in["packages"])
        assert platform.python_version() in ran_in["python"]
        origin = json.loads(project.casparian("trace", str(job), "--json").stdout)
        assert origin["job"]["environment"] == ran_in
        assert f"units=={version}" in project.casparian("why", name).stdout
        assert f"units=={version}" in project.casparian("trace", str(job)).stdout
        digests.append(ran_in["digest"])
    jobs = json.loads(project.casparian("jobs", "--json").stdout)
    assert [job["environment_digest"] for job in jobs] == digests
    (plugin, _) = json.loads(project.casparian("plugins", "--json").stdout)
    assert plugin["environment"]["digest"] == digests[1]


def test_one_that_was_altered_is_not_used(project: Project, index: Path) -> None:
    """A row says what made it: packages that came or went by another hand are seen."""
    configured(project)
    write_wheel(index, "units", "1.2", UNITS)
    assert project.drain(**only_from(index)) == 0, project.log()
    (place,) = places(project)
    (info,) = place.glob("lib/*/site-packages/units-1.2.dist-info")
    info.rename(info.with_name("units-9.0.dist-info"))
    metadata = info.with_name("units-9.0.dist-info") / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2", "9.0"))
    project.drop("b.csv", "19\n")
    assert project.drain() == 1
    assert project.statuses() == {"COMPLETED": 1, "QUEUED": 1}
    assert "gone from it units==1.2, new in it units==9.0" in project.log()
    assert "Remove the directory" in project.casparian("check", code=1).stdout
    shutil.rmtree(place)
    assert project.drain(**only_from(index)) == 0
    assert project.statuses() == {"COMPLETED": 2}


# --- making -----------------------------------------------------------------------------------


def test_engines_that_make_one_at_once_make_it_once(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(index, "units", "1.2", UNITS)
    for name, value in only_from(index).items():
        monkeypatch.setenv(name, value)
    directory = tmp_path / "environments"
    wanted = Requirements("", ("units",))

    def make(_: int) -> Found:
        environments = PluginEnvironments(str(directory))
        needed = environments.needed("p", wanted)
        assert needed is not None
        return environments.make(needed, Event())

    with ThreadPoolExecutor(3) as threads:
        ((python, environment),) = set(threads.map(make, range(3)))
    assert "units==1.2" in environment.packages
    assert len(list(directory.iterdir())) == 1
    told = subprocess.run(
        [
            python,
            "-I",
            "-c",
            "import units, casparian.app.sidecar, pyarrow; print(units.kelvin(1))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "274.0\n"


def test_one_that_was_not_finished_is_never_found(tmp_path: Path, index: Path) -> None:
    environments = PluginEnvironments(str(tmp_path / "environments"))
    needed = environments.needed("p", Requirements("", ("units",)))
    assert needed is not None
    stop = Event()
    stop.set()
    with pytest.raises(EnvironmentFailedError):
        environments.make(needed, stop)
    assert environments.find(needed) is None
    assert list((tmp_path / "environments").iterdir()) == []
    # Nor what was left by an engine that was killed.
    half = tmp_path / "environments" / needed.key
    (half / "bin").mkdir(parents=True)
    assert environments.find(needed) is None


def test_one_that_cannot_be_looked_at_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of its disk, for a moment: the thread that makes environments goes on."""
    monkeypatch.setattr(environments_of_plugins, "FIRST_WAIT_S", 0.01)
    read, failing = Path.read_text, iter(range(2))

    def broken(path: Path, *arguments: Any, **named: Any) -> str:
        if path.name == RESOLVED:
            for _ in failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path, *arguments, **named)

    def built(made: PluginEnvironments, building: Path, *_: object) -> None:
        building.mkdir()
        (building / RESOLVED).write_text("")

    monkeypatch.setattr(PluginEnvironments, "_build", built)
    environments = Environments(str(tmp_path / "environments"))
    ready = threading.Event()
    environments.on_ready = ready.set
    monkeypatch.setattr(Path, "read_text", broken)
    assert not environments.ready("p", "hash", PLUGIN.encode())
    assert ready.wait(60)
    assert environments.ready("p", "hash", PLUGIN.encode())
    environments.close()


def test_a_thread_that_cannot_be_started_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    environments = Environments(str(tmp_path / "environments"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        assert not environments.ready("p", "hash", PLUGIN.encode())
    made = threading.Event()
    monkeypatch.setattr(environments, "_make", lambda *_: made.set())
    assert not environments.ready("p", "hash", PLUGIN.encode())
    assert made.wait(60)
    environments.close()
