"""`casparian backfill`: rows that other code has made are made anew by the live code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._jobs import actor, moment_of
from casparian.app.cli._output import count, show_json, show_table
from casparian.app.cli._shared import ConfigOption, Exit, JsonOption, load_settings, open_stores
from casparian.app.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian.adapters.queue import QueueStores
    from casparian.app.backfilling import Left, Plan
    from casparian.app.cli.change_shapes import (
        BackfilledDocument,
        LeftVersionDocument,
        OutdatedVersionDocument,
    )
    from casparian.app.settings import Settings
    from casparian.domain.backfill import Outdated
    from casparian.domain.plugins import LivePlugin

NAMED_AT_MOST = 20


def backfill(
    ctx: typer.Context,
    plugin: Annotated[str, typer.Argument(metavar="PLUGIN", help="The plugin, by its name.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="DATE",
            help="Only versions first seen since: 2026-01-31, or 2026-01-31T10:00:00, UTC.",
        ),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(
            "--path",
            metavar="GLOB",
            help="Only files whose path below the source root matches, as in a [[rule]].",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue jobs for versions of files whose rows other code of a plugin has made.

    A change of a plugin's code changes no rows by itself. This enqueues a job for each version
    whose newest rows are not the live code's: of mode replace the version that stands, of mode
    append every one. The new rows take the place of the old ones when they are published. These
    jobs run when no other job of an engine waits. Called again, it enqueues nothing twice. On a
    terminal, what would be done is shown first and asked about.

    Versions whose bytes are gone are left and named, unless [archive] has kept them; so is one
    whose job has failed since, which is for `casparian retry`.

    Exits with 1 when versions were left that have no job, and with 2, with nothing changed, for
    a plugin that does not run.

    Example: casparian backfill csv_table --dry-run --path '2013/*.csv'
    """
    settings = load_settings(ctx, config)
    since_us = moment_of("--since", since) if since else 0
    matches = _matcher(path)
    with closing(open_stores(settings)) as stores:
        from casparian.app.backfilling import backfills_of, running_plugin

        live = running_plugin(stores, plugin)
        _tell_of_other_code(settings, stores, live)
        planned = _plan(settings, stores, plugin, matches, since_us)
        made: Mapping[int, int] = {}
        if not as_json:
            _show_plan(planned)
        if planned.ready and not dry_run:
            if not _agreed(planned, ask=not (yes or as_json)):
                print("Nothing was enqueued.")
                return
            ids = [version.version_id for version in planned.ready]
            made = backfills_of(stores).enqueue_backfills(plugin, ids, actor())
        jobs = stores.reports.jobs("FAILED", plugin)
    before = {job["id"] for job in jobs if job["plugin_hash"] != live.content_hash}
    named = {left.version.in_the_way.job_id for left in planned.left if left.version.in_the_way}
    versions = [_told(version, made.get(version.version_id)) for version in planned.ready]
    document: BackfilledDocument = {
        "plugin": plugin,
        "plugin_hash": live.content_hash,
        "dry_run": dry_run,
        "rows": _rows(planned.ready),
        "versions": versions,
        "left": [_told_left(left) for left in planned.left],
        "failed": len(before - named),
    }
    if as_json:
        show_json(document)
    else:
        _show_done(document, made)
    if not dry_run and not all(left.passing for left in planned.left):
        raise typer.Exit(Exit.FAILURES)


# --- before -----------------------------------------------------------------------------------


def _matcher(path: str | None) -> Callable[[bytes], bool]:
    if path is None:
        return lambda name: True
    from casparian.domain.files import path_text
    from casparian.domain.routing import compile_glob

    glob = compile_glob(path)
    return lambda name: glob.fullmatch(path_text(name)) is not None


