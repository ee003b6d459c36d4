"""ScoutLeases over SQL: one row for each source root, and a catalog that looks at it first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from casparian.adapters.queue.catalog import SqlCatalog
from casparian.adapters.queue.common import stale_scout
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.tables.files import scout_lease
from casparian.domain.scouting import Fence, FencedCatalog, Scanner, ScoutLease

_lease = scout_lease.c


class SqlScoutLeases:
    """Transactions that write alone see each other whole, so that a plain look at the row is
    enough: whoever takes the lease does so before or after."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def take(
        self,
        root_id: int,
        scanner: Scanner,
        lasting: bool,
        lease_us: int,
        dead: Collection[str] = (),
    ) -> ScoutLease:
        row = next(iter(self._db.look(_OF_ROOT, {"root_id": root_id})), None)
        if self._is_others(row, scanner, dead):
            # Whoever only waits for its turn keeps nobody from writing.
            return _lease_of(row)
        with self._db.write() as connection:
            row = connection.execute(_OF_ROOT, {"root_id": root_id}).first()
            if self._is_others(row, scanner, dead):
                return _lease_of(row)
            fence = 1 if row is None else row.fence + (row.holder != scanner.id)
            lease = ScoutLease(Fence(root_id, fence), scanner, lasting, self._db.clock() + lease_us)
            _write(connection, lease, first=row is None)
        return lease

    def _is_others(self, row: Any, scanner: Scanner, dead: Collection[str]) -> bool:
        if row is None or row.holder is None or row.holder == scanner.id:
            return False
        return row.until_us > self._db.clock() and row.holder not in dead

    def renew(self, scanner_id: str, lease_us: int) -> Sequence[Fence]:
        values = {"b_holder": scanner_id, "until": self._db.clock() + lease_us}
        if not self._db.touch(_RENEW, values):
            return []
        rows = self._db.look(_OF_HOLDER, {"holder": scanner_id})
        return [Fence(row.source_root_id, row.fence) for row in rows]

    def release(self, scanner_id: str) -> None:
        with self._db.write() as connection:
            connection.execute(_RELEASE, {"b_holder": scanner_id})

    def catalog(self, fence: Fence) -> FencedCatalog:
        return SqlCatalog(_FencedDatabase(self._db, fence))

    def standing(self) -> Sequence[ScoutLease]:
        return [_lease_of(row) for row in self._db.look(_STANDING)]


class _FencedDatabase(Database):
    """The same database, for the holder of a fence: one statement more in each transaction that
    writes."""

    def __init__(self, database: Database, fence: Fence) -> None:
        vars(self).update(vars(database))
        self._fence = fence

    @contextmanager
    def write(self, shared: bool = False, vouched: bool = False) -> Iterator[Connection]:
        with super().write(vouched=vouched) as connection:
            found = connection.execute(_FENCE, self._fence._asdict()).first()
            if found is None:
                raise stale_scout(self._fence)
            yield connection


def _write(connection: Connection, lease: ScoutLease, first: bool) -> None:
    root_id, fence = lease.fence
    holder, hostname, host_key, pid, pid_started = lease.scanner
    values = {
        "fence": fence,
        "holder": holder,
        "hostname": hostname,
        "host_key": host_key,
        "pid": pid,
        "pid_started": pid_started,
        "lasting": lease.lasting,
        "until_us": lease.until_us,
    }
    if first:
        connection.execute(insert(scout_lease).values(source_root_id=root_id, **values))
    else:
        mine = _lease.source_root_id == root_id
        connection.execute(update(scout_lease).where(mine).values(**values))


def _lease_of(row: Any) -> ScoutLease:
    return ScoutLease(
        Fence(row.source_root_id, row.fence),
        Scanner(row.holder, row.hostname, row.host_key, row.pid, row.pid_started),
        bool(row.lasting),
        row.until_us,
    )


_OF_ROOT = select(scout_lease).where(_lease.source_root_id == bindparam("root_id"))
_OF_HOLDER = select(_lease.source_root_id, _lease.fence).where(_lease.holder == bindparam("holder"))
_STANDING = select(scout_lease).where(_lease.holder.is_not(None)).order_by(_lease.source_root_id)
_FENCE = select(_lease.fence).where(
    _lease.source_root_id == bindparam("root_id"), _lease.fence == bindparam("number")
)
_RENEW = (
    update(scout_lease)
    .where(_lease.holder == bindparam("b_holder"))
    .values(until_us=bindparam("until"))
)
# The row stays, and with it the fence.
_RELEASE = update(scout_lease).where(_lease.holder == bindparam("b_holder")).values(holder=None)
