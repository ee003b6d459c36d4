"""`casparian status`, `files` and `jobs`: what the database says, as tables or as JSON."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._output import count, moment, show_json, show_table
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.app.cli._waiting import show_waits, waits_for
from casparian.app.cli._watch import watch
from casparian.app.cli.plugins import not_run_now
from casparian.app.printable import printable
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.statuses import JobStatus

if TYPE_CHECKING:
    from casparian.app.cli.shapes import StatusTodayDocument
    from casparian.domain.documents.jobs import ErrorDocument, JobDocument
    from casparian.domain.documents.status import ExpectedDocument, PluginDocument, WorkerDocument


def status(
    ctx: typer.Context,
    watching: Annotated[
        bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Counts of jobs and files, and the workers.

    Jobs by status and by plugin, files by source root, which expected files have come today, and
    how much was done lately. With
    --watch a terminal shows it anew every second; into a pipe goes one line for every change of
    the jobs. What engines wait for is named: a full disk, a sink that is away, a database that
    is locked. Where that is the queue's own database, the exit code is 3.

    Example: casparian status --watch
    """
    if watching and as_json:
        raise ConfigurationError("--watch has no end and --json is one document: leave one out.")
    settings = load_settings(ctx, config)
    from casparian.app.expectations import documents, expectations_of
    from casparian.app.waiting import HEARTBEAT_S

    expectations = expectations_of(settings)
    beat_s = min(HEARTBEAT_S, settings.worker.renew_s)
    with closing(open_stores(settings)) as stores:

        def look() -> StatusTodayDocument:
            now_us = time.time_ns() // 1000
            expected = documents(expectations, stores.reports, now_us)
            document = stores.reports.status()
            waits = waits_for(document, stores, beat_s)
            return {**document, "waits_for": waits, "expected": expected}

        if watching:
            watch(look, _show_status)
        document = look()
    if as_json:
        show_json(document)
    else:
        _show_status(document)
    for wait in document["waits_for"]:
        if wait["worker"] is None:
            raise UnavailableError(wait["reason"])


def _show_status(document: StatusTodayDocument) -> None:
    not_run = not_run_now(document["workers"])
    show_table(
        ("status", "jobs"), document["jobs"].items(), title="Jobs by status", numbers=["jobs"]
    )
    show_table(
        ("plugin", "version", "tags", "state", "jobs"),
        [_plugin_row(plugin, not_run.get(plugin["name"])) for plugin in document["plugins"]],
        title="Plugins",
    )
    show_table(
        ("source_root", "files", "deleted", "versions", "active", "scout"),
        [
            (
                root["path"],
                root["files"],
                root["deleted"],
                root["versions"],
                root["active"],
                root["scout"],
            )
            for root in document["source_roots"]
        ],
        title="Source roots",
        numbers=["files", "deleted", "versions"],
    )
    show_table(
        ("worker", "roles", "state", "heartbeat", "jobs", "sandbox"),
        [_worker_row(worker) for worker in document["workers"]],
        title="Workers",
        numbers=["jobs"],
    )
    show_waits(document["waits_for"])
    for worker in document["workers"]:
        refused = worker["load"].get("refused", 0)
        if refused and worker["alive"]:
            print(f"{worker['id']} has refused {count(refused, 'connection')}: its log says why.")
    if document["expected"]:
        show_table(
            ("expected", "by", "state", "path", "arrived"),
            [_expected_row(expected) for expected in document["expected"]],
            title="Expected files today",
        )
    if document["prunings"]:
        show_table(
            ("pruned", "by", "before", "jobs", "events"),
            [
                (moment(p["at"]), p["actor"], moment(p["before"]), p["jobs"], p["events"])
                for p in document["prunings"]
            ],
            title="History removed",
            numbers=["jobs", "events"],
        )
    lately = document["throughput"]
    print(
        f"{count(document['files'], 'file')}, {count(document['versions'], 'version')}; in the "
        f"last {lately['window_s']} s {count(lately['jobs'], 'job')} and "
        f"{count(lately['rows'], 'row')} were completed."
    )


