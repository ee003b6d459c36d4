"""What the operator is told of files, their versions and where each came from."""

from __future__ import annotations

from typing import Annotated, TypedDict

from casparian.domain.departures import Action, Outcome
from casparian.domain.documents.jobs import (
    JobStoryDocument,
    OriginalDocument,
    SubscribedJobDocument,
)
from casparian.domain.documents.texts import ModeText, OneOf, Time


class SkippedDocument(OriginalDocument):
    """By which plugin the current version is skipped, and who does its content."""

    plugin: Annotated[str, "The plugin that skips it."]


class FileDocument(TypedDict):
    """One file, as it was last met."""

    path: Annotated[str, "Its path below the source root, `/` between directories."]
    source_root: Annotated[str, "The source root, as an absolute path."]
    content_hash: Annotated[str | None, "SHA-256 of the current version; null without one."]
    size: Annotated[int | None, "Bytes of the current version; null without one."]
    version: Annotated[int | None, "Which version is current, counted from 1; null without one."]
    versions: Annotated[int, "How many versions there are."]
    tags: Annotated[list[str], "Tags of the current version."]
    duplicate_of: Annotated[list[SkippedDocument], "By which plugins it is skipped, if by any."]
    deleted: Annotated[bool, "The file is no longer there."]
    file_version_id: Annotated[int | None, "`_casparian_file_version_id` of its rows."]
    seen_at: Annotated[Time | None, "When the current version was first met."]


class RuleDocument(TypedDict):
    """Why a version has a tag."""

    tag: Annotated[str, "The tag."]
    pattern: Annotated[str | None, "The rule's pattern; null for a rule that is not known now."]
    priority: Annotated[int | None, "The rule's priority; null likewise."]


class DepartureDocument(TypedDict):
    """What the engine did with a file whose jobs were all done (`after`)."""

    action: Annotated[str, OneOf.each(Action), "What is done with the file."]
    place: Annotated[str | None, "Where it is archived; null for a deletion."]
    planned_at: Annotated[Time, "When it was planned."]
    ended_at: Annotated[Time | None, "When it ended; null while it has not."]
    outcome: Annotated[
        Annotated[str, OneOf.each(Outcome)] | None, "How it ended; null while it has not."
    ]
    message: Annotated[str | None, "Why the file was kept, where it was."]


class VersionHeadDocument(TypedDict):
    """One version of a file: content that was met at its path."""

    file_version_id: Annotated[int, "The version's number; `_casparian_file_version_id`."]
    ordinal: Annotated[int, "Which version of the file it is, counted from 1."]
    current: Annotated[bool, "It is the newest one."]
    content_hash: Annotated[str, "SHA-256 of the content."]
    size: Annotated[int, "Bytes of the content."]
    seen_at: Annotated[Time, "When it was first met."]
    tags: Annotated[list[str], "Its tags."]
    rules: Annotated[list[RuleDocument], "The rule that gave each tag."]


class VersionDocument(VersionHeadDocument):
    """One version of a file, with its jobs."""

    jobs: Annotated[list[SubscribedJobDocument], "Its jobs, by number."]
    departure: Annotated[
        DepartureDocument | None, "What the engine did with the file; null where nothing."
    ]


class AdoptedRowsDocument(TypedDict):
    """Rows that another installation published, taken over by `casparian adopt`."""

    topic: Annotated[str, "The topic."]
    plugin: Annotated[str, "The plugin that wrote them."]
    target: Annotated[str, "Where they are: the sink's URI."]
    slot: Annotated[str, "The slot in the target that they are in."]
    mode: Annotated[ModeText, "How the rows of a corrected file are published."]
    rows: Annotated[int, "How many."]
    installation: Annotated[str, "The installation that published them."]
    job_id: Annotated[int, "The number of the job there; `_casparian_job_id` of the rows."]
    path: Annotated[str, "The file's path below its source root."]
    source_root: Annotated[str, "The source root."]
    deleted: Annotated[bool, "The file is no longer there."]
    content_hash: Annotated[str | None, "SHA-256 of what was read; null where it is not known."]
    adopted_at: Annotated[Time, "When they were taken over."]
    actor: Annotated[str, "By whom, user@host."]
    replaced_by: Annotated[int | None, "The job that has replaced them; null while they stand."]


class FileStoryDocument(TypedDict):
    """The story of one file."""

    path: Annotated[str, "Its path below the source root."]
    source_root: Annotated[str, "The source root, as an absolute path."]
    deleted: Annotated[bool, "The file is no longer there."]
    versions: Annotated[list[VersionDocument], "Its versions, oldest first."]
    advice: Annotated[list[str], "What to do, in sentences; none where nothing need be done."]
    adopted: Annotated[list[AdoptedRowsDocument], "Rows of it that were taken over."]
    others: Annotated[list[FileStoryDocument], "Files of the same path in other source roots."]


class JobOriginDocument(TypedDict):
    """One job back to the bytes it read. Of a number that only adopted rows have, the job, and
    all that hangs on it, is null."""

    job: JobStoryDocument | None
    version: VersionHeadDocument | None
    path: str | None
    source_root: str | None
    deleted: bool | None
    adopted: list[AdoptedRowsDocument]
