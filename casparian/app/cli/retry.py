"""`casparian retry`: jobs that ended without rows are queued again, and it is known by whom."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._jobs import actor, brief, numbered
from casparian.app.cli._output import count, show_json, show_table
from casparian.app.cli._shared import ConfigOption, Exit, JsonOption, load_settings, open_stores
from casparian.domain.errors import ConfigurationError
from casparian.domain.statuses import JobKind, JobStatus

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.cli.change_shapes import LeftJobDocument, RetriedDocument
    from casparian.domain.documents.jobs import BriefJobDocument, JobDocument

RETRYABLE = (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.BLOCKED)

WHY_NOT = {
    JobStatus.QUEUED: "it waits already",
    JobStatus.RUNNING: "it is being worked on",
    JobStatus.PROMOTING: "its rows are being published",
    JobStatus.COMPLETED: "its rows are published",
    JobStatus.SUPERSEDED: "a newer version of its file stands, or another job is in its place",
    JobStatus.SKIPPED: "another file's job does the same content",
    JobStatus.BLOCKED: "another job of the same plugin and file is publishing; try again after it",
}


def retry(
    ctx: typer.Context,
    job_ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="JOB_ID", help="Jobs by number.", show_default=False),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Every FAILED job.")] = False,
    path: Annotated[
        str | None,
        typer.Option(
            "--path",
            metavar="GLOB",
            help="Jobs of the files whose path below the source root matches, as in a [[rule]].",
        ),
    ] = None,
    plugin: Annotated[
        str | None, typer.Option("--plugin", metavar="NAME", help="Jobs of this plugin.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue jobs again that FAILED, were CANCELLED, or are BLOCKED.

    Give numbers or options; of several options, a job must satisfy all. Its tries are counted
    anew, and its history says who asked. A running engine takes the jobs at once, with the
    code of their plugins that it started with.

    Exits with 1 when a job that was named by its number cannot be retried, and with 2, with
    nothing changed, when there is none of that number.

    Example: casparian retry --failed --path '2013/*.csv'
    """
    by_options = failed or path is not None or plugin is not None
    if bool(job_ids) == by_options:
        raise ConfigurationError(
            "Say which jobs: either their numbers, or --failed, --path or --plugin."
        )
    with closing(open_stores(load_settings(ctx, config))) as stores:
        if job_ids:
            chosen = numbered(stores, job_ids, "queued again")
        else:
            chosen = _selected(stores, failed, path, plugin)
        ids = [j["id"] for j in chosen if j["status"] in RETRYABLE and not _is_given_up(j)]
        queued = set(stores.queue.retry(ids, actor()))
    again = [brief(job) for job in chosen if job["id"] in queued]
    left = [_left(job) for job in chosen if job["id"] not in queued]
    if as_json:
        document: RetriedDocument = {"retried": again, "left": left}
        show_json(document)
    else:
        _show(again, left)
    if left and job_ids:
        raise typer.Exit(Exit.FAILURES)


# --- which jobs -------------------------------------------------------------------------------


def _selected(
    stores: QueueStores, failed: bool, path: str | None, plugin: str | None
) -> list[JobDocument]:
    """Every job that satisfies the options and has a status that can be retried."""
    from casparian.domain.routing import compile_glob

    glob = compile_glob(path) if path is not None else None
    known = [one["name"] for one in stores.reports.status()["plugins"]]
    if plugin is not None and plugin not in known:
        raise ConfigurationError(
            f"There is no plugin {plugin!r}; known: {', '.join(known) or 'none'}."
        )
    statuses = (JobStatus.FAILED,) if failed else RETRYABLE
    jobs = [
        job
        for status in statuses
        for job in stores.reports.jobs(status.value, plugin)
        if not _is_given_up(job)
    ]
    if glob is not None:
        jobs = [job for job in jobs if glob.fullmatch(job["path"])]
    return sorted(jobs, key=lambda job: job["id"])


def _is_given_up(job: JobDocument) -> bool:
    """True for a purge for which nothing was decided: it runs no plugin, and is not queued."""
    return job["kind"] == JobKind.PURGE and job["status"] != JobStatus.BLOCKED


# --- what is said -----------------------------------------------------------------------------


def _left(job: JobDocument) -> LeftJobDocument:
    # A job that can be retried and was not has been changed by somebody since it was read.
    reason = WHY_NOT.get(JobStatus(job["status"]), "it has changed since; look at it again")
    if job["kind"] == JobKind.PURGE:
        reason = _of_purge(job)
    return {**brief(job), "reason": reason}


def _of_purge(job: JobDocument) -> str:
    match JobStatus(job["status"]):
        case JobStatus.FAILED | JobStatus.CANCELLED:
            return f"it is a purge; run `casparian purge --path {shlex.quote(job['path'])}` again"
        case JobStatus.COMPLETED:
            return "it is a purge, and done"
        case _:
            return "it is a purge, and goes on by itself"


def _show(again: Sequence[BriefJobDocument], left: Sequence[LeftJobDocument]) -> None:
    if not again and not left:
        print(f"No {', '.join(RETRYABLE[:-1])} or {RETRYABLE[-1]} job fits; nothing was changed.")
        return
    if again:
        show_table(
            ("id", "was", "plugin", "path"),
            [(job["id"], job["status"], job["plugin"], job["path"]) for job in again],
            numbers=["id"],
        )
    print(f"{count(len(again), 'job')} queued again.")
    for job in left:
        print(f"Job {job['id']} is {job['status']} and was left: {job['reason']}.")