def _plugin_row(plugin: PluginDocument, not_run: str | None) -> tuple[object, ...]:
    state = "active" if plugin["active"] else "not in the configuration"
    if plugin["quarantined"]:
        state = f"under quarantine: {plugin['quarantined']}"
    elif not_run:
        state = f"not run: {not_run}"
    jobs = ", ".join(f"{number} {status}" for status, number in plugin["jobs"].items())
    return plugin["name"], plugin["version"], ", ".join(plugin["tags"]), state, jobs


def _expected_row(expected: ExpectedDocument) -> tuple[object, ...]:
    state = "arrived late" if expected["late"] else expected["state"]
    by = f"{expected['by']} {expected['time_zone'] or ''}".strip()
    return expected["pattern"], by, state, expected["path"], moment(expected["arrived_at"])


def _worker_row(worker: WorkerDocument) -> tuple[object, ...]:
    state = "stopped" if worker["stopped"] else "alive" if worker["alive"] else "silent"
    return (
        worker["id"],
        ", ".join(worker["roles"]),
        state,
        moment(worker["heartbeat_at"]),
        worker["load"].get("jobs"),
        "; ".join(sorted(set(worker["load"].get("sandbox", {}).values()))),
    )


def files(ctx: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List files: current version and tags.

    Example: casparian files --config flights/casparian.toml
    """
    with closing(open_stores(load_settings(ctx, config))) as stores:
        documents = stores.reports.files()
    if as_json:
        show_json(documents)
        return
    show_table(
        ("path", "version", "size", "seen", "tags", "deleted", "content_hash", "source_root"),
        [
            (
                file["path"],
                file["version"],
                file["size"],
                moment(file["seen_at"]),
                ", ".join(file["tags"]),
                file["deleted"],
                (file["content_hash"] or "")[:12],
                file["source_root"],
            )
            for file in documents
        ],
        numbers=["version", "size"],
    )


def jobs(
    ctx: typer.Context,
    status: Annotated[
        str | None,
        typer.Option(
            "--status", help=f"Only jobs of this status: {', '.join(JobStatus)}.", metavar="STATUS"
        ),
    ] = None,
    plugin: Annotated[
        str | None, typer.Option("--plugin", help="Only jobs of this plugin.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List jobs, with the error of each that failed.

    Example: casparian jobs --status FAILED --plugin csv_table
    """
    wanted = _status_named(status)
    with closing(open_stores(load_settings(ctx, config))) as stores:
        documents = stores.reports.jobs(wanted, plugin)
        if plugin is not None and not documents:
            known = [one["name"] for one in stores.reports.status()["plugins"]]
            if plugin not in known:
                raise ConfigurationError(
                    f"There is no plugin {plugin!r}; known: {', '.join(known) or 'none'}."
                )
    if as_json:
        show_json(documents)
        return
    show_table(
        ("id", "status", "plugin", "attempt", "rows", "rejects", "path", "error"),
        [
            (
                job["id"],
                job["status"],
                job["plugin"]
                if job["kind"] == "RUN"
                else f"{job['plugin']} ({job['kind'].lower()})",
                job["attempt"],
                job["rows"],
                job["rejects"],
                job["path"],
                _remark(job),
            )
            for job in documents
        ],
        numbers=["id", "attempt", "rows", "rejects"],
    )


def _status_named(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return JobStatus(text.upper()).value
    except ValueError:
        raise ConfigurationError(
            f"There is no status {text!r}; known: {', '.join(JobStatus)}."
        ) from None


def _remark(job: JobDocument) -> str:
    if job["duplicate_of"] is not None:
        return printable(f"job {job['duplicate_of']['job_id']} does the same content")
    return _error_line(job["error"])


def _error_line(error: ErrorDocument | None) -> str:
    if error is None:
        return ""
    return printable(f"{error['class']}: {' '.join(error['message'].split())}")
