"""Sink `mssql://SCHEMA.TABLE`: rows staged in the target, copied in by one transaction.

The sink of a schema keeps tables of its own in it (`_mssql_statements`). Any number of engines on
any number of hosts publish to one schema; what they agree on are rows there and nothing else.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from casparian.adapters.sink import _mssql_statements as sql
from casparian.adapters.sink import _mssql_tables as tables
from casparian.adapters.sink import _mssql_values as forms
from casparian.adapters.sink._mssql_promotion import promoting
from casparian.adapters.sink._mssql_session import (
    DatabaseError,
    MssqlSession,
    PassingError,
    connect,
    connection_string,
    reading,
    staging,
)
from casparian.adapters.sink._mssql_values import MOST_NAME
from casparian.adapters.sink._sql_names import table_target
from casparian.adapters.sink._sql_pool import Pool
from casparian.adapters.sink._sql_promote import promote
from casparian.adapters.sink._sql_staging import FENCE, ChunkedStaging, Rows, names_of
from casparian.domain.adoption import Renewal, StandingSlot
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.ports import PromoteItem, Sink, StageRequest, Staging
from casparian.domain.publish import Manifest, ManifestItem, Marker, Receipt, StagingKey, Target
from casparian.domain.schemas import TargetSchema

SCHEME = "mssql"


class MssqlChunks:
    """`ChunkStore`. Every commit is durable."""

    def __init__(self, pool: Pool[MssqlSession], schema: str) -> None:
        self._pool = pool
        self._schema = schema

    def begin(self, request: StageRequest) -> None:
        self.drop(request)

    def add(self, request: StageRequest, rows: Rows) -> None:
        table, content = request.target.name, (rows.rows, rows.body)
        doing = f"Staging rows for {request.target}"
        with staging(doing), self._pool.session() as session:
            tables.insert_chunk(session, self._schema, request.key, table, *content)
            session.commit()

    def end(self, request: StageRequest, rows: Rows) -> None:
        self.add(request, rows)

    def drop(self, request: StageRequest) -> None:
        doing = f"Removing a staging of {request.target}"
        with reading(doing), self._pool.session() as session:
            session.run(
                sql.delete_chunks_of_target(self._schema),
                *names_of(request.key),
                request.target.name,
            )
            session.commit()


class MssqlSink:
    """Port `Sink`, and `RenewingSink`. `location` is the schema."""

    scheme = SCHEME

    def __init__(self, location: str, open_session: Callable[[], MssqlSession]) -> None:
        self.location = location
        self._pool = Pool(open_session)
        self._chunks = MssqlChunks(self._pool, location)
        self._name = f"{SCHEME}://{location}"
        self._lock = threading.Lock()
        self._known_ours: set[str] = set()

    def check(self) -> None:
        try:
            with self._pool.session() as session:
                tables.make_own_tables(session, self.location)
        except PassingError as error:
            raise UnavailableError(
                f"The sink {self._name} cannot be reached: {error}. See that the server runs, "
                "can be reached from this host, and that [sinks.mssql] url is right."
            ) from error
        except DatabaseError as error:
            raise ConfigurationError(
                f"The sink {self._name} cannot be used: {error}. The login needs the right to "
                "connect, to make tables in the database (GRANT CREATE TABLE), and GRANT ALTER, "
                f"SELECT, INSERT, UPDATE, DELETE ON SCHEMA::{sql.quote(self.location)}."
            ) from error

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
            tables.insert_chunk(session, self.location, key, FENCE)
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
        installation, job_id, attempt, token = names_of(key)
        with self._looking() as session:
            session.run(sql.take_over(self.location), token, installation, job_id, attempt, token)
            session.commit()

    def stagings(self) -> list[StagingKey]:
        with self._looking() as session:
            made = tables.has_own_tables(session, self.location)
            rows = session.rows(sql.all_keys(self.location)) if made else []
            session.commit()
        return [StagingKey(*row) for row in rows]

    def discard(self, key: StagingKey) -> None:
        with self._looking() as session:
            session.run(sql.delete_chunks(self.location), *names_of(key))
            session.commit()

    def clean(self, now_us: int) -> None:
        """Replaced rows are gone with the transaction that replaced them."""

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        with self._looking() as session:
            made = tables.has_own_tables(session, self.location)
            found = tables.all_markers(session, self.location) if made else []
            session.commit()
        for table, marker in found:
            yield Target(SCHEME, self.location, table), marker

    # --- taking over --------------------------------------------------------------------

    def standing(self) -> Iterator[StandingSlot]:
        for target, marker in self.markers():
            yield StandingSlot(target, marker)

    def schema_of(self, target: Target) -> TargetSchema | None:
        with self._looking() as session:
            made = tables.has_own_tables(session, self.location)
            found = tables.standing_schema(session, self.location, target.name) if made else None
            session.commit()
        return found

    def renew(self, renewals: Sequence[Renewal]) -> None:
        changes = [(r.target.name, r.before, r.after) for r in renewals]
        doing = f"Writing the new markers into {self._name}"
        with staging(doing), self._pool.session() as session:
            tables.renew_markers(session, self.location, changes)
            session.commit()

    @contextlib.contextmanager
    def _looking(self) -> Iterator[MssqlSession]:
        with reading(f"Working on the sink {self._name}"), self._pool.session() as session:
            yield session


class MssqlSinkSettings(BaseModel):
    """Where `mssql://SCHEMA.TABLE` is."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: str = Field(default="", repr=False)
    """mssql+pyodbc://user@host:1433/database; the password comes from `${NAME}`. Default:
    `[database] url`, where that is SQL Server too."""


class MssqlSinkFactory:
    """Port `SinkFactory` for `mssql://SCHEMA.TABLE`; `{topic}` in TABLE is the topic's name."""

    scheme = SCHEME
    settings_model = MssqlSinkSettings

    def __init__(self, own_settings: MssqlSinkSettings) -> None:
        self._url = own_settings.url

    def absolute(self, uri: str, base: str) -> str:
        return uri

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        return table_target(uri, SCHEME, plugin, topic, MOST_NAME)

    def open(self, location: str) -> Sink:
        if not self._url:
            raise ConfigurationError(
                f"The sink {SCHEME}://{location} has no server: set [sinks.{SCHEME}] url, such as "
                "mssql+pyodbc://user@host:1433/database."
            )
        return MssqlSink(location, partial(connect, connection_string(self._url)))
