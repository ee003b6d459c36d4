"""`casparian adopt`: rows that this queue does not know become its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._jobs import actor
from casparian.app.cli._output import count, show_json, show_table
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.adoption import Adoption, Found, Rows
    from casparian.app.cli.change_shapes import AdoptedDocument, StandingRowsDocument
    from casparian.app.settings import Settings
    from casparian.domain.adoption import StandingSlot, TakenOver


def adopt(
    ctx: typer.Context,
    topics: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC", help="Topics whose rows are to be taken over."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="The rows of all topics.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over published rows that this queue does not know.

    Such rows stand in the way when the queue's database was made anew, or restored from an older
    copy: the engine refuses to start. They are shown first. Once they are taken over, the rows of
    each file are replaced when the file is published again, in one step; those of files that are
    no longer there stay as they are. The queue gets a new installation and numbers beyond all
    that were seen. No engine may run, on this queue or on one that published the rows. When it
    was interrupted, run it again.

    Exits with 2 when it would have to ask and there is no terminal, when a topic is not known,
    and while an engine runs; nothing is changed then.

    Example: casparian adopt output --yes
    """
    if bool(topics) == every:
        raise ConfigurationError("Name the topics to be taken over, or say --all.")
    settings = load_settings(ctx, config)
    with closing(open_stores(settings)) as stores:
        adoption = _adoption(settings, stores)
        found = adoption.look()
        chosen = found.chosen(None if every else _known(found, topics or (), settings))
        shown = _rows(found, chosen)
        _ask(adoption, shown, chosen, yes=yes, as_json=as_json)
        done = adoption.take_over(found, chosen, actor())
        taken = {id(slot) for slot in chosen}
        left = _rows(found, [slot for slot in found.others if id(slot) not in taken])
    if as_json:
        show_json(_document(shown, done, left))
    else:
        _tell(chosen, done, left)


def _adoption(settings: Settings, stores: QueueStores) -> Adoption:
    from casparian.adapters.queue import wall_clock_us
    from casparian.app.adoption import Adoption
    from casparian.app.configuration import resolve
    from casparian.app.context import EtlContext
    from casparian.app.registry import Registry
    from casparian.app.targets import Targets
    from casparian.domain.plugins import LivePlugin

    targets = Targets(Registry.default().sink_factories(settings))
    # Where rows go does not depend on the plugins' code, wherever that is.
    applied = resolve(settings, targets, deployed=list(settings.plugin))
    plugins = [LivePlugin(config, "") for config in applied.plugins]
    return Adoption(stores, targets, plugins, EtlContext.capture(), wall_clock_us)


def _known(found: Found, topics: Sequence[str], settings: Settings) -> set[str]:
    """The topics named. Raises ConfigurationError for one that is none."""
    standing = {slot.marker.topic for slots in found.slots.values() for slot in slots}
    configured = {topic for plugin in settings.plugin.values() for topic in plugin.topics}
    known = standing | configured
    unknown = [topic for topic in topics if topic not in known]
    if unknown:
        others = sorted({slot.marker.topic for slot in found.others})
        said = f"Rows that this queue does not know are of: {', '.join(others)}."
        raise ConfigurationError(
            f"There is no topic {unknown[0]!r}; nothing was taken over. "
            f"{said if others else 'No target holds rows that this queue does not know.'}"
        )
    return set(topics)


def _rows(found: Found, slots: Sequence[StandingSlot]) -> list[Rows]:
    from casparian.domain.adoption import Owner

    return found.rows(slots, (Owner.RESTORED, Owner.FOREIGN))


def _ask(
    adoption: Adoption,
    shown: Sequence[Rows],
    chosen: Sequence[StandingSlot],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Show what would be taken over, and go on only where that is wanted.

    Raises ConfigurationError where nobody can be asked.
    """
    if not chosen:
        return
    adoption.idle_workers()
    if not as_json:
        _show(shown)
    if yes:
        return
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigurationError(
            f"{_amount(chosen)} would be taken over; nothing was changed. Say --yes where nobody "
            "can be asked."
        )
    if not typer.confirm("Take them over?"):
        print("Nothing was changed.")
        raise typer.Exit


def _show(shown: Sequence[Rows]) -> None:
    show_table(
        ("topic", "plugin", "target", "installation", "files", "rows", "newest_job"),
        [
            (r.topic, r.plugin, r.target, r.installation[:12], r.files, r.rows, r.newest_job)
            for r in shown
        ],
        numbers=("files", "rows", "newest_job"),
    )


def _amount(chosen: Sequence[StandingSlot]) -> str:
    markers = [slot.marker for slot in chosen]
    files = len({(marker.root_path, marker.path) for marker in markers})
    return f"{count(sum(m.rows for m in markers), 'row')} of {count(files, 'file')}"


def _tell(chosen: Sequence[StandingSlot], done: TakenOver, left: Sequence[Rows]) -> None:
    if chosen:
        print(
            f"{_amount(chosen)} taken over; this queue is the installation "
            f"{done.installation[:12]} from now on."
        )
        for number, what in (
            (done.renumbered, "under another number from now on"),
            (done.again, "decided and not yet published, to be done again"),
            (done.enqueued, "enqueued, since rows in place of its own were taken over"),
        ):
            if number:
                print(f"{count(number, 'job')}: {what}.")
    elif done.renewals:
        print(f"{count(len(done.renewals), 'slot')} finished, which an earlier call had begun.")
    else:
        print("Nothing to take over: all rows of these topics are this queue's own.")
    for rows in left:
        print(
            f"Still not known to this queue: {count(rows.rows, 'row')} of topic {rows.topic} in "
            f"{rows.target}; no engine starts before `casparian adopt {rows.topic}`."
        )


def _document(shown: Sequence[Rows], done: TakenOver, left: Sequence[Rows]) -> AdoptedDocument:
    return {
        "installation": done.installation,
        "adopted": [_told(r) for r in shown],
        "left": [_told(r) for r in left],
        "slots": len(done.renewals),
        "jobs": {
            "renumbered": done.renumbered,
            "again": done.again,
            "enqueued": done.enqueued,
        },
    }


def _told(rows: Rows) -> StandingRowsDocument:
    return {
        "topic": rows.topic,
        "plugin": rows.plugin,
        "target": str(rows.target),
        "installation": rows.installation,
        "owner": str(rows.owner),
        "files": rows.files,
        "rows": rows.rows,
        "newest_job": rows.newest_job,
    }
