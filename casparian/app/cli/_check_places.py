"""Checks of places: source roots, the queue's database, the sinks and whose rows they hold."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import combinations

from casparian.adapters.queue import QueueStores
from casparian.app.cli._findings import Finding, Findings, ok, problem, warning
from casparian.app.configuration import resolve
from casparian.app.places import inside
from casparian.app.registry import Registry
from casparian.app.root_rules import described
from casparian.app.settings import Settings
from casparian.app.sink_guard import doubt, missing_place, owners, ways_out
from casparian.app.targets import Targets
from casparian.domain.adoption import Owner
from casparian.domain.errors import CasparianError, ConfigurationError, UnavailableError
from casparian.domain.files import path_text
from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import PublishLedger, Sink

ROOTS = "[[source_root]]"
DATABASE = "[database]"
CLOCK = "clock"
SKEW_US = 1_000_000


# --- source roots -----------------------------------------------------------------------------


def check_roots(settings: Settings) -> Findings:
    paths = list(dict.fromkeys(str(settings.path(r.path)) for r in settings.source_root))
    if not paths:
        yield warning(ROOTS, "There is no source root: nothing is looked at.", "Add one.")
    for path in paths:
        yield _root(path, settings)
    for one, other in combinations(paths, 2):
        for outer, inner in ((one, other), (other, one)):
            if inside(inner, outer):
                yield problem(
                    f"{ROOTS} {inner}",
                    f"It lies in the source root {outer}: each file in it is met twice.",
                    "Leave one of them out; rules tell their files apart by pattern.",
                )
                break


def _root(path: str, settings: Settings) -> Finding:
    where = f"{ROOTS} {path}"
    if not os.path.exists(path):
        return problem(where, "The directory does not exist.", "Make or mount it.")
    if not os.path.isdir(path):
        return problem(where, "It is no directory.", "Name the directory that files come to.")
    if not os.access(path, os.R_OK | os.X_OK):
        return problem(where, "It may not be read.", "Give the engine's user the right to.")
    rules = described(settings, path)
    return ok(where, f"The directory is there and may be read{rules}.")


# --- the queue database -----------------------------------------------------------------------


def check_database(settings: Settings, registry: Registry) -> Findings:
    """The schema and the clock of a database that is there; none is made."""
    from casparian.adapters.queue import wall_clock_us

    try:
        stores = registry.stores(settings, wall_clock_us, create=False)
    except ConfigurationError as error:
        where = "[queue] adapter" if settings.queue.adapter else DATABASE
        yield problem(where, str(error), "Correct [database] url, or [queue] adapter.")
    except UnavailableError as error:
        if _file_is_missing(settings):
            yield warning(
                DATABASE,
                f"There is no database yet at {settings.database_url}.",
                "`casparian-engine run` or `casparian scan` makes it.",
            )
        else:
            yield problem(DATABASE, str(error), "See that it can be reached.")
    except CasparianError as error:
        yield problem(DATABASE, str(error), "Run `casparian upgrade`, or correct [database] url.")
    else:
        with closing(stores):
            yield ok(
                DATABASE, f"{_schema(settings)}installation {stores.ledger.installation[:12]}."
            )
            yield check_clocks(stores)
            yield from check_scouts(stores)


def _schema(settings: Settings) -> str:
    """Of a built-in adapter's database; others look after theirs themselves."""
    from casparian.adapters.queue import SCHEMES, url_schema

    if settings.database_url.partition("://")[0].partition("+")[0] not in SCHEMES:
        return ""
    state = url_schema(settings.database_url)
    return f"Schema {state.revision}, fingerprint {state.fingerprint[:16]}, "


def check_clocks(stores: QueueStores) -> Finding:
    """Leases and backoffs compare times that several hosts write: their clocks must agree."""
    now = _now_us()
    ahead = {
        f"the worker on {node.hostname}": node.heartbeat_at_us - now
        for node in stores.queue.workers()
        if node.heartbeat_at_us - now > SKEW_US
    }
    if stores.database_clock is not None:
        difference = stores.database_clock() - now
        if abs(difference) > SKEW_US:
            ahead["the database"] = difference
    if not ahead:
        return ok(CLOCK, "No clock was seen to differ by more than a second.")
    told = ", ".join(
        f"that of {who} is {abs(us) / 1e6:,.1f} s {'ahead' if us > 0 else 'behind'}"
        for who, us in ahead.items()
    )
    return problem(
        CLOCK,
        f"Clocks differ from this host's: {told}; leases would end too early or too late.",
        "Run a time service (chrony, systemd-timesyncd) on every host.",
    )


