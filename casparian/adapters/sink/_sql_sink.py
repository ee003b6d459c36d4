"""What the sinks of database servers have in common: everything but the statements.

The sink of a schema keeps tables of its own in it. Any number of engines on any number of hosts
publish to one schema; what they agree on are rows there and nothing else.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import pyarrow as pa

from casparian.adapters.sink._plain import stored_rows
from casparian.adapters.sink._sql_errors import reading, staging
from casparian.adapters.sink._sql_pool import Pool, Session
from casparian.adapters.sink._sql_promote import Begin, promote
from casparian.adapters.sink._sql_staging import FENCE, ChunkedStaging, ChunkStore, Forms
from casparian.domain.adoption import Renewal, StandingSlot
from casparian.domain.ports import PromoteItem, StageRequest, Staging
from casparian.domain.publish import Manifest, ManifestItem, Marker, Receipt, StagingKey, Target
from casparian.domain.schemas import TargetSchema


class Transaction(Session, Protocol):
    """A session, which is in a transaction from its first statement on."""

    def commit(self) -> None: ...


S = TypeVar("S", bound=Transaction)
C = TypeVar("C", bound=Transaction, contravariant=True)


class Tables(Protocol[C]):
    """Markers, columns and targets of a schema. Raises StatementError, PassingError; JobError for
    a stranger."""

    def has_own_tables(self, session: C, schema: str, /) -> bool: ...

    def refuse_stranger(self, session: C, schema: str, table: str, where: str, /) -> None: ...

    def standing_schema(self, session: C, schema: str, table: str, /) -> TargetSchema | None: ...

    def all_markers(self, session: C, schema: str, /) -> list[tuple[str, Marker]]: ...

    def renew_markers(
        self, session: C, schema: str, renewals: Sequence[tuple[str, Marker, Marker]], /
    ) -> None: ...


class Stagings(Protocol[C]):
    """The table of stagings of a schema."""

    def insert_chunk(self, session: C, schema: str, key: StagingKey, table: str, /) -> None: ...

    def delete_chunks(self, session: C, schema: str, key: StagingKey, /) -> None: ...

    def take_over(self, session: C, schema: str, key: StagingKey, /) -> None: ...

    def all_keys(self, session: C, schema: str, /) -> list[StagingKey]: ...


class SqlSink(Generic[S]):
    """Port `Sink`, and `RenewingSink`, but for `check`. `location` is the schema."""

    scheme: str

    def __init__(
        self,
        location: str,
        pool: Pool[S],
        tables: Tables[S],
        stagings: Stagings[S],
        forms: Forms,
        chunks: ChunkStore,
        begin: Begin,
    ) -> None:
        self.location = location
        self._pool = pool
        self._tables, self._stagings = tables, stagings
        self._forms, self._chunks, self._begin = forms, chunks, begin
        self._name = f"{self.scheme}://{location}"
        self._lock = threading.Lock()
        self._known_ours: set[str] = set()

    # --- staging ------------------------------------------------------------------------

    def stage(self, request: StageRequest, known: TargetSchema | None) -> Staging:
        self._refuse_stranger(request.target)
        return ChunkedStaging(self._forms, self._chunks, request, known)

    def _refuse_stranger(self, target: Target) -> None:
        """Fail before the plugin's work rather than after it, where the table is a stranger's."""
        with self._lock:
            if target.name in self._known_ours:
                return
        with staging(f"Opening a staging for {target}"), self._pool.session() as session:
            self._tables.refuse_stranger(session, self.location, target.name, str(target))
            ours = self._tables.standing_schema(session, self.location, target.name) is not None
            session.commit()
        if ours:
            with self._lock:
                self._known_ours.add(target.name)

    def stage_empty(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """Emptying needs no rows, only the holder's place: it is the promoter's fence."""
        with staging(f"Opening a staging for {item.target}"), self._pool.session() as session:
            self._stagings.insert_chunk(session, self.location, key, FENCE)
            session.commit()

    def stage_marker(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """The manifest's own marker is written with the rows."""

    def sync(self, keys: Sequence[StagingKey]) -> None:
        """Each staging was committed, durably, when it was finished."""

    # --- promoting ----------------------------------------------------------------------

    def promote(self, items: Sequence[PromoteItem]) -> list[Receipt]:
        return promote(self._begin, items)

    # --- upkeep -------------------------------------------------------------------------

    def rekey(self, key: StagingKey) -> None:
        with self._looking() as session:
            self._stagings.take_over(session, self.location, key)
            session.commit()

    def stagings(self) -> list[StagingKey]:
        with self._looking() as session:
            made = self._tables.has_own_tables(session, self.location)
            found = self._stagings.all_keys(session, self.location) if made else []
            session.commit()
        return found

    def discard(self, key: StagingKey) -> None:
        with self._looking() as session:
            self._stagings.delete_chunks(session, self.location, key)
            session.commit()

    def clean(self, now_us: int) -> None:
        """Replaced rows are gone with the transaction that replaced them."""

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        with self._looking() as session:
            made = self._tables.has_own_tables(session, self.location)
            found = self._tables.all_markers(session, self.location) if made else []
            session.commit()
        for table, marker in found:
            yield Target(self.scheme, self.location, table), marker

    def plain(self, rows: pa.RecordBatch, where: str) -> pa.RecordBatch:
        """For `ReadableSink`."""
        return stored_rows(rows, self._forms, where)

    # --- taking over --------------------------------------------------------------------

    def standing(self) -> Iterator[StandingSlot]:
        for target, marker in self.markers():
            yield StandingSlot(target, marker)

    def schema_of(self, target: Target) -> TargetSchema | None:
        with self._looking() as session:
            made = self._tables.has_own_tables(session, self.location)
            name = target.name
            found = self._tables.standing_schema(session, self.location, name) if made else None
            session.commit()
        return found

    def renew(self, renewals: Sequence[Renewal]) -> None:
        changes = [(r.target.name, r.before, r.after) for r in renewals]
        doing = f"Writing the new markers into {self._name}"
        with staging(doing), self._pool.session() as session:
            self._tables.renew_markers(session, self.location, changes)
            session.commit()

    @contextlib.contextmanager
    def _looking(self) -> Iterator[S]:
        with reading(f"Working on the sink {self._name}"), self._pool.session() as session:
            yield session
