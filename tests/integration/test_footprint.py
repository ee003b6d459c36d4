"""What an engine costs that does nothing, and a command that only says how it is used.

Never in seconds or bytes, which belong to a machine: by what is loaded, and as a share of a core.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from casparian.app.fork_server import LATER, SIDECAR
from tests.support.project import Project, wait_for

HEAVY = {
    "adbc_driver_manager",
    "alembic",
    "asyncio",
    "dependency_injector",
    "email",
    "numpy",
    "openlineage",
    "pandas",
    "prometheus_client",
    "psutil",
    "pyarrow",
    "pydantic",
    "rich",
    "sqlalchemy",
    "structlog",
    "watchfiles",
    "zmq",
}
BEATS = 5


def loaded_after(code: str, directory: Path) -> set[str]:
    """The modules of a process that has run this."""
    ending = "\nimport sys\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code + ending],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.splitlines())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
@pytest.mark.parametrize("program", ["casparian.app.cli", "casparian.app.cli.engine"])
def test_what_only_says_how_it_is_used_loads_nothing_for_it(
    program: str, arguments: list[str], tmp_path: Path
) -> None:
    code = f"""
from {program} import main
try:
    main({arguments!r})
except SystemExit:
    pass
"""
    # The version stands in the package's metadata, which are an e-mail's head.
    allowed = {"email"} if arguments == ["--version"] else set()
    loaded = loaded_after(code, tmp_path)
    assert loaded & HEAVY <= allowed
    ours = {name for name in loaded if name.startswith(("casparian.domain.", "casparian.adapters"))}
    assert ours <= {"casparian.domain.errors", "casparian.domain.statuses"}


def test_a_sidecar_loads_what_a_plugin_needs_and_no_more(tmp_path: Path) -> None:
    """As its fork server does."""
    code = f"import casparian.app.fork_server, {', '.join((SIDECAR, *LATER))}"
    assert loaded_after(code, tmp_path) & (HEAVY - {"numpy"}) == {"pyarrow", "zmq"}


UNUSED = {"alembic", "openlineage", "pandas", "prometheus_client", "pydantic_settings", "requests"}
# A drain watches nothing; Linux says itself who is alive; these rows need no arithmetic.
UNUSED |= {"watchfiles", "psutil", "pyarrow.compute"}
UNUSED |= {f"sqlalchemy.dialects.{name}" for name in ("postgresql", "mssql", "mysql")}


def test_an_engine_loads_no_more_than_it_uses(project: Project) -> None:
    """Its database is new, or there and up to date, and nobody watches: no migrations, no metrics,
    no events, no other database's dialect."""
    project.csv_to("parquet://./output")
    project.drop("a.csv", "a\n1\n")
    program = """
from casparian.app.cli.engine import main
try:
    main(["run", "--drain"])
except SystemExit as end:
    assert end.code == 0
"""
    assert loaded_after(program, project.directory) & (UNUSED | {"rich"}) == set()
    assert project.statuses() == {"COMPLETED": 1}
    embedded = """
from casparian import Engine, Settings
engine = Engine(Settings.load("casparian.toml"))
engine.drain()
engine.close()
"""
    # The injector loads this one, whose process here is not ours alone.
    unused = (UNUSED - {"pydantic_settings"}) | {"typer"}
    assert loaded_after(embedded, project.directory) & unused == set()


@pytest.mark.slow
def test_idle_it_uses_a_small_share_of_a_core(project: Project) -> None:
    """Five times as much is allowed as an idle engine may use, which is a hundredth: here it
    beats ten times as often, and the machine may be busy otherwise."""
    project.csv_to("parquet://./output")
    file = project.directory / "casparian.toml"
    file.write_text(file.read_text().replace("[worker]", "[worker]\nrenew_s = 1.0"))
    file.write_text(file.read_text().replace("interval_s = 0.5", "interval_s = 5.0"))
    project.drop("a.csv", "a\n1\n")
    with project.running() as engine:
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        await_beat(project, await_beat(project, 0))
        started, since = cpu_ticks(engine.pid), time.monotonic()
        beat = 0
        for _ in range(BEATS + 1):
            beat = await_beat(project, beat)
        idle_s = (cpu_ticks(engine.pid) - started) / os.sysconf("SC_CLK_TCK")
        share = idle_s / (time.monotonic() - since)
    assert share < 0.05, f"{share:.1%} of a core"


def await_beat(project: Project, after: int) -> int:
    """Wait for a heartbeat later than this one; returns when it was."""

    def latest() -> int:
        ((at,),) = project.query("select max(heartbeat_at_us) from worker_node")
        return int(at) if at > after else 0

    return int(wait_for(latest, every=0.1))


def cpu_ticks(pid: int) -> int:
    """CPU time of a process so far in clock ticks, its children apart."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
