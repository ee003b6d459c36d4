"""What each command prints with --json, by the command's name.

The shapes that the database's reports have are in `casparian.domain.documents`; in `..._shapes.py`
are those that commands make of them, and here those of commands that only look. The reference of
the command line is written from all of them.
"""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from casparian.app.cli._findings import Level
from casparian.app.cli.change_shapes import (
    AdoptedDocument,
    BackfilledDocument,
    CancelledDocument,
    ForgottenDocument,
    PrunedDocument,
    PurgedDocument,
    RetriedDocument,
)
from casparian.app.cli.deploy_shapes import (
    CurveKeyDocument,
    DeployedDocument,
    DeploymentDocument,
    KeyDocument,
    RolledBackDocument,
)
from casparian.domain.documents.files import (
    AdoptedRowsDocument,
    FileDocument,
    FileStoryDocument,
    VersionHeadDocument,
)
from casparian.domain.documents.jobs import JobDocument, JobStoryDocument, OutputDocument
from casparian.domain.documents.status import (
    ExpectedDocument,
    PluginDocument,
    StatusDocument,
    WaitDocument,
)
from casparian.domain.documents.texts import OneOf


class ScanDocument(TypedDict):
    """What one scan of all source roots found."""

    new: Annotated[int, "Files that were not known."]
    changed: Annotated[int, "Files whose content is another one."]
    unchanged: Annotated[int, "Files that are as they were."]
    deferred: Annotated[int, "Files that had not settled; a later scan takes them."]
    deleted: Annotated[int, "Files that are gone: their second complete scan without them."]
    unreadable: Annotated[int, "Files and directories that could not be read."]
    waiting: Annotated[int, "Files that wait for their done marker."]
    complete: Annotated[bool, "Everything in all roots could be met."]
    left: Annotated[list[str], "Roots that running engines scan, each with which one does."]
    jobs: Annotated[int, "Jobs that were queued by it."]


class StatusTodayDocument(StatusDocument):
    """Counts, plugins, source roots, workers, what is waited for, and the files expected today."""

    waits_for: Annotated[list[WaitDocument], "What the engines wait for; empty where nothing."]

    expected: Annotated[list[ExpectedDocument], "One for each `[[expect]]`."]


class PluginStateDocument(PluginDocument):
    """One plugin, with its state and sidecars."""

    state: Annotated[
        str,
        OneOf(
            "active",
            "not in the configuration",
            "under quarantine",
            "refused",
            "not run",
            "built in",
        ),
        "Whether it runs; built in: part of the engine, which runs no files.",
    ]
    refused: Annotated[
        str | None, "Why its code does not hold and is not loaded; null where it does."
    ]
    not_run: Annotated[
        str | None, "Why a worker that is alive does not run it now; null where all do."
    ]
    sidecars: Annotated[int, "Sidecars that run it, over all workers that are alive."]


class OriginDocument(TypedDict):
    """Where rows came from. Of a number that only adopted rows have, the job, and all that hangs
    on it, is null."""

    job: Annotated[JobStoryDocument | None, "The job that wrote them."]
    version: Annotated[VersionHeadDocument | None, "The version of the file that it read."]
    path: Annotated[str | None, "The file's path; null where adopted rows are of several."]
    source_root: Annotated[str | None, "The source root."]
    deleted: Annotated[bool | None, "The file is no longer there."]
    adopted: Annotated[list[AdoptedRowsDocument], "Adopted rows that are meant."]
    outputs: Annotated[list[OutputDocument], "Where the rows are that are meant."]
    row: Annotated[int | None, "The row that was asked for; null for all."]


class FindingDocument(TypedDict):
    """One thing that was looked at."""

    level: Annotated[str, OneOf.each(Level), "How it stands."]
    where: Annotated[str, "A table of the configuration, a path, or a part of the program."]
    what: Annotated[str, "What was found, as a sentence."]
    remedy: Annotated[str, "What to do; empty where nothing need be done."]


class CheckDocument(TypedDict):
    """What `casparian check` found."""

    problems: Annotated[int, "How many findings are problems."]
    findings: Annotated[list[FindingDocument], "Everything that was looked at."]


class AdapterDocument(TypedDict):
    """One adapter."""

    port: Annotated[
        str, OneOf("queue", "transport", "plugin_host", "sink"), "What it can be used for."
    ]
    name: Annotated[str, "What the configuration calls it."]
    origin: Annotated[str, "The package that it comes with."]
    installed: Annotated[bool, "It can be used."]
    problem: Annotated[str, "Why it cannot; empty where it can."]


PRINTED: dict[str, Any] = {
    "scan": ScanDocument,
    "status": StatusTodayDocument,
    "files": list[FileDocument],
    "jobs": list[JobDocument],
    "why": FileStoryDocument,
    "trace": OriginDocument,
    "retry": RetriedDocument,
    "cancel": CancelledDocument,
    "backfill": BackfilledDocument,
    "forget": ForgottenDocument,
    "purge": PurgedDocument,
    "adopt": AdoptedDocument,
    "prune": PrunedDocument,
    "deploy": DeployedDocument,
    "rollback": RolledBackDocument,
    "deployments": list[DeploymentDocument],
    "keys list": list[KeyDocument],
    "plugins": list[PluginStateDocument],
    "check": CheckDocument,
    "adapters": list[AdapterDocument],
    "keys curve": CurveKeyDocument,
}
"""By the command's name, the type of its document."""