def _plan(
    settings: Settings,
    stores: QueueStores,
    plugin: str,
    matches: Callable[[bytes], bool],
    since_us: int,
) -> Plan:
    from casparian.adapters.files import LocalFileSource
    from casparian.app.backfilling import backfills_of, plan
    from casparian.app.root_rules import unpack_limits, version_archive
    from casparian.app.unpacked import Unpacked
    from casparian.app.verify import ContentCheck

    # Nothing is read, so nothing is written to its directory either.
    check = ContentCheck(
        LocalFileSource(), "stat", "", Unpacked(unpack_limits(settings)), version_archive(settings)
    )
    return plan(backfills_of(stores).outdated(plugin), check, matches, since_us)


def _tell_of_other_code(settings: Settings, stores: QueueStores, live: LivePlugin) -> None:
    """What lies in the plugin directory is not live before an engine has taken it up."""
    from casparian.app.loader import PluginRegistry

    registry = PluginRegistry(settings.plugin_directory)
    manifest = stores.store.manifest(live.content_hash)
    if manifest.origin == "directory" and live.name in registry.names():
        file_hash = registry.manifest(live.name).content_hash
        if file_hash != live.content_hash:
            print(
                f"note: the file of {live.name} has the code {file_hash[:12]}, and "
                f"{live.content_hash[:12]} is live: an engine that starts takes it up.",
                file=sys.stderr,
            )


def _agreed(planned: Plan, *, ask: bool) -> bool:
    if not (ask and sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    return typer.confirm(f"Make {_amount(planned.ready)} anew?")


# --- showing ----------------------------------------------------------------------------------


def _show_plan(planned: Plan) -> None:
    if not planned.ready:
        return
    show_table(
        ("path", "version", "rows", "made by job", "with code"),
        [
            (_path(v), v.ordinal, v.rows, v.job_id, v.plugin_hash[:12])
            for v in planned.ready[:NAMED_AT_MOST]
        ],
        numbers=["version", "rows", "made by job"],
    )
    if len(planned.ready) > NAMED_AT_MOST:
        print(f"and {len(planned.ready) - NAMED_AT_MOST:,} more")


def _show_done(document: BackfilledDocument, made: Mapping[int, int]) -> None:
    if document["dry_run"]:
        versions = count(len(document["versions"]), "version")
        print(f"{count(document['rows'], 'row')} of {versions} would be made anew.")
    elif not document["versions"] and not document["left"]:
        print(f"All rows of {document['plugin']} are the live code's; nothing was enqueued.")
    else:
        print(f"{count(len(made), 'job')} enqueued.")
    for left in document["left"][:NAMED_AT_MOST]:
        print(f"{printable(left['path'])} is left: {printable(left['reason'])}.")
    if len(document["left"]) > NAMED_AT_MOST:
        print(f"and {len(document['left']) - NAMED_AT_MOST:,} more; --json names them all")
    if document["failed"]:
        print(
            f"{count(document['failed'], 'job')} failed with other code: `casparian retry --failed "
            f"--plugin {document['plugin']}` runs what failed with the live one."
        )


def _told(version: Outdated, job_id: int | None) -> OutdatedVersionDocument:
    from casparian.domain.files import path_text

    return {
        "path": _path(version),
        "source_root": path_text(version.root_path),
        "file_version_id": version.version_id,
        "version": version.ordinal,
        "rows": version.rows,
        "made_by": version.job_id,
        "plugin_hash": version.plugin_hash,
        "job_id": job_id,
    }


def _told_left(left: Left) -> LeftVersionDocument:
    job = left.version.in_the_way
    told = _told(left.version, job.job_id if job is not None else None)
    return {**told, "reason": left.reason}


def _path(version: Outdated) -> str:
    from casparian.domain.files import path_text

    return path_text(version.path)


def _amount(versions: Sequence[Outdated]) -> str:
    return f"{count(_rows(versions), 'row')} of {count(len(versions), 'version')}"


def _rows(versions: Sequence[Outdated]) -> int:
    return sum(version.rows for version in versions)
