"""Schemas of their own, for tests, on the SQL Server that CASPARIAN_TEST_MSSQL_URL names."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, make_url

from casparian.adapters.queue.live_tables import table_names
from casparian.adapters.queue.schema import VERSION_TABLE
from casparian.adapters.queue.tables.columns import metadata

VARIABLE = "CASPARIAN_TEST_MSSQL_URL"


@contextmanager
def new_schema(url: str) -> Iterator[str]:
    """A URL of the same database whose tables are in a schema of their own; gone afterwards."""
    name = f"casparian_test_{uuid.uuid4().hex[:12]}"
    mine = make_url(url).update_query_dict({"schema": name})
    engine = _engine(mine.render_as_string(hide_password=False))
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        yield mine.render_as_string(hide_password=False)
    finally:
        with engine.begin() as connection:
            there = table_names(connection)
            referring_first = [table.name for table in reversed(metadata.sorted_tables)]
            for table in [*referring_first, VERSION_TABLE]:
                if table in there:
                    connection.exec_driver_sql(f"DROP TABLE {name}.[{table}]")
            connection.exec_driver_sql(f"DROP SCHEMA {name}")
        engine.dispose()


def _engine(url: str) -> Engine:
    from casparian.adapters.queue.mssql_engine import mssql_engine

    return mssql_engine(url)


def of_schema(url: str, sql: str) -> tuple[Engine, str]:
    """An engine for a URL of `new_schema`, and a query on a table as it stands there."""
    schema = make_url(url).query["schema"]
    return _engine(url), re.sub(r"\bfrom (\w+)", rf"from {schema}.\1", sql)
