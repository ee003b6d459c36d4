"""What the operator is told of jobs, their history and what they published."""

from __future__ import annotations

from typing import Annotated, TypedDict

from casparian.domain.documents.texts import EventKind, Kind, ModeText, OneOf, Status, Time
from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import JobStatus

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
