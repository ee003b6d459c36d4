"""Queues in the database of a server: how one is opened, looked at and migrated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine

from casparian.adapters.queue.common import QueueStores
from casparian.adapters.queue.database import Database, Dialect
from casparian.adapters.queue.schema import SchemaState, schema_state, upgrade_known
from casparian.adapters.queue.server_clock import ServerClock
from casparian.adapters.queue.stores import stores_of
from casparian.domain.ports import Clock

D = TypeVar("D", bound=Dialect)


@dataclass(frozen=True, slots=True)
class Servers(Generic[D]):
    """Servers of one kind. `engine` is made for a url and connects to nothing yet; the dialect
    tells the clock that it is given, if any, the server's time; `prepare` checks the schema, or
    makes it where it is told that it may."""

    engine: Callable[[str], Engine]
    dialect: Callable[[Engine, ServerClock | None], D]
    prepare: Callable[[Engine, D, bool], None]

    def open_database(
        self, url: str, clock: Clock | None = None, create: bool = True, **options: Any
    ) -> Database:
        """The database at `url` with its schema checked, or made where `create` allows it. Its
        own clock is used where none is given."""
        engine = self.engine(url)
        own = ServerClock()
        dialect = self.dialect(engine, own if clock is None else None)
        database = Database(engine, dialect, clock or own, **options)
        try:
            with database.translated():
                self.prepare(engine, dialect, create)
            with database.write(shared=True):
                pass  # Tells the time.
        except BaseException:
            database.close()
            raise
        return database

    def open_stores(
        self, url: str, clock: Clock | None = None, create: bool = True, **options: Any
    ) -> QueueStores:
        database = self.open_database(url, clock, create, **options)
        stores = stores_of(database)
        return stores._replace(database_clock=database.clock) if clock is None else stores

    def database_schema(self, url: str) -> SchemaState:
        """What schema the database at `url` has, known or not."""
        with self._unchecked(url) as database:
            return schema_state(database.engine)

    def upgrade_database(self, url: str) -> tuple[str, str]:
        """Migrate the database at `url`; the revision before and after."""
        with self._unchecked(url) as database:
            return upgrade_known(database.engine)

    @contextmanager
    def _unchecked(self, url: str) -> Iterator[Database]:
        """The database at `url`, whatever its schema."""
        engine = self.engine(url)
        database = Database(engine, self.dialect(engine, None), ServerClock())
        try:
            with database.translated():
                yield database
        finally:
            database.close()
