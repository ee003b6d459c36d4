"""What commands that change jobs, files and rows print with --json."""

from __future__ import annotations

from typing import Annotated, TypedDict

from casparian.domain.adoption import Owner
from casparian.domain.documents.jobs import BriefJobDocument, PublishedOutputDocument
from casparian.domain.documents.texts import OneOf


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


class PrunedDocument(TypedDict):
    """What `casparian prune` removed."""

    jobs: Annotated[int, "Jobs."]
    events: Annotated[int, "Events of jobs."]
    environments: Annotated[int, "Environments of plugins."]
