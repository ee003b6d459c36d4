"""What each command prints with --json, by the command's name.

The shapes that the database's reports have are in `casparian.domain.documents`; here are those
that commands make of them. The reference of the command line is written from both.
"""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from casparian.app.cli._findings import Level
from casparian.app.cli.shadow_shapes import ShadowDocument
from casparian.domain.adoption import Owner
from casparian.domain.deployments import DeployCheck, Origin, Verdict
from casparian.domain.documents.files import (
    AdoptedRowsDocument,
    FileDocument,
    FileStoryDocument,
    VersionHeadDocument,
)
from casparian.domain.documents.jobs import (
    BriefJobDocument,
    JobDocument,
    JobStoryDocument,
    OutputDocument,
    PublishedOutputDocument,
)
from casparian.domain.documents.status import (
    ExpectedDocument,
    PluginDocument,
    StatusDocument,
    WaitDocument,
)
from casparian.domain.documents.texts import OneOf, Time
from casparian.domain.signing import Scheme

# --- scanning and looking ---------------------------------------------------------------------


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


# --- changing ---------------------------------------------------------------------------------


class LeftJobDocument(BriefJobDocument):
    """A job that was left as it was."""

    reason: Annotated[str, "Why."]


class RetriedDocument(TypedDict):
    """What `casparian retry` did."""

    retried: Annotated[list[BriefJobDocument], "Jobs that are queued again."]
    left: Annotated[list[LeftJobDocument], "Jobs named by number that are not, and why."]


class CancelledDocument(TypedDict):
    """What `casparian cancel` did."""

    cancelled: Annotated[list[BriefJobDocument], "Jobs that are cancelled now."]
    left: Annotated[list[LeftJobDocument], "Jobs that are not, with their status now, and why."]


class OutdatedVersionDocument(TypedDict):
    """A version of a file whose rows were made by other code than the live one."""

    path: Annotated[str, "The file's path below its source root."]
    source_root: Annotated[str, "The source root."]
    file_version_id: Annotated[int, "The version."]
    version: Annotated[int, "Which version of its file it is."]
    rows: Annotated[int, "How many rows its newest job has published."]
    made_by: Annotated[int, "That job."]
    plugin_hash: Annotated[str, "The code that ran it; empty where that is not known."]
    job_id: Annotated[int | None, "The job that makes them anew; null where there is none."]


class LeftVersionDocument(OutdatedVersionDocument):
    """A version that gets no job."""

    reason: Annotated[str, "Why."]


class BackfilledDocument(TypedDict):
    """What `casparian backfill` did, or would do."""

    plugin: Annotated[str, "The plugin."]
    plugin_hash: Annotated[str, "Its live code."]
    dry_run: Annotated[bool, "Nothing was enqueued, since that was not asked for."]
    rows: Annotated[int, "Rows that are made anew, over all versions that get a job."]
    versions: Annotated[list[OutdatedVersionDocument], "The versions that get a job."]
    left: Annotated[list[LeftVersionDocument], "Outdated versions that do not."]
    failed: Annotated[int, "Jobs that failed with other code; `casparian retry` runs them again."]


class ForgottenFileDocument(TypedDict):
    """A file that the next scan sees as new."""

    path: Annotated[str, "Its path below the source root."]
    source_root: Annotated[str, "The source root."]
    versions: Annotated[int, "How many versions it has had."]


class ForgottenDocument(TypedDict):
    """What `casparian forget` did."""

    forgotten: Annotated[list[ForgottenFileDocument], "The files, in the order named."]


class PurgedFileDocument(TypedDict):
    """One plugin's rows of one file."""

    path: Annotated[str, "The file's path below its source root."]
    source_root: Annotated[str, "The source root."]
    deleted: Annotated[bool, "The file is no longer there."]
    plugin: Annotated[str, "The plugin that wrote the rows."]
    outputs: Annotated[list[PublishedOutputDocument], "What stood before."]
    job_id: Annotated[
        int, "The purge's job; of rows that were left, maybe the job in its way, or 0."
    ]


class LeftFileDocument(PurgedFileDocument):
    """Rows that were left."""

    reason: Annotated[str, "Why."]


class PurgedDocument(TypedDict):
    """What `casparian purge` did."""

    purged: Annotated[list[PurgedFileDocument], "What is removed."]
    left: Annotated[list[LeftFileDocument], "What was left, and why."]


