"""`casparian scan`: the configuration is applied, and every source root is walked once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import typer

from casparian.app.cli._output import count, show_json, show_table
from casparian.app.cli._shared import ConfigOption, Exit, JsonOption, load_settings
from casparian.app.printable import printable

if TYPE_CHECKING:
    from casparian.app.cli.shapes import ScanDocument
    from casparian.app.engine import Engine
    from casparian.domain.files import ScanReport, SourceRoot

NAMED_AT_MOST = 20


def scan(ctx: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look for new and changed files once.

    The configuration is applied before. A file that is not settled yet is deferred to a later
    scan, one that waits for its done marker is not taken before; one is deleted at the second
    complete scan without it. A source root that a running engine scans is left to that engine, and
    named. Exits with 1 when something could not be read, or was left.

    Example: casparian scan --config flights/casparian.toml
    """
    settings = load_settings(ctx, config)
    from casparian.app.engine import SCOUT, Engine
    from casparian.app.process import calm_the_collector, share_the_interpreter
    from casparian.domain.files import ScanReport, path_text

    calm_the_collector()
    share_the_interpreter()
    total = ScanReport()
    refused: list[str] = []
    with (
        closing(Engine(settings, (SCOUT,))) as engine,
        _own(engine, refused.append) as (enqueued, roots),
    ):
        scout = engine.container.scout()
        for root in roots:
            with _progress(path_text(root.path)) as on_progress:
                report = scout.scan(root, on_progress=on_progress)
            _name("deferred", root.path, report.deferred_paths)
            _name("unreadable", root.path, report.errors)
            _name("waiting", root.path, report.waiting_paths)
            total.add(report)
    if as_json:
        show_json(_document(total, enqueued, refused))
    else:
        show_table(("found", "files"), total.counts().items(), numbers=["files"])
        print(f"{count(total.jobs + enqueued, 'job')} enqueued.")
    for reason in refused:
        print(f"not scanned: {printable(reason)}", file=sys.stderr)
    if total.unreadable or refused:
        raise typer.Exit(Exit.FAILURES)


@contextmanager
def _own(
    engine: Engine, refused: Callable[[str], None]
) -> Iterator[tuple[int, Sequence[SourceRoot]]]:
    """Jobs that applying the configuration has queued, and the roots that no engine scans."""
    enqueued, roots = engine.apply(), engine.stores.catalog.roots()
    with engine.container.root_leases().turn(roots, threading.Event(), refused) as mine:
        yield enqueued, mine


def _document(total: ScanReport, enqueued: int, refused: list[str]) -> ScanDocument:
    """`enqueued`: jobs that applying the configuration has queued; `refused`: why roots were left
    to running engines."""
    return {
        "new": total.new,
        "changed": total.changed,
        "unchanged": total.unchanged,
        "deferred": total.deferred,
        "deleted": total.deleted,
        "unreadable": total.unreadable,
        "waiting": total.waiting,
        "complete": total.complete and not refused,
        "left": refused,
        "jobs": total.jobs + enqueued,
    }


def _name(what: str, root: bytes, reasons: Mapping[bytes, str]) -> None:
    """Say on standard error which files are meant, and why."""
    from casparian.domain.files import path_text

    top = path_text(root).rstrip("/")
    for path, reason in list(reasons.items())[:NAMED_AT_MOST]:
        name = f"{top}/{path_text(path)}" if path else top
        print(f"{what}: {printable(name)}: {printable(reason)}", file=sys.stderr)
    if len(reasons) > NAMED_AT_MOST:
        print(f"{what}: and {len(reasons) - NAMED_AT_MOST} more", file=sys.stderr)


@contextmanager
def _progress(root: str) -> Iterator[Any]:
    """Counts of the scan so far, on a terminal; nothing is known of how many are to come."""
    if not sys.stderr.isatty():
        yield lambda report: None
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    with console.status(escape(printable(root))) as shown:

        def on_progress(report: ScanReport) -> None:
            met = sum(report.counts().values())
            shown.update(f"{escape(printable(root))}: {count(met, 'file')}, {report.new:,} new")

        yield on_progress
