"""What commands print with --json is what docs/reference/cli.md says of it, field by field.

The page is written from the types that are asked here, over a history in which every field has
been filled, and each that may be null has been null, at least once.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import pytest
import structlog
import typer

from casparian import Engine, Settings
from casparian.app.cli import json_reference, main, operator, reference, shadow_shapes, shapes
from casparian.domain.deployments import DeployCheck, RefusedDeploy
from tests.support.project import Project, wait_for
from tests.support.shapes import Shapes, may_be_null

PLUGIN = """
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        with open(file_path, "rb") as lines:
            for line in lines:
                if line == b"bad\\n":
                    raise ValueError("This line is bad.")
                if line == b"odd\\n":
                    self.reject(line, "An odd line.")
                else:
                    self.publish("output", [{"line": line.decode()}])
                    self.publish("more", [{"line": line.decode()}])
"""
ONCE = """
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.publish("lines", [{"n": 1}])
"""
CONFIGURATION = """
[database]
url = "sqlite:///{database}"
[scout]
settle_s = 0
interval_s = 0.2
[plugin_host]
adapter = "inline"
sidecars = 1
[[source_root]]
path = "inbox"
[[source_root]]
path = "leaving"
after = "archive:archive"
[[rule]]
pattern = "*.txt"
tag = "text"
[plugin.lines]
tags = ["text"]
max_rejects = 2
[plugin.lines.topics."*"]
sink = "parquet://./output"
[plugin.once]
tags = ["text"]
[plugin.once.topics."*"]
sink = "parquet://./once"
duplicates = "skip"
[[expect]]
pattern = "good.txt"
by = "00:01"
time_zone = "UTC"
[[expect]]
pattern = "never.txt"
by = "23:59"
days = ["mon", "sun"]
"""


SHADOWS = (
    shadow_shapes.ShadowDocument,
    shadow_shapes.ShadowFileDocument,
    shadow_shapes.ShadowTopicDocument,
    shadow_shapes.ShadowColumnDocument,
    shadow_shapes.ShadowReasonDocument,
    shadow_shapes.ShadowRowDocument,
    shadow_shapes.ShadowValueDocument,
)
NOT_IN_THIS_HISTORY = {
    # Shadow runs: test_shadow.py.
    *(
        (shape.__name__, field, kind)
        for shape in SHADOWS
        for field in shape.__annotations__
        for kind in ("value", "null")
    ),
    *(("DeployedDocument", field, "null") for field in ("version", "engine")),
    ("DeployedDocument", "shadow", "value"),
    # Departures that are deletions, under way, or were given up.
    *(("DepartureDocument", field, "null") for field in ("ended_at", "outcome", "place")),
    ("DepartureDocument", "message", "value"),
    # A worker at the moment that it works, its plugin under quarantine or without any code.
    *(
        ("LoadDocument", field, "value")
        for field in ("sidecars", "sandbox", "ended", "refused", "not_run")
    ),
    ("PluginStateDocument", "not_run", "value"),
    *(
        (plugin, field, "null")
        for plugin in ("PluginDocument", "PluginStateDocument")
        for field in ("content_hash", "origin", "version")
    ),
    *((p, "quarantined", "value") for p in ("PluginDocument", "PluginStateDocument")),
    ("PluginStateDocument", "refused", "value"),
    # Packages of a plugin's own: test_environments.py.
    *(("EnvironmentDocument", f, "value") for f in ("digest", "directory", "python", "packages")),
    *(
        (job, field, "value")
        for job in ("JobDocument", "JobStoryDocument", "SubscribedJobDocument")
        for field in ("environment", "environment_digest")
    ),
    *((plugin, "environment", "value") for plugin in ("PluginDocument", "PluginStateDocument")),
    # Roots that an engine scans meanwhile.
    ("ScanDocument", "left", "value"),
    ("SourceRootDocument", "scout", "value"),
    # Engines that wait for a disk or a database: test_resources.py.
    ("LoadDocument", "waits_for", "value"),
    ("StatusTodayDocument", "waits_for", "value"),
    *(
        (wait, field, "value")
        for wait in ("LoadedWaitDocument", "WaitDocument")
        for field in ("what", "reason", "since", "jobs")
    ),
    *(("WaitDocument", "worker", what) for what in ("value", "null")),
    # Histories that were pruned, rules that are gone, markers without a content.
    ("PurgedByDocument", "at", "null"),
    *(("RuleDocument", field, "null") for field in ("pattern", "priority")),
    ("AdoptedRowsDocument", "content_hash", "null"),
    *(("PublishedOutputDocument", field, "null") for field in ("job_id", "rows")),
    ("OriginDocument", "path", "null"),
    # Jobs that a backfill enqueues, or is kept from enqueueing.
    *((shape, "job_id", "value") for shape in ("OutdatedVersionDocument", "LeftVersionDocument")),
    # A key of which only the end is left.
    ("KeyDocument", "scheme", "null"),
}
"""Held by the type checker alone."""


class Told:
    """Runs `casparian COMMAND --json`, and keeps every document with the type it should have."""

    def __init__(self, run: Callable[..., str]) -> None:
        self.shapes = Shapes()
        self.commands: set[str] = set()
        self._run = run

    def __call__(self, command: str, *arguments: str) -> Any:
        document = json.loads(self._run(*command.split(), *arguments, "--json"))
        self.shapes.check(document, shapes.PRINTED[command], command)
        self.commands.add(command)
        return document

    def without(self, *arguments: str) -> str:
        """A command without --json: what it prints."""
        return self._run(*arguments)


@pytest.fixture
def told(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Told]:
    monkeypatch.chdir(project.directory)

    def run(*arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code in (0, 1), capsys.readouterr().err
        return capsys.readouterr().out

    yield Told(run)
    structlog.reset_defaults()


def configure(project: Project, database: str) -> None:
    project.configure(CONFIGURATION.replace("{database}", database))


def drain(project: Project) -> None:
    engine = Engine(Settings.load(project.directory / "casparian.toml"))
    engine.drain()
    engine.close()


def live(project: Project, told: Told) -> None:
    """A history of everything that can become of a file."""
    (project.directory / "leaving").mkdir()
    configure(project, "first.db")
    project.plugin("lines", PLUGIN)
    project.plugin("once", ONCE)
    project.drop("nobody.bin", b"1")
    for name in ("good.txt", "gone.txt", "again.txt"):
        project.drop(name, "1\nodd\n2\n")
    (project.directory / "leaving" / "good.txt").write_text("3\n")
    told("check")
    told("scan")
    told("status")
    told("files")
    for job in told("jobs", "--status", "SKIPPED"):
        told("trace", str(job["id"]))
        told("why", job["path"])
    waiting = told("jobs", "--status", "QUEUED")
    told("trace", str(waiting[0]["id"]))
    again = [str(job["id"]) for job in waiting if job["path"] == "again.txt"]
    told("cancel", *again)
    told("cancel", *again)
    told("why", "good.txt")
    drain(project)
    told("why", "leaving/good.txt")
    told("retry", *(str(job["id"]) for job in waiting))
    project.drop("good.txt", "1\nbad\n")
    (project.inbox / "gone.txt").unlink()
    drain(project)
    told("purge", "--path", "gone.txt", "--yes")


def test_every_command_prints_what_is_documented(project: Project, told: Told) -> None:
    live(project, told)
    for document in (told("files"), told("jobs"), told("plugins"), told("status")):
        assert document
    for path in ("good.txt", "again.txt", "gone.txt", "nobody.bin", "leaving/good.txt"):
        told("why", path)
    told("trace", str(told("jobs", "--status", "COMPLETED")[0]["id"]), "0", "--topic", "output")
    told("trace", str(told("jobs", "--status", "FAILED")[0]["id"]))
    told("forget", "again.txt")
    told("adapters")
    deployments(project, told)
    told("scan")
    told("purge", "--path", "again.txt", "--yes")
    told("prune", "--before", "2999-01-01")
    told("status")
    told("why", "gone.txt")
    adopt(project, told)
    assert told.commands == set(shapes.PRINTED)
    assert unseen(told.shapes) <= NOT_IN_THIS_HISTORY


def deployments(project: Project, told: Told) -> None:
    """Versions of a plugin, one that cannot be loaded, one that nobody may deploy, keys."""
    (project.directory / "better.py").write_text(PLUGIN + "# better")
    (project.directory / "worse.py").write_text("Handler = 1")
    told.without("keys", "new", "office")
    told.without("keys", "new", "home")
    engine = Engine(Settings.load(project.directory / "casparian.toml"), ["worker"])
    running = threading.Thread(target=engine.run)
    running.start()
    wait_for(lambda: any(worker["alive"] for worker in told("status")["workers"]))
    deploy = ("--plugin", "lines", "--key-id")
    told("deploy", str(project.directory / "better.py"), *deploy, "office")
    told.without("deploy", str(project.directory / "worse.py"), *deploy, "office")
    refused = RefusedDeploy(1, DeployCheck.KEY, "Not known.", "lines", 9, "nobody")
    for one in (refused, RefusedDeploy(2, DeployCheck.SIZE, "Too much.")):
        engine.stores.store.refuse(one)
    told("backfill", "lines", "--dry-run")
    told("rollback", "lines")
    told.without("keys", "revoke", "home")
    told("keys list")
    told("keys curve", "engine")
    told("deployments", "lines")
    told("deployments")
    engine.stop()
    running.join()
    engine.close()


def adopt(project: Project, told: Told) -> None:
    """Another queue over the same outputs, with as many jobs of its own."""
    configure(project, "second.db")
    told("scan")
    told("adopt", "output", "--yes")
    told("files")
    adopted = told("why", "good.txt")["adopted"]
    told("trace", str(adopted[0]["job_id"]))
    told("adopt", "--all", "--yes")
    project.drop("good.txt", "1\n")
    drain(project)
    told("why", "good.txt")


def unseen(found: Shapes) -> set[tuple[str, str, str]]:
    """Fields that have never had a value, or never been null though they may."""
    missing = set()
    for shape in json_reference.shapes():
        for field, hint in get_type_hints(shape, include_extras=True).items():
            held = found.seen.get((shape.__name__, field), set())
            missing |= {
                (shape.__name__, field, what)
                for what in ["value", *(["null"] if may_be_null(hint) else [])]
                if what not in held
            }
    return missing


def test_every_command_with_the_option_is_documented() -> None:
    commands = typer.main.get_command(operator.app).commands  # type: ignore[attr-defined]
    with_json = {
        path.removeprefix("casparian ")
        for path, command in reference.flat("casparian", commands)
        if any("--json" in option.opts for option in command.params)
    }
    assert with_json == set(shapes.PRINTED)
