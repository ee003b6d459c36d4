"""What a person can do about a job that is not done, in whole sentences.

What went wrong stands in the job's error, and is not said again. Only commands that exist are
named.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from casparian.adapters.queue.common import iso
from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import JobKind, JobStatus, ProcessingJob

RETRY = "run `casparian retry {id}`"
MEND = "mend the plugin {plugin} or its settings, start the engine again and " + RETRY
FILE_OR_PLUGIN = (
    "Correct {path!r} and drop it again under the same name: it becomes a new version. "
    "Or, if the plugin was at fault, " + MEND + "."
)
PLUGIN = MEND[0].upper() + MEND[1:] + "."
TOPIC = (
    "Give the topic a table in [plugin.{plugin}.topics], or correct its name in the plugin; start "
    "the engine again and " + RETRY + "."
)
BACK = "Put {path!r} back: what is found there is a new version, with jobs of its own."
CAUSE = "When the cause is gone, " + RETRY + "."

REMEDIES = {
    ErrorClass.PLUGIN: PLUGIN,
    ErrorClass.QUARANTINED: PLUGIN,
    ErrorClass.PROTOCOL: PLUGIN,
    ErrorClass.UNKNOWN_TOPIC: TOPIC,
    ErrorClass.SOURCE_GONE: BACK,
    ErrorClass.SOURCE_CHANGED: CAUSE,
    ErrorClass.FOREIGN_ROWS: CAUSE,
    ErrorClass.ENGINE: CAUSE,
    ErrorClass.INFRASTRUCTURE: CAUSE,
    ErrorClass.CONFLICT: CAUSE,
}
"""By class of the error; every other may lie in the file or in the plugin."""


def job_advice(
    job: ProcessingJob, path: str, now_us: int, alive: bool, quarantined: Mapping[str, str]
) -> list[str]:
    """Sentences about a job of the current version, none where nothing need be done.

    `alive`: whether any worker is; `quarantined`: reason by plugin.
    """
    if job.kind is JobKind.PURGE and job.status in (JobStatus.FAILED, JobStatus.CANCELLED):
        return [_purge_again(job, path)]
    told = f"Job {job.id} ({job.plugin})"
    if job.status is JobStatus.FAILED:
        remedy = REMEDIES.get(job.error_class, FILE_OR_PLUGIN) if job.error_class else CAUSE
        return [remedy.format(path=path, plugin=job.plugin, id=job.id)]
    if job.status is JobStatus.BLOCKED:
        return [f"When the target is in order again, run `casparian retry {job.id}`."]
    if job.status is JobStatus.CANCELLED:
        return [f"{told} was cancelled: `casparian retry {job.id}` queues it again."]
    if job.status is JobStatus.QUEUED:
        return [_waiting(job, told, now_us, alive, quarantined)]
    return []


def purged_advice(job: ProcessingJob, path: str, actor: str | None, deleted: bool) -> str:
    """Of a purge that was done: how its rows would come back."""
    by = f" by {actor}" if actor else ""
    told = f"The rows that {job.plugin} had published of it were purged{by} at "
    told += f"{_moment(job.finished_at_us)} (job {job.id})"
    if deleted:
        return f"{told}."
    return f"{told}: `casparian forget {shlex.quote(path)}` has the file published again."


def _purge_again(job: ProcessingJob, path: str) -> str:
    again = f"run `casparian purge --path {shlex.quote(path)}` again where they are to go."
    told = f"Job {job.id} was to purge the rows of {job.plugin}"
    if job.status is JobStatus.CANCELLED:
        return f"{told} and was cancelled: {again}"
    return f"{told} and was given up: {again}"


def _waiting(
    job: ProcessingJob, told: str, now_us: int, alive: bool, quarantined: Mapping[str, str]
) -> str:
    if job.plugin in quarantined:
        return (
            f"{told} waits, since the plugin's code is under quarantine: "
            f"{_sentence(quarantined[job.plugin])} Mend the plugin and start the engine again."
        )
    if not alive:
        return f"{told} waits, and no worker is alive: start one by `casparian-engine run`."
    if job.not_before_us > now_us:
        return f"{told} is tried again by itself at {_moment(job.not_before_us)}."
    return f"{told} waits for its turn."


def _moment(at_us: int | None) -> str:
    """A time for people, to the second."""
    text = iso(at_us or 0)
    return f"{text[:10]} {text[11:19]} UTC"


def _sentence(text: str | None) -> str:
    """The text with a full stop, where it has no end of its own."""
    said = (text or "no reason was recorded").rstrip()
    return said if said.endswith((".", "!", "?")) else f"{said}."
