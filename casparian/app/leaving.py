"""After COMPLETED: archives or deletes files, as their roots want it (`after`).

Runs in the scout's thread, between scans: no scan has a file in its hands then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from casparian.adapters.files.leaving import LocalLeaving
from casparian.domain.departures import (
    Action,
    After,
    CannotLeave,
    Departure,
    Departures,
    Outcome,
)
from casparian.domain.files import SourceRoot, path_text
from casparian.domain.ports import Clock

SECOND_US = 1_000_000
AGAIN_US = 600 * SECOND_US
"""A file that was kept is tried again after this."""
SHORTEST_WAIT_US = SECOND_US
SHARE = 20
AT_ONCE = 50

log = structlog.get_logger("casparian.scout")


class Leaver:
    """`catalog_of` a root is what its scans write through; `after` by the path of each root that
    wants anything done; `unpacking`: the roots whose archives take their members along."""

    def __init__(
        self,
        catalog_of: Callable[[SourceRoot], Departures],
        files: LocalLeaving,
        after: Mapping[bytes, After],
        clock: Clock,
        unpacking: Collection[bytes] = (),
    ) -> None:
        self._catalog_of, self._files, self._after, self._clock = catalog_of, files, after, clock
        self._unpacking = unpacking
        self._next_us = 0

    @property
    def is_wanted(self) -> bool:
        """Whether any root lets files be taken away."""
        return bool(self._after)

    def work_if_due(self, roots: Sequence[SourceRoot], stopped: Callable[[], bool]) -> None:
        """Not so often that looking costs more than a twentieth of the time."""
        began_us = self._clock()
        if not self._after or began_us < self._next_us <= began_us + AGAIN_US:
            return
        if self.work(roots, stopped):
            return
        ended_us = self._clock()
        self._next_us = ended_us + max(SHORTEST_WAIT_US, SHARE * (ended_us - began_us))

    def work(self, roots: Sequence[SourceRoot], stopped: Callable[[], bool]) -> bool:
        """Finish what is open, then take away some of what may leave; False when none was left.

        Raises UnavailableError; what is open then is gone on with the next time.
        """
        found = False
        for root in roots:
            after = self._after.get(root.path)
            if after is None:
                continue
            catalog = self._catalog_of(root)
            for departure in catalog.open_departures(root.id):
                # Begun by an engine that ended on its way, or before the database went away.
                self._take(root, departure, begun_before=True)
            planned = catalog.plan_departures(
                root.id,
                after.action,
                after.place_of,
                self._clock() - AGAIN_US,
                AT_ONCE,
                root.path in self._unpacking,
            )
            for departure in planned:
                if stopped():
                    return False
                self._take(root, departure, begun_before=False)
            found = found or bool(planned)
        return found

    def _take(self, root: SourceRoot, departure: Departure, begun_before: bool) -> None:
        catalog = self._catalog_of(root)
        about = {
            "root": path_text(root.path),
            "path": path_text(departure.path),
            "version": departure.version_id,
        }
        try:
            if self._files.set_aside(root.path, departure):
                self._files.send_off(root.path, departure)
            elif not self._has_left(departure, begun_before):
                raise CannotLeave("it was not there any more")
        except (CannotLeave, OSError) as error:
            reason = str(error)
            log.warning("file kept", reason=reason, action=str(departure.action), **about)
            catalog.end_departure(departure.version_id, Outcome.KEPT, reason)
            return
        catalog.end_departure(departure.version_id, Outcome.GONE)
        if departure.action is Action.DELETE:
            log.info("file deleted", **about)
        else:
            log.info("file archived", place=path_text(departure.place), **about)

    def _has_left(self, departure: Departure, begun_before: bool) -> bool:
        """Neither of its names is there: whether that is this program's doing."""
        if departure.action is Action.ARCHIVE:
            return self._files.is_archived(departure)
        return begun_before
