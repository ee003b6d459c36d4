"""Sink `postgresql://SCHEMA.TABLE`: rows staged in the target, copied in by one transaction.

The sink of a schema keeps tables of its own in it (`_postgresql_tables`). Any number of engines on
any number of hosts publish to one schema; what they agree on are rows there and nothing else.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec

from pydantic import BaseModel, ConfigDict, Field

from casparian.adapters.sink import _postgresql_audit
from casparian.adapters.sink import _postgresql_staging as stagings
from casparian.adapters.sink import _postgresql_tables as tables
from casparian.adapters.sink import _postgresql_values as forms
from casparian.adapters.sink._postgresql_promotion import promoting
from casparian.adapters.sink._postgresql_session import (
    DatabaseError,
    PassingError,
    PostgresqlSession,
    connect,
    driver_uri,
    reading,
    staging,
)
from casparian.adapters.sink._postgresql_values import MOST_NAME
from casparian.adapters.sink._sql_names import quote, table_target
from casparian.adapters.sink._sql_pool import Pool
from casparian.adapters.sink._sql_promote import promote
from casparian.adapters.sink._sql_staging import FENCE, ChunkedStaging
from casparian.domain.adoption import Renewal, StandingSlot
from casparian.domain.audit import Holding
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.ports import PromoteItem, Sink, StageRequest, Staging
from casparian.domain.publish import Manifest, ManifestItem, Marker, Receipt, StagingKey, Target
from casparian.domain.schemas import TargetSchema

SCHEME = "postgresql"


class PostgresqlSink:
    """Port `Sink`, and `RenewingSink`. `location` is the schema."""

    scheme = SCHEME

    def __init__(self, location: str, open_session: Callable[[], PostgresqlSession]) -> None:
        self.location = location
        self._pool = Pool(open_session)
        self._chunks = stagings.PostgresqlChunks(self._pool, location)
        self._name = f"{SCHEME}://{location}"
        self._lock = threading.Lock()
        self._known_ours: set[str] = set()

    def check(self) -> None:
        try:
            with self._pool.session() as session:
                problem = tables.server_problem(session)
                if problem is None:
                    tables.make_own_tables(session, self.location)
                session.commit()
        except PassingError as error:
            raise UnavailableError(
                f"The sink {self._name} cannot be reached: {error}. See that the server runs, "
                "can be reached from this host, and that [sinks.postgresql] url is right."
            ) from error
        except DatabaseError as error:
            problem = str(error)
        if problem is not None:
            raise ConfigurationError(
                f"The sink {self._name} cannot be used: {problem}. The role needs the right to "
                "log in, and to make tables in the schema: GRANT USAGE, CREATE ON SCHEMA "
                f"{quote(self.location)} TO its name."
            )

    # --- staging ------------------------------------------------------------------------

    def stage(self, request: StageRequest, known: TargetSchema | None) -> Staging:
        self._refuse_stranger(request.target)
        return ChunkedStaging(forms, self._chunks, request, known)

    def _refuse_stranger(self, target: Target) -> None:
        """Fail before the plugin's work rather than after it, where the table is a stranger's."""
        with self._lock:
            if target.name in self._known_ours:
                return
        with staging(f"Opening a staging for {target}"), self._pool.session() as session:
            tables.refuse_stranger(session, self.location, target.name, str(target))
            ours = tables.standing_schema(session, self.location, target.name) is not None
            session.commit()
        if ours:
            with self._lock:
                self._known_ours.add(target.name)

    def stage_empty(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """Emptying needs no rows, only the holder's place: it is the promoter's fence."""
        with staging(f"Opening a staging for {item.target}"), self._pool.session() as session:
            stagings.insert_chunk(session, self.location, key, FENCE)
            session.commit()

    def stage_marker(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """The manifest's own marker is written with the rows."""

    def sync(self, keys: Sequence[StagingKey]) -> None:
        """Each staging was committed, durably, when it was finished."""

    # --- promoting ----------------------------------------------------------------------

    def promote(self, items: Sequence[PromoteItem]) -> list[Receipt]:
        return promote(partial(promoting, self._pool, self.location), items)

    # --- upkeep -------------------------------------------------------------------------

    def rekey(self, key: StagingKey) -> None:
        with self._looking() as session:
            stagings.take_over(session, self.location, key)
            session.commit()

    def stagings(self) -> list[StagingKey]:
        with self._looking() as session:
            found = (
                stagings.all_keys(session, self.location)
                if tables.has_own_tables(session, self.location)
                else []
            )
            session.commit()
        return found

    def discard(self, key: StagingKey) -> None:
        with self._looking() as session:
            stagings.delete_chunks(session, self.location, key)
            session.commit()

    def clean(self, now_us: int) -> None:
        """Replaced rows are gone with the transaction that replaced them."""

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        with self._looking() as session:
            found = (
                tables.all_markers(session, self.location)
                if tables.has_own_tables(session, self.location)
                else []
            )
            session.commit()
        for table, marker in found:
            yield Target(SCHEME, self.location, table), marker

    # --- auditing ------------------------------------------------------------------------

    def holdings(self) -> Iterator[Holding]:
        with self._looking() as session:
            session.run(_postgresql_audit.ONE_MOMENT)
            if tables.has_own_tables(session, self.location):
                yield from _postgresql_audit.holdings(session, SCHEME, self.location)
            session.commit()

    # --- taking over --------------------------------------------------------------------

    def standing(self) -> Iterator[StandingSlot]:
        for target, marker in self.markers():
            yield StandingSlot(target, marker)

    def schema_of(self, target: Target) -> TargetSchema | None:
        with self._looking() as session:
            found = (
                tables.standing_schema(session, self.location, target.name)
                if tables.has_own_tables(session, self.location)
                else None
            )
            session.commit()
        return found

    def renew(self, renewals: Sequence[Renewal]) -> None:
        changes = [(r.target.name, r.before, r.after) for r in renewals]
        doing = f"Writing the new markers into {self._name}"
        with staging(doing), self._pool.session() as session:
            tables.renew_markers(session, self.location, changes)
            session.commit()

    @contextlib.contextmanager
    def _looking(self) -> Iterator[PostgresqlSession]:
        with reading(f"Working on the sink {self._name}"), self._pool.session() as session:
            yield session


class PostgresqlSinkSettings(BaseModel):
    """Where `postgresql://SCHEMA.TABLE` is."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: str = Field(default="", repr=False)
    """postgresql://user@host:5432/database; the password comes from `${NAME}`, or from
    `~/.pgpass`. Default: `[database] url`, where that is PostgreSQL too."""


class PostgresqlSinkFactory:
    """Port `SinkFactory` for `postgresql://SCHEMA.TABLE`; `{topic}` in TABLE is the topic."""

    scheme = SCHEME
    settings_model = PostgresqlSinkSettings

    def __init__(self, own_settings: PostgresqlSinkSettings) -> None:
        self._url = own_settings.url

    def absolute(self, uri: str, base: str) -> str:
        return uri

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        return table_target(uri, SCHEME, plugin, topic, MOST_NAME)

    def open(self, location: str) -> Sink:
        if not self._url:
            raise ConfigurationError(
                f"The sink {SCHEME}://{location} has no server: set [sinks.{SCHEME}] url, such as "
                "postgresql://user@host:5432/database."
            )
        if find_spec("psycopg") is None:
            raise ConfigurationError(
                f"The sink {SCHEME}://{location} needs the package psycopg: run "
                "`pip install casparian-flow[postgresql]`."
            )
        return PostgresqlSink(location, partial(connect, driver_uri(self._url)))
