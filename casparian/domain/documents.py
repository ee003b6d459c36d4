"""What the operator is told: the shape of every document that `Reports` gives.

The annotations are what the reference of the command line is written from: the type, the values
that it is one of, and what the field means. A field is always there; `| None` says when it may
be null. Bytes, counts of rows and microseconds are integers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypedDict

from casparian.domain.departures import Action, Outcome
from casparian.domain.errors import ErrorClass
from casparian.domain.expectations import ExpectationState
from casparian.domain.jobs import JobEventKind, JobKind, JobStatus
from casparian.domain.plugins import Mode


class OneOf:
    """A text is one of these."""

    def __init__(self, *values: str) -> None:
        self.values = values

    @staticmethod
    def each(values: Iterable[str]) -> OneOf:
        return OneOf(*values)


class TimeText:
    """A text is a time: ISO 8601, UTC, with microseconds, as 2026-01-31T10:00:00.000000Z."""


Time = Annotated[str, TimeText()]
Status = Annotated[str, OneOf.each(JobStatus)]
Kind = Annotated[str, OneOf.each(JobKind)]
ModeText = Annotated[str, OneOf.each(Mode)]
EventKind = Annotated[str, OneOf.each(JobEventKind)]
FailureClass = Annotated[str, OneOf.each(ErrorClass)]

# --- jobs -------------------------------------------------------------------------------

EventDocument = TypedDict(
    "EventDocument",
    {
        "attempt": Annotated[int, "The attempt that it happened in; 0 before the first."],
        "at": Annotated[Time, "When."],
        "event": Annotated[EventKind, "What happened."],
        "worker": Annotated[str | None, "The worker that ran the job, where one did."],
        "class": Annotated[str | None, "Of what class the error is, where there was one."],
        "message": Annotated[str | None, "What went wrong, as a sentence."],
        "detail": Annotated[str | None, "More of it: a traceback, the end of standard error."],
        "actor": Annotated[str | None, "Who asked for it, user@host, where an operator did."],
    },
)

ErrorDocument = TypedDict(
    "ErrorDocument",
    {
        "class": Annotated[
            str,
            OneOf(*ErrorClass, *JobStatus),
            "Of what class the error is; the job's status where it has no class.",
        ],
        "message": Annotated[str, "What went wrong in the last attempt, as a sentence."],
        "attempts": Annotated[list[EventDocument], "The job's history, oldest first."],
    },
)


class BriefJobDocument(TypedDict):
    """A job that a command was about."""

    id: Annotated[int, "The job's number."]
    status: Annotated[Status, "The status that the command found it in."]
    plugin: Annotated[str, "The plugin's name."]
    path: Annotated[str, "The file's path below its source root."]
    file_version_id: Annotated[int, "The version of the file that it reads."]


class OriginalDocument(TypedDict):
    """The job that does the content of a skipped file, and the file that it reads."""

    job_id: Annotated[int, "The job's number."]
    path: Annotated[str, "The path of its file, below the source root."]
    source_root: Annotated[str, "That file's source root, as an absolute path."]


class EnvironmentDocument(TypedDict):
    """What a plugin with packages of its own runs in."""

    digest: Annotated[str, "SHA-256 over all of it: its identity."]
    directory: Annotated[str, "Its directory below `[plugins] environments`."]
    python: Annotated[str, "The interpreter."]
    packages: Annotated[
        list[str], "Every package as `name==version`, those shared with the engine included."
    ]


class JobDocument(TypedDict):
    """One job: a plugin's run on one version of a file, or a removal of rows."""

    id: Annotated[int, "The job's number; `_casparian_job_id` of its rows."]
    kind: Annotated[
        Kind,
        "RUN: a plugin runs. PURGE: published rows are removed. WITHDRAW: so are those of the "
        "file's earlier versions, since another file's job does its content.",
    ]
    status: Annotated[Status, "How far it is."]
    plugin: Annotated[str, "The plugin's name."]
    plugin_hash: Annotated[str | None, "SHA-256 of the code that ran; null before the first."]
    sandbox: Annotated[
        str | None, "What stood around it, as its sidecar said; null before an attempt ended."
    ]
    environment_digest: Annotated[
        str | None, "What it ran in, where that was its plugin's own; null for the engine's."
    ]
    path: Annotated[str, "The file's path below its source root."]
    file_version_id: Annotated[int, "The version of the file that it reads."]
    duplicate_of: Annotated[
        OriginalDocument | None,
        "Who does its content, where the job is SKIPPED and somebody does; else null.",
    ]
    attempt: Annotated[int, "How often it was begun; 0 before the first time."]
    priority: Annotated[int, "Higher first: the highest of the rules that gave the tags."]
    rows: Annotated[int, "Rows it published, over all topics."]
    rejects: Annotated[int, "Of the rows read, those put aside in `_rejects`."]
    rows_read: Annotated[int, "`rows` and `rejects` together."]
    error: Annotated[ErrorDocument | None, "What went wrong last; null where nothing did."]
    worker: Annotated[str | None, "The worker that has it, or had it last."]
    enqueued_at: Annotated[Time, "When it was queued."]
    not_before: Annotated[Time, "It is not begun before."]
    started_at: Annotated[Time | None, "When its last attempt began."]
    finished_at: Annotated[Time | None, "When it ended; null while it has not."]


