"""A place in PostgreSQL for one test: sinks that are opened there, and what a test asks of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from casparian.adapters.sink._postgresql_session import connect, driver_uri
from casparian.adapters.sink.postgresql import (
    PostgresqlSink,
    PostgresqlSinkFactory,
    PostgresqlSinkSettings,
)
from tests.support import postgresql_sink


def factory(url: str = "") -> PostgresqlSinkFactory:
    return PostgresqlSinkFactory(PostgresqlSinkSettings(url=url))


def opened(url: str, schema: str) -> PostgresqlSink:
    sink = PostgresqlSink(schema, partial(connect, driver_uri(url)))
    sink.check()
    return sink


Query = Callable[[str], list[Any]]


PUBLISHED = "SELECT _casparian_job_id, _casparian_row FROM orders ORDER BY 1, 2"


def wait_until_blocked(url: str) -> None:
    """Until some backend waits for another's lock."""
    with postgresql_sink.connected(url) as session:
        for _ in range(30_000):
            found = session.rows(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'casparian sink' "
                "AND cardinality(pg_blocking_pids(pid)) > 0"
            )
            session.commit()
            if found:
                return
    raise AssertionError("nobody waits")