def check_scouts(stores: QueueStores) -> Findings:
    """Who scans each source root; one that was left without a word is told."""
    if stores.scout_leases is None:
        return
    leases = {lease.fence.root_id: lease for lease in stores.scout_leases.standing()}
    now = (stores.database_clock or _now_us)()
    for root in stores.catalog.roots():
        where = f"{ROOTS} {path_text(root.path)}"
        lease = leases.get(root.id)
        if lease is None:
            yield ok(where, "No engine scans it now.")
        elif lease.until_us > now:
            yield ok(where, f"The engine {lease.scanner.id} scans it.")
        else:
            silent_s = (now - lease.until_us) / 1e6
            yield warning(
                where,
                f"The engine {lease.scanner.id} scanned it and has not renewed its lease for "
                f"{silent_s:,.0f} s more than it may: it was killed or cut off, and no other took "
                "its place.",
                "Start an engine with the scout's role: it takes the root over at once.",
            )


def _now_us() -> int:
    return time.time_ns() // 1000


def _file_is_missing(settings: Settings) -> bool:
    url = settings.database_url
    return url.startswith("sqlite:///") and not os.path.exists(url.removeprefix("sqlite:///"))


# --- sinks ------------------------------------------------------------------------------------


def check_sinks(settings: Settings, targets: Targets, registry: Registry) -> Findings:
    """Every sink that can be opened is tried, as the engine does when it starts."""
    sinks = sinks_of(settings, targets)
    yield from check_outputs(settings, sinks)
    with _ledger(settings, registry) as ledger:
        for sink in sinks:
            where = f"{sink.scheme}://{sink.location}"
            try:
                if ledger is not None and (missing := missing_place(sink, ledger)):
                    raise UnavailableError(missing)
                sink.check()
                foreign = _foreign_rows(sink, ledger)
            except CasparianError as error:
                yield problem(where, str(error), "Correct what it says, or choose another sink.")
                continue
            if foreign is not None:
                yield problem(where, *foreign)
            else:
                yield ok(where, "Rows can be published there in one step.")


def check_outputs(settings: Settings, sinks: Iterable[Sink]) -> Findings:
    """What the engine writes must not be found by its own scans."""
    written = [(f"{s.scheme}://{s.location}", s.location) for s in sinks]
    url = settings.database_url
    if url.startswith("sqlite:///"):
        written.append((DATABASE, url.removeprefix("sqlite:///")))
    roots = [str(settings.path(root.path)) for root in settings.source_root]
    for where, path in written:
        for root in roots:
            if os.path.isabs(path) and inside(path, root):
                yield problem(
                    where,
                    f"It lies in the source root {root}: what is written would be taken for input, "
                    "and every plugin may read it.",
                    "Let it be written outside of every source root.",
                )


def sinks_of(settings: Settings, targets: Targets) -> Sequence[Sink]:
    """The sinks of every plugin that is configured well; the others were told before."""
    plugins = []
    for name, section in settings.plugin.items():
        try:
            alone = settings.model_copy(update={"plugin": {name: section}, "rule": []})
            # Where its rows go does not depend on its code, wherever that is.
            applied = resolve(alone, targets, deployed=[name])
        except ConfigurationError:
            continue
        plugins += [LivePlugin(config, "") for config in applied.plugins]
    return targets.configured(plugins)


@contextmanager
def _ledger(settings: Settings, registry: Registry) -> Iterator[PublishLedger | None]:
    """What tells whose rows the sinks may hold; None where no database does."""
    from casparian.adapters.queue import wall_clock_us

    try:
        stores = registry.stores(settings, wall_clock_us, create=False)
    except CasparianError:
        yield None  # `check_database` tells why.
    else:
        with closing(stores):
            yield stores.ledger


def _foreign_rows(sink: Sink, ledger: PublishLedger | None) -> tuple[str, str] | None:
    """The first published rows that this queue does not know, with the remedy; None where all
    are its own."""
    if ledger is None:
        for target, marker in sink.markers():
            return (
                f"{target} holds rows of installation {marker.installation[:12]}, but there is no "
                "database that published them.",
                "Restore it; or let a new one be made by `casparian scan`, and take the rows over "
                f"by `casparian adopt {marker.topic}`.",
            )
        return None
    for target, marker, owner in owners(sink, ledger):
        if owner is not Owner.MINE:
            return doubt(target, marker, owner), ways_out(marker)
    return None
