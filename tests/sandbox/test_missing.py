"""A machine that has not got a layer: what `auto` and `required` make of it, and who is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from casparian.adapters.host.sandbox.landlock import abi
from casparian.adapters.host.sandbox.trial import missing_layers
from tests.support.project import Project, wait_for

WITHOUT = Path(__file__).parent / "without.py"
LAYERS = ["landlock", "seccomp", "capabilities"]
ENGINE = ("-m", "casparian.app.cli.engine")
TOOL = ("-c", "import sys; from casparian.app.cli import main; main(sys.argv[1:])")


def run(project: Project, layer: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(WITHOUT), layer, *arguments],
        cwd=project.directory,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(project: Project) -> Project:
    project.csv_to("parquet://./output")
    project.drop("a.csv", "a\n1\n")
    return project


def require(project: Project) -> None:
    file = project.directory / "casparian.toml"
    file.write_text(file.read_text() + '[plugins]\nsandbox = "required"\n')


@pytest.mark.parametrize("layer", LAYERS)
def test_auto_goes_on_and_says_so(project: Project, layer: str) -> None:
    done = run(project, layer, *ENGINE, "run", "--drain")
    assert done.returncode == 0, done.stderr
    level = f"partial, without {layer}"
    assert project.query("select sandbox from processing_job") == [(level,)]
    (job,) = json.loads(project.casparian("jobs", "--json").stdout)
    assert job["sandbox"] == level
    assert level in project.casparian("trace", "1").stdout


def test_check_names_layer_and_remedy(project: Project) -> None:
    layer = "landlock"
    findings = json.loads(run(project, layer, *TOOL, "check", "--json").stdout)["findings"]
    told = [f for f in findings if f["where"] == "[plugins] sandbox"]
    assert [f["level"] for f in told] == ["warning", "ok"]
    assert f"without the layer {layer}: " in told[0]["what"]
    assert told[0]["remedy"]
    assert f"partial, without {layer}" in told[1]["what"]


@pytest.mark.parametrize("layer", ["landlock", "seccomp"])
def test_required_does_not_start(project: Project, layer: str) -> None:
    require(project)
    done = run(project, layer, *ENGINE, "run", "--drain")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert f"cannot give sidecars the layer {layer}: " in last
    assert 'Or write "auto"' in last
    checked = run(project, layer, *TOOL, "check", "--json")
    assert checked.returncode == 1
    findings = json.loads(checked.stdout)["findings"]
    problems = [f for f in findings if f["level"] == "problem"]
    assert [f["where"] for f in problems] == ["[plugins] sandbox"]


def test_required_starts_where_all_are(project: Project) -> None:
    require(project)
    assert project.drain() == 0
    assert project.query("select sandbox from processing_job") == [("full",)]


def test_required_needs_processes(project: Project) -> None:
    require(project)
    file = project.directory / "casparian.toml"
    file.write_text(file.read_text().replace("[plugin_host]", '[plugin_host]\nadapter = "inline"'))
    assert project.drain() == 2
    assert 'write plugin_host.adapter = "subprocess"' in project.log()


def test_a_worker_tells_what_its_sidecars_have(project: Project) -> None:
    file = project.directory / "casparian.toml"
    file.write_text(file.read_text().replace("[worker]", "[worker]\nlease_s = 1.5"))
    with project.running():
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})

        def told() -> bool:
            status = json.loads(project.casparian("status", "--json").stdout)
            (worker,) = status["workers"]
            return worker["load"].get("sandbox") == {"csv_table": "full"}

        wait_for(told)


def test_this_machine() -> None:
    assert missing_layers() == []
    assert abi() >= 3
