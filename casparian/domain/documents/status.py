"""What the operator is told of the engine: processes, plugins, source roots, what is due."""

from __future__ import annotations

from typing import Annotated, TypedDict

from casparian.domain.documents.jobs import EnvironmentDocument
from casparian.domain.documents.texts import ModeText, OneOf, Time
from casparian.domain.expectations import ExpectationState


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
