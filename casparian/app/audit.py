"""Holds a queue against its sinks, and both against the invariants of publishing. Reads only.

Engines may run meanwhile: the queue is read before the targets and once more after them, and
what was published to in between is let be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from casparian.adapters.queue import QueueStores
from casparian.app.targets import Targets
from casparian.domain.audit import AuditedQueue, AuditedSink
from casparian.domain.comparison import Comparison
from casparian.domain.errors import CasparianError, ConfigurationError
from casparian.domain.invariants import Books, Violation
from casparian.domain.ports import Sink
from casparian.domain.publish import StagingKey, Target

HEARD_OF_US = 30_000_000
"""An engine that reported in so lately runs, and reaps."""
SWEPT_WITHIN_US = 10_000_000
"""A lease that ended should have been noticed by now: twice the default of `sweep_s`."""


@dataclass(slots=True)
class Audit:
    """What was found. `moving`: slots that were being published to, and were not judged;
    `unread`: sinks that could not be looked at, with the reason."""

    violations: list[Violation] = field(default_factory=list)
    jobs: int = 0
    rows: int = 0
    places: int = 0
    moving: int = 0
    unread: dict[str, str] = field(default_factory=dict)


def audit(
    stores: QueueStores,
    targets: Targets,
    configured: Iterable[Sink] = (),
    now_us: int | None = None,
) -> Audit:
    """Look at every target that a decision names, and at the `configured` sinks besides.

    With `now_us` a job whose lease is over is held against the engines that run. Raises
    ConfigurationError for a queue that cannot be read so, UnavailableError.
    """
    if stores.audit is None:
        raise ConfigurationError(
            "This queue's adapter cannot be held against its targets: [queue] adapter must be "
            "one that can, such as sqlite."
        )
    queue = stores.audit
    found = Audit()
    staged = {id(sink): sink.stagings() for sink in configured}
    with queue.read() as reading:
        books = Books(reading, _overdue(stores, now_us))
    found.violations += books.violations
    found.jobs = books.jobs
    sinks = _sinks(targets, books.targets, configured, found)
    for sink in sinks:
        _look(sink, books, staged.get(id(sink)), queue, found)
    return found


def _overdue(stores: QueueStores, now_us: int | None) -> int | None:
    if now_us is None:
        return None
    fresh = (
        node
        for node in stores.queue.workers()
        if not node.stopped and now_us - node.heartbeat_at_us < HEARD_OF_US
    )
    return now_us - SWEPT_WITHIN_US if any(fresh) else None


def _sinks(
    targets: Targets, named: Iterable[Target], configured: Iterable[Sink], found: Audit
) -> Sequence[Sink]:
    sinks = {id(sink): sink for sink in configured}
    for target in sorted(named):
        try:
            sink = targets.sink(target)
        except CasparianError as error:
            found.unread[str(target)] = str(error)
            continue
        sinks[id(sink)] = sink
    return list(sinks.values())


def _look(
    sink: Sink,
    books: Books,
    staged: Sequence[StagingKey] | None,
    queue: AuditedQueue,
    found: Audit,
) -> None:
    where = f"{sink.scheme}://{sink.location}"
    if staged is not None:
        found.violations += books.of_stagings(where, staged)
    if not isinstance(sink, AuditedSink):
        found.unread[where] = "the sink's adapter cannot tell what its targets hold"
        return
    mine = {t for t in books.targets if (t.scheme, t.location) == (sink.scheme, sink.location)}
    try:
        holdings = list(sink.holdings())
    except (CasparianError, OSError) as error:
        found.unread[where] = str(error)
        return
    with queue.read() as again:
        moving = books.in_motion(again.slots)
    found.moving = max(found.moving, len(moving))
    found.places += len(holdings)
    found.rows += sum(rows.rows for holding in holdings for rows in holding.rows.values())
    comparison = Comparison(books, moving)
    for holding in holdings:
        found.violations += comparison.of_place(holding)
    found.violations += comparison.of_all(mine)
