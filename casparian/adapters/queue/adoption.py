"""AdoptingQueue over SQL: this queue becomes another installation, and knows the rows of others."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, insert, select, update

from casparian.adapters.queue.adopted_jobs import (
    do_again,
    enqueue_again,
    give_back,
    renumber,
)
from casparian.adapters.queue.adopted_slots import Placement
from casparian.adapters.queue.database import Database, Dialect
from casparian.adapters.queue.rows import target_values
from casparian.adapters.queue.slots import (
    note_installed,
    raise_bundles,
    set_schema,
    standing_schemas,
)
from casparian.adapters.queue.tables.files import file_location, file_version
from casparian.adapters.queue.tables.installation import adoption, installation
from casparian.adapters.queue.tables.jobs import processing_job, worker_node
from casparian.adapters.queue.tables.publishing import published_slot, target_bundle
from casparian.domain.adoption import StandingSlot, TakenOver, Takeover
from casparian.domain.errors import CasparianError
from casparian.domain.files import path_text
from casparian.domain.publish import BundleKey, SchemaChange, Target

_bundle, _published = target_bundle.c, published_slot.c


class SqlAdoption:
    """Port `AdoptingQueue`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def former(self) -> frozenset[str]:
        with self._db.read() as connection:
            return frozenset(connection.execute(select(adoption.c.former_uuid)).scalars())

    def targets(self) -> list[Target]:
        statement = select(_published.scheme, _published.location, _published.name).distinct()
        with self._db.read() as connection:
            rows = connection.execute(statement).all()
        return sorted(Target(r.scheme, path_text(r.location), r.name) for r in rows)

    def take_over(self, takeover: Takeover) -> TakenOver:
        now, dialect = self._db.clock(), self._db.dialect
        adopted, own = takeover.adopted, takeover.own
        with self._db.write() as connection:
            _refuse_workers(connection, takeover.idle)
            fresh = uuid.uuid4().hex
            number = _begin(connection, fresh, takeover.actor, now)
            _raise_ids(connection, dialect, [*adopted, *own])
            give_back(connection, now)
            again = do_again(connection, now, takeover.actor)
            highest = max((slot.marker.job_id for slot in adopted), default=0)
            renumbered = renumber(connection, dialect, highest, now, takeover.actor)
            placement = Placement(connection, dialect, number, fresh)
            renewals = placement.place(adopted, own)
            _set_bundles(connection, [*adopted, *own], again.bundles)
            for target, schema in takeover.schemas.items():
                if not standing_schemas(connection, [target]):
                    set_schema(connection, SchemaChange(target, None, schema.to_json()))
            enqueued = enqueue_again(connection, placement.replaced, now, takeover.actor)
        self._db.waiters.wake()
        return TakenOver(fresh, renewals, renumbered, again.jobs, enqueued)


def _refuse_workers(connection: Connection, idle: frozenset[str]) -> None:
    node = worker_node.c
    up = connection.execute(select(node.id).where(~node.stopped)).scalars().all()
    awake = sorted(set(up) - idle)
    if awake:
        raise CasparianError(
            f"The worker {awake[0]} has come up meanwhile. Nothing was changed: stop every engine, "
            "and run the command again."
        )


def _begin(connection: Connection, fresh: str, actor: str, now_us: int) -> int:
    """Become another installation; the id of the entry that says so."""
    former = connection.execute(select(installation.c.uuid)).scalar_one()
    connection.execute(update(installation).values(uuid=fresh))
    entry = {"at_us": now_us, "actor": actor, "former_uuid": former, "uuid": fresh}
    statement = insert(adoption).values(**entry).returning(adoption.c.id)
    return int(connection.execute(statement).scalar_one())


def _raise_ids(connection: Connection, dialect: Dialect, slots: Sequence[StandingSlot]) -> None:
    """No id that any of these names is ever given again."""
    for table, ids in (
        (processing_job, [slot.marker.job_id for slot in slots]),
        (file_location, [slot.marker.location_id for slot in slots]),
        (file_version, [slot.marker.version_id for slot in slots]),
    ):
        dialect.raise_ids(connection, table, max(ids, default=0))


def _set_bundles(
    connection: Connection, slots: Iterable[StandingSlot], undone: Iterable[BundleKey]
) -> None:
    """The revisions that stand; those that were decided and not installed never will be."""
    standing = {BundleKey(s.target, s.bundle): s.revision for s in slots if s.bundle}
    for key in {*standing, *undone}:
        same = [target_bundle.c[name] == value for name, value in target_values(key.target).items()]
        connection.execute(delete(target_bundle).where(_bundle.bundle == key.name, *same))
    raise_bundles(connection, standing, ())
    note_installed(connection, standing)
