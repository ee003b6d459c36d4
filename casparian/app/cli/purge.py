"""`casparian purge`: the published rows of files are removed, and it is known who asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from casparian.app.cli._jobs import actor
from casparian.app.cli._output import count, show_json, show_table
from casparian.app.cli._shared import ConfigOption, Exit, JsonOption, load_settings, open_stores
from casparian.app.printable import printable
from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.cli.change_shapes import LeftFileDocument, PurgedDocument, PurgedFileDocument
    from casparian.app.purging import End, Key
    from casparian.app.settings import Settings
    from casparian.domain.documents.jobs import PublishedDocument

    Standing = PublishedDocument | PurgedFileDocument

NAMED_AT_MOST = 20


def purge(
    ctx: typer.Context,
    path: Annotated[
        str,
        typer.Option(
            "--path",
            metavar="GLOB",
            help="Files whose path below the source root matches, as in a [[rule]].",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the published rows of files.

    Those of every plugin and topic, rejects too, in whatever target they are; also of files that
    are no longer there. What would go is shown first, and asked about. The files themselves,
    their versions and their history stay: a new version is published as ever, and `casparian
    forget` makes one of a file that has not changed.

    The rows of a file on which a job waits or runs are left. Engines may run; none needs to.

    Exits with 1 when rows were left, and with 2, with nothing changed, when no known file
    matches, and when it would have to ask and there is no terminal.

    Example: casparian purge --path 'flights/2013-*.csv'
    """
    settings = load_settings(ctx, config)
    from casparian.domain.routing import compile_glob

    glob = compile_glob(path)
    ends: Mapping[Key, End] = {}
    with closing(open_stores(settings)) as stores:
        found = stores.reports.published(lambda name: glob.fullmatch(name) is not None)
        if not found:
            _check_known(stores, path)
        elif _agreed(found, yes=yes, as_json=as_json):
            ends = _purge(settings, stores, [_key(file) for file in found])
        elif not as_json:
            print("Nothing was removed.")
            return
    purged = [_told(f, ends[_key(f)]) for f in found if not ends[_key(f)].reason]
    left: list[LeftFileDocument] = [
        {**_told(f, ends[_key(f)]), "reason": ends[_key(f)].reason}
        for f in found
        if ends[_key(f)].reason
    ]
    if as_json:
        document: PurgedDocument = {"purged": purged, "left": left}
        show_json(document)
    else:
        _show_done(purged, left)
    if left:
        raise typer.Exit(Exit.FAILURES)


# --- before -----------------------------------------------------------------------------------


def _check_known(stores: QueueStores, path: str) -> None:
    """Raises ConfigurationError where not even a file without published rows matches."""
    from casparian.domain.routing import compile_glob

    glob = compile_glob(path)
    if not any(glob.fullmatch(file["path"]) for file in stores.reports.files()):
        raise ConfigurationError(
            f"No known file matches {path!r}; nothing was removed. The pattern is held against "
            "the path below the source root, `**` spans directories, and `casparian files` lists "
            "what is known."
        )


def _agreed(found: Sequence[PublishedDocument], *, yes: bool, as_json: bool) -> bool:
    """Show what would go, and ask. Raises ConfigurationError where nobody can be asked."""
    if not as_json:
        _show_what_goes(found)
    if yes:
        return True
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError(
            f"{_amount(found)} would be removed; nothing was. Say --yes where nobody can be asked."
        )
    return typer.confirm(f"Remove {_amount(found)}?")


def _show_what_goes(found: Sequence[PublishedDocument]) -> None:
    outputs = [(file, output) for file in found for output in file["outputs"]]
    show_table(
        ("path", "plugin", "topic", "rows", "target", "deleted"),
        [
            (f["path"], f["plugin"], o["topic"], o["rows"], o["target"], f["deleted"])
            for f, o in outputs[:NAMED_AT_MOST]
        ],
        numbers=["rows"],
    )
    if len(outputs) <= NAMED_AT_MOST:
        return
    print(f"and {len(outputs) - NAMED_AT_MOST} more; by target:")
    targets: dict[str, list[PublishedDocument]] = {}
    for file, output in outputs:
        targets.setdefault(output["target"], []).append({**file, "outputs": [output]})
    show_table(
        ("target", "files", "rows"),
        [(name, _files(files), _rows(files)) for name, files in sorted(targets.items())],
        numbers=["files", "rows"],
    )


# --- purging ----------------------------------------------------------------------------------


def _purge(settings: Settings, stores: QueueStores, keys: Sequence[Key]) -> Mapping[Key, End]:
    from casparian.app.purging import Purger
    from casparian.app.registry import Registry
    from casparian.app.targets import Targets

    targets = Targets(Registry.default().sink_factories(settings))
    with _progress(len(keys)) as (tell, advance):
        purger = Purger(settings, stores, targets, actor(), tell)
        purger.start(keys)
        ends: dict[Key, End] = {}
        try:
            for end in purger.purge(keys):
                ends[end.key] = end
                advance()
        finally:
            purger.close()
    return ends


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """How to tell that something is waited for, and a step of a bar that a terminal shows."""
    if not sys.stderr.isatty():
        yield lambda said: print(printable(said), file=sys.stderr), lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("purging"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    from rich.console import Console

    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        bar = shown.add_task("purging", total=total)
        yield (
            lambda said: shown.console.print(printable(said), markup=False, highlight=False),
            lambda: shown.advance(bar),
        )


# --- after ------------------------------------------------------------------------------------


def _show_done(purged: Sequence[PurgedFileDocument], left: Sequence[LeftFileDocument]) -> None:
    if not purged and not left:
        print("No rows of these files are published; nothing was removed.")
        return
    print(f"{_amount(purged)} removed.")
    for file in left:
        name = printable(f"{file['path']} ({file['plugin']})")
        print(f"{name} was left: {printable(file['reason'])}.")


def _told(file: PublishedDocument, end: End) -> PurgedFileDocument:
    return {
        "path": file["path"],
        "source_root": file["source_root"],
        "deleted": file["deleted"],
        "plugin": file["plugin"],
        "outputs": file["outputs"],
        "job_id": end.job_id,
    }


def _key(file: PublishedDocument) -> Key:
    return file["plugin"], file["location_id"]


def _amount(files: Sequence[Standing]) -> str:
    return f"{count(_rows(files), 'row')} of {count(_files(files), 'file')}"


def _files(files: Sequence[Standing]) -> int:
    return len({(file["source_root"], file["path"]) for file in files})


def _rows(files: Sequence[Standing]) -> int:
    """Those that jobs of this queue have published."""
    return sum(output["rows"] or 0 for file in files for output in file["outputs"])