class PurgedByDocument(TypedDict):
    """Who had rows removed."""

    job_id: Annotated[int, "The purge's job."]
    actor: Annotated[str | None, "Who asked, user@host; null where its history was pruned."]
    at: Annotated[Time | None, "When the rows were gone."]


class OutputDocument(TypedDict):
    """What a job's decision says of one topic."""

    topic: Annotated[str, "The topic."]
    target: Annotated[str, "Where the topic's rows are: the sink's URI."]
    mode: Annotated[ModeText, "How the rows of a corrected file are published."]
    slot: Annotated[str, "The slot in the target that the rows are in."]
    bundle: Annotated[
        str | None, "The bundle that the slot lies in, where small outputs share one."
    ]
    emptied: Annotated[bool, "The job wrote no rows here: those of earlier jobs were removed."]
    rows: Annotated[int, "Rows it wrote."]
    digest: Annotated[str, "Digest of what was staged; empty where nothing was."]
    files: Annotated[list[str], "The files that hold the rows, below the slot; none in tables."]
    purged: Annotated[PurgedByDocument | None, "Who removed the rows since; null while they stand."]


class JobStoryDocument(JobDocument):
    """A job with its history and what it published."""

    events: Annotated[list[EventDocument], "Its history, oldest first."]
    outputs: Annotated[list[OutputDocument], "What was decided of its rows; none before that."]
    environment: Annotated[
        EnvironmentDocument | None, "What it ran in, where that was its plugin's own; else null."
    ]


class SubscribedJobDocument(JobStoryDocument):
    """A job with its history, and why its plugin got the file."""

    subscription: Annotated[list[str], "Tags of the version that the plugin wants now."]


class PublishedOutputDocument(TypedDict):
    """Rows of one plugin and file that stand in one place."""

    topic: Annotated[str, "The topic."]
    target: Annotated[str, "Where the rows are: the sink's URI."]
    mode: Annotated[ModeText, "How the rows of a corrected file are published."]
    slot: Annotated[str, "The slot in the target that the rows are in."]
    rows: Annotated[int | None, "How many; null where no job of this queue has published them."]
    job_id: Annotated[int | None, "The job that published them; null likewise."]


class PublishedDocument(TypedDict):
    """What stands of one plugin and file."""

    path: str
    source_root: str
    deleted: bool
    plugin: str
    location_id: int
    outputs: list[PublishedOutputDocument]


# --- files ------------------------------------------------------------------------------


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


# --- status -----------------------------------------------------------------------------


class LoadedWaitDocument(TypedDict):
    """Something that a process of the engine waits for."""

    what: Annotated[str, "What it is, as `sink PLACE`, `plugin NAME` or `database`."]
    reason: Annotated[str, "Why it cannot be used, as it was found last."]
    since: Annotated[Time, "Since when."]
    jobs: Annotated[int, "Jobs that are kept back by it, as far as this process knows."]


class LoadDocument(TypedDict, total=False):
    """What a worker is at. Of a scout alone only what it waits for is known."""

    jobs: Annotated[int, "Jobs that it holds."]
    sidecars: Annotated[dict[str, int], "Sidecars that run, by plugin."]
    sandbox: Annotated[dict[str, str], "What they say stands around them, by plugin."]
    ended: Annotated[dict[str, int], "Jobs that it has ended since it started, by how."]
    waits_for: Annotated[list[LoadedWaitDocument], "What it waits for; left out where nothing."]
    refused: Annotated[int, "Connections that its transport has refused since it started."]
    not_run: Annotated[dict[str, str], "Plugins that it does not run now, with the reason."]


