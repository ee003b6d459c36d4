"""A schema for each test of the PostgreSQL sink, with one target and one sink."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from casparian.adapters.sink.postgresql import PostgresqlSink
from casparian.domain.publish import Target
from tests.support import postgresql_sink
from tests.unit.sink_postgresql.place import Query, factory, opened


@pytest.fixture
def schema(postgresql_url: str) -> Iterator[str]:
    with postgresql_sink.random_schema(postgresql_url) as name:
        yield name


@pytest.fixture
def target(schema: str) -> Target:
    return factory().parse(f"postgresql://{schema}.orders", "/", "plug", "orders")


@pytest.fixture
def sink(postgresql_url: str, schema: str) -> PostgresqlSink:
    return opened(postgresql_url, schema)


@pytest.fixture
def query(postgresql_url: str, schema: str) -> Query:
    """Runs in a transaction of its own, with the schema as search path."""

    def run(statement: str) -> list[Any]:
        with postgresql_sink.connected(postgresql_url) as session:
            session.run(f"SET search_path = {schema}")
            rows = session.rows(statement) if statement.startswith("SELECT") else []
            if not rows and not statement.startswith("SELECT"):
                session.run(statement)
            session.commit()
            return rows

    return run
