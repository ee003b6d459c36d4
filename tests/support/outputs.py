"""Where a stepped engine's rows go, for a test that reads, spoils and interrupts it by hand."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, Protocol

import pytest

from casparian.adapters.sink import _marked, _sql_staging, _sqlite_promotion
from casparian.adapters.sink._postgresql_promotion import PostgresqlPromotion
from casparian.adapters.sink.parquet import ParquetSinkFactory
from casparian.adapters.sink.postgresql import PostgresqlSinkFactory, PostgresqlSinkSettings
from casparian.adapters.sink.sqlite import SqliteSinkFactory
from casparian.domain.jobs import Claim
from casparian.domain.plugins import Mode
from casparian.domain.ports import SinkFactory
from casparian.domain.publish import slot_for
from casparian.testing.world import PLUGIN, VirtualClock
from tests.support import postgresql_sink
from tests.support.project import read_parquet

PLACE = "out"
"""The usual one. What is not said of another is about this."""
_STRANGER = {
    "target": "rows", "plugin": "theirs", "topic": "rows", "location_id": 1, "version_id": 0,
    "installation": "another", "job_id": 1, "ordinal": 1, "rows": 0, "digest": "", "marker": "{}",
}  # fmt: skip
"""What another installation's marker is in a database."""


class Output(Protocol):
    """Places of one kind in `directory`, or on a server."""

    kind: str
    directory: Path
    factory: SinkFactory

    def uri(self, topic: str, place: str = PLACE) -> str: ...

    def column(self, topic: str, column: str) -> list[Any]:
        """Of all rows that readers see."""
        ...

    def stagings(self) -> list[str]:
        """Their names."""
        ...

    def edit_marker(self, **values: str) -> None:
        """Change what the only marker of the topic `rows` says."""
        ...

    def obstacle(self, claim: Claim) -> AbstractContextManager[None]:
        """Meanwhile something of somebody else's stands where the job's rows are to go."""
        ...

    def before_exchange(self, monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
        """Do something once, when a promoter is about to exchange rows that it may exchange, as
        far as it can know."""
        ...


def output_of(kind: str, directory: Path, clock: VirtualClock) -> Output:
    """One that needs no server."""
    return ParquetOutput(directory, clock) if kind == "parquet" else SqliteOutput(directory)


class ParquetOutput:
    kind = "parquet"

    def __init__(self, directory: Path, clock: VirtualClock) -> None:
        self.directory = directory
        self.factory: SinkFactory = ParquetSinkFactory(clock)

    def uri(self, topic: str, place: str = PLACE) -> str:
        return f"parquet://{self.directory}/{place}"

    def column(self, topic: str, column: str) -> list[Any]:
        table = read_parquet(self.directory / PLACE / topic)
        values: list[Any] = table[column].to_pylist() if table.num_rows else []
        return values

    def stagings(self) -> list[str]:
        return staged_in(self.directory)

    def edit_marker(self, **values: str) -> None:
        (marker,) = (self.directory / PLACE / "rows").glob("*/_casparian.json")
        marker.write_text(json.dumps(json.loads(marker.read_text()) | values))

    @contextlib.contextmanager
    def obstacle(self, claim: Claim) -> Iterator[None]:
        slot = slot_for(Mode.REPLACE, claim.plugin, "rows", claim.location_id, 0)
        place = self.directory / PLACE / "rows" / slot.name
        aside = self.directory / "aside"
        if place.exists():
            place.rename(aside)
        place.mkdir(parents=True)
        yield
        place.rmdir()
        if aside.exists():
            aside.rename(place)

    def before_exchange(self, monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
        before(monkeypatch, _marked, "exchange", do)


class SqliteOutput:
    kind = "sqlite"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.factory: SinkFactory = SqliteSinkFactory()

    def uri(self, topic: str, place: str = PLACE) -> str:
        return f"sqlite://{self.directory}/{place}.db/{topic}"

    def column(self, topic: str, column: str) -> list[Any]:
        path = self.directory / f"{PLACE}.db"
        if not path.exists():
            return []
        there = "select 1 from sqlite_master where name = ?"
        with self._database() as db:
            if not db.execute(there, (topic,)).fetchone():
                return []
            return [row[0] for row in db.execute(f'select "{column}" from "{topic}"')]

    def stagings(self) -> list[str]:
        return staged_in(self.directory)

    def edit_marker(self, **values: str) -> None:
        with self._database() as db:
            for name, value in values.items():
                change = f"update _casparian_publish set {name} = ?, "
                change += f"marker = json_set(marker, '$.{name}', ?)"
                assert db.execute(change, (value, value)).rowcount == 1

    @contextlib.contextmanager
    def obstacle(self, claim: Claim) -> Iterator[None]:
        with self._database() as db:
            names = ", ".join(_STRANGER)
            values = ", ".join(f":{name}" for name in _STRANGER)
            db.execute(f"insert into _casparian_publish ({names}) values ({values})", _STRANGER)
        yield
        with self._database() as db:
            db.execute("delete from _casparian_publish where installation = 'another'")

    def before_exchange(self, monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
        # Right before it asks for the write lock, under which it compares.
        after(monkeypatch, _sqlite_promotion.SqlitePromotion, "_attach", do)

    def lose_a_staged_row(self, column: str, value: str) -> None:
        (side,) = self.directory.glob(f".{PLACE}.db.casparian/staging/*/*.db")
        with closing(sqlite3.connect(side)) as db, db:
            assert db.execute(f"delete from rows where {column} = ?", (value,)).rowcount == 1

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.directory / f"{PLACE}.db")) as db, db:
            yield db


class PostgresqlOutput:
    """A place is a schema, whose name begins with `schema`."""

    kind = "postgresql"

    def __init__(self, directory: Path, url: str, schema: str) -> None:
        self.directory = directory
        self.factory: SinkFactory = PostgresqlSinkFactory(PostgresqlSinkSettings(url=url))
        self._url, self._schema = url, schema

    def uri(self, topic: str, place: str = PLACE) -> str:
        return f"postgresql://{self._name(place)}.{topic}"

    def column(self, topic: str, column: str) -> list[Any]:
        target = self.factory.parse(self.uri(topic), "/", PLUGIN, topic)
        table = postgresql_sink.read(self._url, target)
        values: list[Any] = [] if table is None else table[column].to_pylist()
        return values

    def stagings(self) -> list[str]:
        sink = self.factory.open(self._name(PLACE))
        return sorted(key.name for key in sink.stagings())

    def edit_marker(self, **values: str) -> None:
        for name, value in values.items():
            self._change(
                f"UPDATE {self._own('publish')} SET {name} = $1, "
                "marker = (marker::jsonb || jsonb_build_object($2::text, $1::text))::text",
                value,
                name,
            )

    @contextlib.contextmanager
    def obstacle(self, claim: Claim) -> Iterator[None]:
        names, numbers = ", ".join(_STRANGER), ", ".join(f"${n + 1}" for n in range(len(_STRANGER)))
        insert = f"INSERT INTO {self._own('publish')} ({names}) VALUES ({numbers})"
        self._change(insert, *_STRANGER.values())
        yield
        self._change(f"DELETE FROM {self._own('publish')} WHERE installation = 'another'")

    def before_exchange(self, monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
        # Right before the statement that compares and writes the marker.
        after(monkeypatch, PostgresqlPromotion, "prepare", do)

    def lose_a_staged_row(self, column: str, value: str) -> None:
        with postgresql_sink.connected(self._url) as session:
            kept = f"SELECT id, body FROM {self._own('staging')} WHERE body IS NOT NULL"
            ((number, body),) = session.rows(kept)
            (batch,) = _sql_staging.from_bytes([body])
            left = batch.filter([given != value for given in batch[column].to_pylist()])
            assert left.num_rows == batch.num_rows - 1
            change = f"UPDATE {self._own('staging')} SET body = $1 WHERE id = $2"
            session.run(change, _sql_staging.to_bytes([left]), number)
            session.commit()

    def remove(self) -> None:
        for place in (PLACE, "elsewhere"):
            postgresql_sink.execute(self._url, f"DROP SCHEMA IF EXISTS {self._name(place)} CASCADE")

    def _name(self, place: str) -> str:
        return f"{self._schema}_{place}"

    def _own(self, table: str) -> str:
        return f"{self._name(PLACE)}._casparian_{table}"

    def _change(self, statement: str, *values: object) -> None:
        with postgresql_sink.connected(self._url) as session:
            session.run(statement, *values)
            session.commit()


def staged_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob(".*.casparian/staging/*"))


# --- interruptions ----------------------------------------------------------------------


def before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, do: Callable[[], None]) -> None:
    """Do something once, right before the function is called next."""
    real = getattr(owner, name)

    def paused(*arguments: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        do()
        return real(*arguments)

    monkeypatch.setattr(owner, name, paused)


def after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, do: Callable[[], None]) -> None:
    real = getattr(owner, name)

    def paused(*arguments: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        answer = real(*arguments)
        do()
        return answer

    monkeypatch.setattr(owner, name, paused)