class WorkerDocument(TypedDict):
    """A process of the engine."""

    id: Annotated[str, "Its name, unique for ever."]
    hostname: Annotated[str, "The host it runs on."]
    pid: Annotated[int, "Its process number there."]
    host_key: Annotated[str, "Which processes can see each other: host, boot, pid namespace."]
    pid_started: Annotated[int, "What tells it from a later process of the same number."]
    roles: Annotated[list[str], "scout, worker, both, or purge."]
    endpoint: Annotated[str, "Where its sidecars reach it; empty for a scout alone."]
    versions: Annotated[
        dict[str, str], "Versions of Casparian Flow, Python and libraries, by name."
    ]
    git_hash: Annotated[str, "The commit it was run from; empty where that is not known."]
    user: Annotated[str, "The user it runs as."]
    started_at: Annotated[Time, "When it started."]
    heartbeat_at: Annotated[Time, "When it was last heard of."]
    load: Annotated[LoadDocument, "What it is at, as of its last heartbeat."]
    stopped: Annotated[bool, "It has ended by itself."]
    alive: Annotated[bool, "It was heard of in the last 30 s, and has not stopped."]


class TopicDocument(TypedDict):
    """Where a plugin's topic goes."""

    topic: Annotated[str, "The topic; `*` for all that have no table of their own."]
    sink: Annotated[str, "The sink's URI."]
    mode: Annotated[ModeText, "How the rows of a corrected file are published."]


class PluginDocument(TypedDict):
    """One plugin of the configuration, or one that was."""

    name: Annotated[str, "Its name."]
    active: Annotated[bool, "It is in the configuration."]
    version: Annotated[int | None, "Which of its codes is in use, counted from 1; null for none."]
    content_hash: Annotated[str | None, "SHA-256 of its code; null for none."]
    origin: Annotated[str | None, "Where its code is from; null for none."]
    tags: Annotated[list[str], "Tags it wants."]
    topics: Annotated[list[TopicDocument], "Its topics."]
    quarantined: Annotated[str | None, "Why its code is under quarantine; null where it is not."]
    environment: Annotated[
        EnvironmentDocument | None, "What its code ran in last, where that is its own; else null."
    ]
    jobs: Annotated[dict[str, int], "How many jobs it has, by status."]


class SourceRootDocument(TypedDict):
    """One source root."""

    path: Annotated[str, "Its absolute path."]
    active: Annotated[bool, "It is in the configuration."]
    files: Annotated[int, "Files that are there."]
    deleted: Annotated[int, "Files that were there."]
    versions: Annotated[int, "Versions of all of them."]
    scout: Annotated[str | None, "The process that scans it; null while none does."]


class ThroughputDocument(TypedDict):
    """What was done lately."""

    window_s: Annotated[int, "Seconds that are looked back."]
    jobs: Annotated[int, "Jobs completed in that time."]
    rows: Annotated[int, "Rows that they published."]


class PruningDocument(TypedDict):
    """One time that old history was removed."""

    at: Annotated[Time, "When."]
    actor: Annotated[str, "By whom, user@host."]
    before: Annotated[Time, "What had ended before was removed."]
    jobs: Annotated[int, "Jobs that were removed."]
    events: Annotated[int, "Events of jobs that were removed."]


class WaitDocument(LoadedWaitDocument):
    """Something that a process of the engine, or this command, waits for."""

    worker: Annotated[str | None, "The process that waits; null where the command found it."]


class StatusDocument(TypedDict):
    """Counts, plugins, source roots and workers."""

    jobs: Annotated[dict[str, int], "How many jobs there are, by status."]
    files: Annotated[int, "Files that are there."]
    deleted: Annotated[int, "Files that were there."]
    versions: Annotated[int, "Versions of all of them."]
    workers: Annotated[list[WorkerDocument], "Processes of the engine, by host and number."]
    plugins: Annotated[list[PluginDocument], "Plugins, by name."]
    source_roots: Annotated[list[SourceRootDocument], "Source roots."]
    throughput: Annotated[ThroughputDocument, "What was done lately."]
    prunings: Annotated[
        list[PruningDocument], "When old history was removed, newest first, at most 10."
    ]


class ExpectedDocument(TypedDict):
    """What became today of one `[[expect]]`."""

    pattern: Annotated[str, "The pattern of the file's path."]
    by: Annotated[str, "The time of day that it is expected by."]
    time_zone: Annotated[str | None, "Whose time; null for the host's own."]
    days: Annotated[list[str] | None, "Days of the week, as mon; null for every day."]
    state: Annotated[str, OneOf.each(ExpectationState), "What became of it."]
    due_at: Annotated[Time, "When it is due."]
    path: Annotated[str | None, "The file that came first; null for none."]
    arrived_at: Annotated[Time | None, "When it came; null for none."]
    late: Annotated[bool, "It came after it was due."]


class QueueDocument(TypedDict):
    """How many jobs of one plugin have one status."""

    plugin: str
    status: str
    jobs: int
    age_s: float | None
