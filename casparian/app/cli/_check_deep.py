"""`casparian check --deep`: published rows against what was decided, each finding with a remedy."""

from __future__ import annotations

from contextlib import closing

from casparian.app.audit import Audit, audit
from casparian.app.cli._check_places import sinks_of
from casparian.app.cli._findings import Finding, Findings, ok, problem, warning
from casparian.app.cli._output import count
from casparian.app.registry import Registry
from casparian.app.settings import Settings
from casparian.app.targets import Targets
from casparian.domain.errors import CasparianError
from casparian.domain.invariants import Invariant, Violation

WHERE = "published rows"
_ANEW = (
    "Restore the target from a backup, or publish the file anew: `casparian trace JOB` names it, "
    "`casparian forget PATH` and the next scan publish it."
)
_SAME_TIME = "Restore queue and targets of one time, or run `casparian adopt TOPIC`."
_FOREIGN = "Move it out of the sink's place; Casparian never removes what it did not publish."
_REMEDIES = {
    Invariant.EXACT_ROWS: _ANEW,
    Invariant.ONE_ATTEMPT: _ANEW,
    Invariant.RIGHT_CONTENT: _ANEW,
    Invariant.SAME_EVERYWHERE: _ANEW,
    Invariant.WHOLE_FOR_READERS: _FOREIGN,
    Invariant.DECIDED_ONLY: _SAME_TIME,
    Invariant.NEVER_OLDER: _SAME_TIME,
    Invariant.NO_STALE_TOKEN: "Restore the queue's database: no program of Casparian writes this.",
    Invariant.ALIVE: "See that an engine runs and reaches the database; `casparian status` tells.",
    Invariant.NO_ORPHANS: "An engine removes it when it starts, and within a minute while it runs.",
}


def check_published(settings: Settings, targets: Targets, registry: Registry) -> Findings:
    from casparian.adapters.queue import wall_clock_us

    try:
        stores = registry.stores(settings, wall_clock_us, create=False)
    except CasparianError:
        return  # `check_database` tells why.
    with closing(stores):
        try:
            clock = stores.database_clock or wall_clock_us
            found = audit(stores, targets, sinks_of(settings, targets), clock())
        except CasparianError as error:
            yield problem(WHERE, str(error), "See that the queue's database can be read.")
            return
    yield from _told(found)


def _told(found: Audit) -> Findings:
    for where, why in found.unread.items():
        yield problem(where, f"It could not be read: {why}", "See that the sink can be reached.")
    yield from map(_finding, found.violations)
    if not found.violations and not found.unread:
        moving = f"; {count(found.moving, 'slot was', 'slots were')} being published to"
        yield ok(
            WHERE,
            f"{count(found.rows, 'row', 'rows')} in {count(found.places, 'place', 'places')} are "
            f"those of {count(found.jobs, 'job', 'jobs')}{moving if found.moving else ''}.",
        )


def _finding(violation: Violation) -> Finding:
    make = warning if violation.invariant is Invariant.NO_ORPHANS else problem
    what = f"{violation.invariant}: {violation.what}"
    return make(violation.where, what, _REMEDIES[violation.invariant])
