"""What a backfill of a plugin enqueues: outdated versions whose bytes can still be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from casparian.adapters.queue import QueueStores
from casparian.app.verify import ContentCheck
from casparian.domain.backfill import Backfills, InTheWay, Outdated
from casparian.domain.errors import ConfigurationError, JobError
from casparian.domain.jobs import Claim, JobStatus
from casparian.domain.plugins import LivePlugin

WHY_LEFT = {
    JobStatus.QUEUED: "job {id} waits to run on it",
    JobStatus.RUNNING: "job {id} is running on it",
    JobStatus.PROMOTING: "job {id} publishes rows of it",
    JobStatus.FAILED: "job {id} has failed on it since; `casparian retry {id}` runs it again",
    JobStatus.BLOCKED: "job {id} is blocked since; `casparian retry {id}` takes it up again",
    JobStatus.SKIPPED: "job {id} leaves it to another file of the same content",
}
PASSING = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PROMOTING)


class Left(NamedTuple):
    """A version that gets no job. `passing`: it has one already."""

    version: Outdated
    reason: str
    passing: bool


class Plan(NamedTuple):
    """The versions that get a job, by id, and those that do not."""

    ready: list[Outdated]
    left: list[Left]


def backfills_of(stores: QueueStores) -> Backfills:
    """Raises ConfigurationError for a queue that cannot tell what is outdated."""
    backfills: Backfills | None = getattr(stores, "backfills", None)
    if backfills is None:
        raise ConfigurationError(
            "The adapter of [queue] cannot tell which rows other code has made (it has no port "
            "Backfills): use sqlite, postgresql or mssql."
        )
    return backfills


def running_plugin(stores: QueueStores, name: str) -> LivePlugin:
    """Raises ConfigurationError for one whose jobs no engine would run."""
    live = {plugin.name: plugin for plugin in stores.store.live()}
    if name not in live:
        known = [plugin["name"] for plugin in stores.reports.status()["plugins"]]
        if name in known:
            raise ConfigurationError(
                f"The plugin {name!r} is not in the configuration any more, or has no code: its "
                "jobs would not run. `casparian plugins` shows its state."
            )
        raise ConfigurationError(
            f"There is no plugin {name!r}; known: {', '.join(known) or 'none'}."
        )
    if live[name].quarantined:
        raise ConfigurationError(
            f"The live code of plugin {name!r} is under quarantine: its jobs would not run. "
            "`casparian plugins` says why; install other code first."
        )
    return live[name]


def plan(
    outdated: Iterable[Outdated],
    check: ContentCheck,
    matches: Callable[[bytes], bool],
    since_us: int = 0,
) -> Plan:
    """Of the versions first seen since then, at paths that match."""
    ready: list[Outdated] = []
    left: list[Left] = []
    for version in outdated:
        if version.seen_at_us < since_us or not matches(version.path):
            continue
        why = _in_the_way(version.in_the_way) or _not_readable(version, check)
        if why:
            busy = version.in_the_way is not None and version.in_the_way.status in PASSING
            left.append(Left(version, why, busy))
        else:
            ready.append(version)
    return Plan(ready, left)


def _in_the_way(job: InTheWay | None) -> str:
    return "" if job is None else WHY_LEFT[job.status].format(id=job.job_id)


def _not_readable(version: Outdated, check: ContentCheck) -> str:
    claim = Claim(
        0,
        version.plugin,
        version.plugin_hash,
        0,
        "",
        version.version_id,
        version.location_id,
        version.ordinal,
        version.root_path,
        version.path,
        version.content_hash,
        version.identity,
    )
    try:
        check.look(claim, version.current)
    except JobError as error:
        return error.message.rstrip(".")
    return ""
