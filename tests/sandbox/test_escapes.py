"""A plugin that tries to get out of a real engine: what is promised is denied, work goes on.

Each attempt is also made without a sandbox, where it succeeds: else nothing would be shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.sandbox.conftest import others
from tests.support.project import FAST, Project, wait_for

HERE = Path(__file__).parent
ESCAPES = (HERE / "escapes.py").read_text()
DOCUMENTED = HERE.parents[1] / "docs" / "security.md"
MEMORY_MB = 1024
# They need a right of root's, without which the system denies them anyhow.
OF_ROOT = "_root"


class Tried(NamedTuple):
    group: str
    denied: bool
    said: str


@contextlib.contextmanager
def engine(directory: Path, sandbox: str) -> Iterator[tuple[Project, int]]:
    """With the pid of the engine."""
    project = Project(directory)
    for name in ("escapes", "neighbour"):
        project.plugin(name, ESCAPES)
    tables = "".join(
        f"""
[[rule]]
pattern = "{name}*.json"
tag = "{name}"
[plugin.{name}]
tags = ["{name}"]
memory_mb = {MEMORY_MB}
[plugin.{name}.topics.tried]
sink = "parquet://./{name}"
"""
        for name in ("escapes", "neighbour")
    )
    project.configure(
        f'{FAST}\n[plugins]\nsandbox = "{sandbox}"\n[[source_root]]\npath = "inbox"\n{tables}'
    )
    with project.running(CASPARIAN_TEST_SECRET="hunter2") as process:
        yield project, process.pid


def attempts(directory: Path, sandbox: str, places: Mapping[str, Any]) -> dict[str, Tried]:
    """What became of each attempt. Afterwards the engine runs another job, as before."""
    with engine(directory, sandbox) as (project, pid):
        project.drop("neighbour.json", '{"say": "where"}')
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        (neighbour,) = project.parquet("tried", "neighbour")["what"].to_pylist()
        spares = [project.drop(name, "x") for name in ("spare", "spare2")]
        beside = project.directory / "secret"
        beside.write_text("hunter2")
        at = {
            **places,
            "engine": pid,
            "project": str(project.directory),
            "database": str(project.database),
            "configuration": str(project.directory / "casparian.toml"),
            "plugin": str(project.plugins / "neighbour.py"),
            "inbox": str(project.inbox),
            "spare": str(spares[0]),
            "spare2": str(spares[1]),
            "secret_beside": str(beside),
            "neighbour": neighbour,
            "router": str(next(project.directory.glob("run/*.ipc"))),
            "memory_mb": MEMORY_MB,
        }
        project.drop("escapes.json", json.dumps(at))
        wait_for(lambda: project.statuses().get("COMPLETED") == 2 or project.errors())
        assert project.errors() == {}
        project.drop("neighbour2.json", '{"say": "still here"}')
        wait_for(lambda: project.statuses() == {"COMPLETED": 3})
        rows = project.parquet("tried", "escapes").to_pylist()
    return {row["what"]: Tried(row["group"], row["denied"], row["said"]) for row in rows}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with others(tmp_path_factory.mktemp("o")) as found:
        yield found


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory, places: dict[str, Any]) -> dict[str, Tried]:
    return attempts(tmp_path_factory.mktemp("held"), "required", places)


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory, places: dict[str, Any]) -> dict[str, Tried]:
    for made in ("made", "written", "renamed"):
        path = Path(places["outside"]) / made
        assert not path.exists()
    tried = attempts(tmp_path_factory.mktemp("free"), "off", places)
    shutil.rmtree(places["outside"])
    os.mkdir(places["outside"])
    return tried


GROUPS = ("Files", "Processes", "ForkServer", "Network", "Kernel")


@pytest.mark.parametrize("group", GROUPS)
def test_every_attempt_is_denied(held: dict[str, Tried], group: str) -> None:
    assert [name for name, t in held.items() if t.group == group and not t.denied] == []


@pytest.mark.parametrize("group", GROUPS)
def test_each_succeeds_without_a_sandbox(free: dict[str, Tried], group: str) -> None:
    """Those for which root's rights are needed, where this is root."""
    denied = {name: t.said for name, t in free.items() if t.group == group and t.denied}
    if os.geteuid() != 0:
        denied = {name: said for name, said in denied.items() if not name.endswith(OF_ROOT)}
    assert denied == {}


def test_there_are_many(held: dict[str, Tried]) -> None:
    assert sum(t.group in GROUPS for t in held.values()) > 80


def test_a_denial_is_a_permission_error(held: dict[str, Tried]) -> None:
    """But for what is answered as if this kernel had it not, names that cannot be looked up, and
    devices and links, which would cross into what is not granted."""
    others = {n: t.said for n, t in held.items() if t.group in GROUPS}
    others = {n: said for n, said in others.items() if not said.startswith("PermissionError")}
    assert set(others) <= {"clone3", "look_a_name_up", "link_a_secret_into_its_scratch",
                           "rename_out_of_its_scratch"}  # fmt: skip


@pytest.mark.parametrize("sandbox", ["held", "free"])
def test_limits_hold_in_any_case(sandbox: str, request: pytest.FixtureRequest) -> None:
    tried: dict[str, Tried] = request.getfixturevalue(sandbox)
    limits = {name: t.denied for name, t in tried.items() if t.group == "Limits"}
    assert len(limits) == 5
    assert [name for name, denied in limits.items() if not denied] == []


def test_what_is_not_denied_is_documented(held: dict[str, Tried]) -> None:
    """As a list, each entry with the attempt that shows it."""
    allowed = {name for name, t in held.items() if t.group == "NotDenied" and not t.denied}
    assert allowed == {name for name, t in held.items() if t.group == "NotDenied"}
    listed = re.findall(r"^- .*<!-- shown by: (\w+) -->$", DOCUMENTED.read_text(), re.MULTILINE)
    assert set(listed) == allowed