class StandingRowsDocument(TypedDict):
    """Rows of one topic that one installation published to one target."""

    topic: Annotated[str, "The topic."]
    plugin: Annotated[str, "The plugin that wrote them."]
    target: Annotated[str, "Where they are: the sink's URI."]
    installation: Annotated[str, "The installation that published them."]
    owner: Annotated[
        str,
        OneOf.each(Owner),
        "restored: this installation, by jobs that its database has lost. foreign: another one.",
    ]
    files: Annotated[int, "Of how many files."]
    rows: Annotated[int, "How many."]
    newest_job: Annotated[int, "The highest number of a job that wrote some."]


class RenumberedDocument(TypedDict):
    """What became of jobs by an adoption."""

    renumbered: Annotated[int, "Jobs that have another number since."]
    again: Annotated[int, "Jobs, decided and not yet published, that are done again."]
    enqueued: Annotated[int, "Jobs queued, since rows in place of their own were taken over."]


class AdoptedDocument(TypedDict):
    """What `casparian adopt` did."""

    installation: Annotated[str, "The installation that this queue is now."]
    adopted: Annotated[list[StandingRowsDocument], "Rows that were taken over."]
    left: Annotated[list[StandingRowsDocument], "Rows that are still not known to this queue."]
    slots: Annotated[int, "Slots that changed their owner."]
    jobs: Annotated[RenumberedDocument, "What became of jobs."]


class DeployedDocument(TypedDict):
    """What `casparian deploy` installed; of a shadow run alone, `shadow` only."""

    plugin: Annotated[str, "The plugin's name."]
    version: Annotated[int | None, "Its version now; null where nothing was deployed."]
    content_hash: Annotated[str, "SHA-256 of the code."]
    key_id: Annotated[str, "The key that signed it."]
    engine: Annotated[str | None, "The engine that took it, as in `status`; null where none did."]
    shadow: Annotated[ShadowDocument | None, "What a shadow run found; null without `--shadow`."]


class RolledBackDocument(TypedDict):
    """What `casparian rollback` made live."""

    plugin: Annotated[str, "The plugin's name."]
    version: Annotated[int, "Its version now."]
    content_hash: Annotated[str, "SHA-256 of the code."]
    origin: Annotated[
        str, OneOf("rollback", "directory"), "directory where its file was taken again."
    ]


class DeploymentDocument(TypedDict):
    """A version that a plugin had, or a deployment that was refused before it was one."""

    at: Annotated[Time, "When."]
    plugin: Annotated[str, "The plugin; of a refused one as the sender said, maybe empty."]
    version: Annotated[
        int | None, "The version; of a refused one as the sender said, null where it did not."
    ]
    content_hash: Annotated[str | None, "SHA-256 of the code; null where it was refused."]
    origin: Annotated[
        Annotated[str, OneOf.each(Origin)] | None,
        "Where the code came from; null where it was refused.",
    ]
    verdict: Annotated[
        str,
        OneOf(*Verdict, "refused"),
        "failed: its signature held, and it could not be loaded.",
    ]
    check: Annotated[
        Annotated[str, OneOf.each(DeployCheck)] | None,
        "The check that refused it; null where none did.",
    ]
    message: Annotated[str, "Why it failed or was refused, or what it went back to."]
    live: Annotated[bool, "It is the version that runs."]
    key_id: Annotated[str | None, "The key that signed it; null where nobody did."]
    scheme: Annotated[
        Annotated[str, OneOf.each(Scheme)] | None, "How; null where nobody did, or it was refused."
    ]
    actor: Annotated[str | None, "Who asked for it, user@host, where an operator did."]


class KeyDocument(TypedDict):
    """One deploy key. Its secret is told nowhere."""

    id: Annotated[str, "Its id."]
    scheme: Annotated[
        Annotated[str, OneOf.each(Scheme)] | None, "How it signs; null where that is lost."
    ]
    created_at: Annotated[Time, "When it was made."]
    state: Annotated[str, OneOf("valid", "revoked"), "Whether what it signed is accepted."]
    signs: Annotated[bool, "What signs with it lies in the directory, too."]
    revoked_at: Annotated[Time | None, "When it was revoked; null where it was not."]
    revoked_by: Annotated[str | None, "By whom, user@host; null likewise."]


class PrunedDocument(TypedDict):
    """What `casparian prune` removed."""

    jobs: Annotated[int, "Jobs."]
    events: Annotated[int, "Events of jobs."]
    environments: Annotated[int, "Environments of plugins."]


# --- this installation ------------------------------------------------------------------------


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


class CurveKeyDocument(TypedDict):
    """A pair of keys for the transport that was made."""

    public: Annotated[str, "The file with the public half."]
    secret: Annotated[str, "The file with both halves, which only its owner may read."]


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
