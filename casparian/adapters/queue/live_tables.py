"""The tables that a database has, and the types of their columns, in its own words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, inspect

LENGTHS = {"nvarchar", "varchar", "varbinary"}
NAMES = {"int": "INTEGER"}
"""What SQL Server calls by another name than SQLAlchemy does."""


def table_names(connection: Connection) -> set[str]:
    if connection.dialect.name != "mssql":
        return set(inspect(connection).get_table_names())
    sql = f"SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE {_here(connection)}"
    return set(connection.exec_driver_sql(sql).scalars())


def column_types(connection: Connection, tables: Iterable[str]) -> list[str]:
    """`table:column:TYPE` of each column of these tables that are there."""
    present = set(tables) & table_names(connection)
    if connection.dialect.name != "mssql":
        inspector = inspect(connection)
        return [
            f"{name}:{column['name']}:{column['type'].compile(connection.dialect)}"
            for name in present
            for column in inspector.get_columns(name)
        ]
    sql = (
        "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH "
        f"FROM INFORMATION_SCHEMA.COLUMNS WHERE {_here(connection)}"
    )
    rows = connection.exec_driver_sql(sql).all()
    return [f"{row[0]}:{row[1]}:{_type_of(row)}" for row in rows if row[0] in present]


def _here(connection: Connection) -> str:
    """The condition for tables of the schema that is used."""
    schema = connection.get_execution_options().get("schema_translate_map", {}).get(None)
    quoted = "'" + schema.replace("'", "''") + "'" if schema else "SCHEMA_NAME()"
    return f"TABLE_SCHEMA = {quoted}"


def _type_of(row: Any) -> str:
    kind, length = row[2].lower(), row[3]
    if kind not in LENGTHS:
        return NAMES.get(kind, kind.upper())
    return f"{kind.upper()}({'max' if length == -1 else length})"
