"""Every T-SQL statement of the SQL Server sink, as text: kept in tests/golden, read in review.

Plain T-SQL that many engines run: no MERGE, no WAITFOR, and one hint, for readers that lock rows.
What a statement of one table says stays below 4,000 characters, unless a table has hundreds of
columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from casparian.domain import lineage

PUBLISH, COLUMNS, STAGING = "_casparian_publish", "_casparian_columns", "_casparian_staging"
OWNER, LOCK = "_casparian_owner", "_casparian_lock"
BINARY = "COLLATE Latin1_General_BIN2"
"""Keys are compared by their code points, whatever the database's language is."""
LOADED = "#casparian_rows"
"""A session's own table: rows of one target, on their way into it."""
JOB_INDEX = "_casparian_job"
TOGETHER = 20

SESSION = (
    "SET NOCOUNT OFF",
    "SET XACT_ABORT ON",
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
)

_SLOT = ("target", "plugin", "topic", "location_id", "version_id")
_CONTENT = ("installation", "job_id", "ordinal", "rows", "digest", "marker")
_OF_KEY = "[installation] = ? AND [job_id] = ? AND [attempt] = ? AND [token] = ?"


def quote(name: str) -> str:
    """An SQL identifier."""
    return "[" + name.replace("]", "]]") + "]"


def place(schema: str, table: str) -> str:
    return f"{quote(schema)}.{quote(table)}"


def _names(columns: Iterable[str]) -> str:
    return ", ".join(map(quote, columns))


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _equal(columns: Iterable[str], between: str) -> str:
    return between.join(f"{quote(name)} = ?" for name in columns)


def lock_timeout(milliseconds: int) -> str:
    return f"SET LOCK_TIMEOUT {milliseconds}"


# --- a schema's own tables --------------------------------------------------------------


def create_schema(schema: str) -> str:
    return f"CREATE SCHEMA {quote(schema)}"


def create_own_tables(schema: str) -> list[str]:
    """Made one by one where they are missing; by the name that each makes."""
    key = f"nvarchar(128) {BINARY} NOT NULL"
    short = f"nvarchar(64) {BINARY} NOT NULL"
    return [
        f"CREATE TABLE {place(schema, PUBLISH)} ([target] {key}, [plugin] {key}, [topic] {key}, "
        "[location_id] bigint NOT NULL, [version_id] bigint NOT NULL, "
        f"[installation] {short}, [job_id] bigint NOT NULL, [ordinal] bigint NOT NULL, "
        f"[rows] bigint NOT NULL, [digest] {short}, [marker] nvarchar(max) NOT NULL, "
        f"PRIMARY KEY ({_names(_SLOT)}))",
        f"CREATE TABLE {place(schema, COLUMNS)} ([target] {key}, [position] int NOT NULL, "
        f"[name] {key}, [arrow_type] nvarchar(max) NOT NULL, [nullable] bit NOT NULL, "
        "[definition] nvarchar(max) NOT NULL, PRIMARY KEY ([target], [name]))",
        f"CREATE TABLE {place(schema, STAGING)} ([id] bigint IDENTITY(1,1) NOT NULL, "
        f"[installation] {short}, [job_id] bigint NOT NULL, [attempt] int NOT NULL, "
        f"[token] {short}, [target] {key}, [rows] bigint NOT NULL, [size] bigint NOT NULL, "
        "[held] int NOT NULL, [body] varbinary(max), PRIMARY KEY ([job_id], [attempt], [id]))",
        f"CREATE TABLE {place(schema, OWNER)} ([target] {key} PRIMARY KEY, [installation] {short})",
        f"CREATE TABLE {place(schema, LOCK)} ([id] int NOT NULL PRIMARY KEY, "
        "[taken] bigint NOT NULL)",
        f"INSERT INTO {place(schema, LOCK)} ([id], [taken]) VALUES (1, 0)",
    ]


def kind_of_table() -> str:
    """Schema and name; compared as the database compares names."""
    return (
        "SELECT [TABLE_TYPE] FROM INFORMATION_SCHEMA.TABLES "
        "WHERE [TABLE_SCHEMA] = ? AND [TABLE_NAME] = ?"
    )


def take_lock(schema: str) -> str:
    """Held until the transaction ends: who makes or widens a table does so alone."""
    return f"UPDATE {place(schema, LOCK)} SET [taken] = [taken] + 1 WHERE [id] = 1"


# --- markers ----------------------------------------------------------------------------


def raise_marker(schema: str) -> str:
    """The conditional write: only where the slot's generation is lower."""
    return (
        f"UPDATE {place(schema, PUBLISH)} SET {_equal(_CONTENT, ', ')} "
        f"OUTPUT deleted.[job_id] WHERE {_equal(_SLOT, ' AND ')} AND [installation] = ? "
        "AND ([ordinal] < ? OR ([ordinal] = ? AND [job_id] < ?))"
    )


def first_marker(schema: str) -> str:
    """Of a slot that has none. Of two that come first at once, one meets the key of the other."""
    columns = (*_SLOT, *_CONTENT)
    return (
        f"INSERT INTO {place(schema, PUBLISH)} ({_names(columns)}) SELECT {_marks(len(columns))} "
        f"WHERE NOT EXISTS (SELECT 1 FROM {place(schema, PUBLISH)} "
        f"WHERE {_equal(_SLOT, ' AND ')})"
    )


def standing_marker(schema: str) -> str:
    return f"SELECT [marker] FROM {place(schema, PUBLISH)} WHERE {_equal(_SLOT, ' AND ')}"


def delete_marker(schema: str) -> str:
    return f"DELETE FROM {place(schema, PUBLISH)} WHERE {_equal(_SLOT, ' AND ')}"


def all_markers(schema: str) -> str:
    return f"SELECT [target], [marker] FROM {place(schema, PUBLISH)} ORDER BY [target], [job_id]"


def owner(schema: str) -> str:
    """Whose rows a target holds. A row of its own: to look through the markers of a target, a
    transaction would have to wait for all that are being written."""
    return f"SELECT [installation] FROM {place(schema, OWNER)} WHERE [target] = ?"


def forget_owner(schema: str) -> str:
    return f"DELETE FROM {place(schema, OWNER)} WHERE [target] = ?"


def insert_owner(schema: str) -> str:
    return f"INSERT INTO {place(schema, OWNER)} ([target], [installation]) VALUES (?, ?)"


def installations(schema: str) -> str:
    return f"SELECT DISTINCT [installation] FROM {place(schema, PUBLISH)} WHERE [target] = ?"


# --- stagings ---------------------------------------------------------------------------


def insert_chunk(schema: str) -> str:
    return (
        f"INSERT INTO {place(schema, STAGING)} ([installation], [job_id], [attempt], [token], "
        "[target], [rows], [size], [held], [body]) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)"
    )


def delete_chunks(schema: str) -> str:
    return f"DELETE FROM {place(schema, STAGING)} WHERE {_OF_KEY}"


def delete_chunks_of_target(schema: str) -> str:
    return f"{delete_chunks(schema)} AND [target] = ?"


def hold_chunks(schema: str) -> str:
    """A write, which locks on every engine: who takes the staging over waits."""
    return f"UPDATE {place(schema, STAGING)} SET [held] = [held] + 1 WHERE {_OF_KEY}"


def list_chunks(schema: str) -> str:
    return (
        f"SELECT [id], [target], [rows], [size] FROM {place(schema, STAGING)} "
        f"WHERE {_OF_KEY} ORDER BY [id]"
    )


def read_chunk(schema: str) -> str:
    return (
        f"SELECT [body] FROM {place(schema, STAGING)} "
        "WHERE [job_id] = ? AND [attempt] = ? AND [id] = ?"
    )


def take_over(schema: str) -> str:
    return (
        f"UPDATE {place(schema, STAGING)} SET [token] = ? WHERE [installation] = ? "
        "AND [job_id] = ? AND [attempt] = ? AND [token] <> ?"
    )


def all_keys(schema: str) -> str:
    return (
        "SELECT DISTINCT [installation], [job_id], [attempt], [token] "
        f"FROM {place(schema, STAGING)}"
    )


# --- targets ----------------------------------------------------------------------------


def standing_columns(schema: str) -> str:
    return (
        "SELECT [name], [arrow_type], [nullable], [definition] "
        f"FROM {place(schema, COLUMNS)} WHERE [target] = ? ORDER BY [position]"
    )


def forget_columns(schema: str) -> str:
    return f"DELETE FROM {place(schema, COLUMNS)} WHERE [target] = ?"


def describe_column(schema: str) -> str:
    return (
        f"INSERT INTO {place(schema, COLUMNS)} ([target], [position], [name], [arrow_type], "
        "[nullable], [definition]) VALUES (?, ?, ?, ?, ?, ?)"
    )


def create_table(table: str, columns: Sequence[tuple[str, str]]) -> list[str]:
    """A table of these columns and those of lineage; beyond the first twenty they are added one
    by one, so that no statement grows. `table`: as `place` writes it, or the session's own."""
    first = [f"{quote(name)} {kind}" for name, kind in columns[:TOGETHER]]
    first += [f"{quote(name)} bigint NOT NULL" for name in lineage.COLUMNS]
    more = [add_column(table, name, kind) for name, kind in columns[TOGETHER:]]
    return [f"CREATE TABLE {table} ({', '.join(first)})", *more]


def index_target(schema: str, table: str) -> str:
    """The rows of a job lie together: to remove them, no other's are looked at."""
    on = f"{place(schema, table)} ({quote(lineage.JOB_ID)})"
    return f"CREATE CLUSTERED INDEX {quote(JOB_INDEX)} ON {on}"


def add_column(target: str, column: str, kind: str) -> str:
    """`target`: a table as `place` writes it, or the session's own."""
    return f"ALTER TABLE {target} ADD {quote(column)} {kind}"


def widen_column(schema: str, table: str, column: str, kind: str) -> str:
    return f"ALTER TABLE {place(schema, table)} ALTER COLUMN {quote(column)} {kind}"


def drop_column(schema: str, table: str, column: str) -> str:
    return f"ALTER TABLE {place(schema, table)} DROP COLUMN {quote(column)}"


# --- rows -------------------------------------------------------------------------------


def loaded(number: int) -> str:
    return f"{LOADED}_{number:d}"


def load_row(number: int, columns: Sequence[str], parameters: Sequence[str]) -> str:
    """`parameters`: a question mark each, or one that is cast."""
    return f"INSERT INTO {loaded(number)} ({_names(columns)}) VALUES ({', '.join(parameters)})"


def cast_parameter(kind: str) -> str:
    return f"CAST(? AS {kind})"


def drop_loaded(number: int) -> str:
    return f"DROP TABLE {loaded(number)}"


def delete_rows(schema: str, table: str) -> str:
    """Alone with the table until the transaction ends: where readers lock rows one by one, they
    would else read some of these, and then those that come in their place. Servers that keep
    versions of rows need no hint for it."""
    return f"DELETE FROM {place(schema, table)} WITH (TABLOCKX) WHERE {quote(lineage.JOB_ID)} = ?"


def insert_rows(schema: str, table: str, number: int, columns: Sequence[str]) -> str:
    """All rows of one job that were loaded."""
    names = _names(columns)
    return (
        f"INSERT INTO {place(schema, table)} ({names}) SELECT {names} "
        f"FROM {loaded(number)} WHERE {quote(lineage.JOB_ID)} = ?"
    )


# --- looking at what is there -----------------------------------------------------------

_ISO = {"date": 23, "time(6)": 121, "datetime2(6)": 126, "datetimeoffset(6)": 127}
"""Styles of CONVERT that keep every digit, behind a point."""


def made_here(schema: str) -> str:
    return f"SELECT DISTINCT [target] FROM {place(schema, COLUMNS)}"


def markers_of_target(schema: str) -> str:
    return f"SELECT [marker] FROM {place(schema, PUBLISH)} WHERE [target] = ? ORDER BY [job_id]"


def count_rows(schema: str, table: str) -> str:
    job, row = quote(lineage.JOB_ID), quote(lineage.ROW)
    return (
        f"SELECT {job}, COUNT_BIG(*), COUNT_BIG(DISTINCT {row}), MAX({row}) "
        f"FROM {place(schema, table)} GROUP BY {job} ORDER BY {job}"
    )


def versions_of_rows(schema: str, table: str) -> str:
    columns = _names((lineage.JOB_ID, lineage.FILE_VERSION_ID))
    return f"SELECT DISTINCT {columns} FROM {place(schema, table)} ORDER BY {columns}"


def row_numbers(schema: str, table: str) -> str:
    job, row = quote(lineage.JOB_ID), quote(lineage.ROW)
    return f"SELECT {row} FROM {place(schema, table)} WHERE {job} = ? ORDER BY {row}"


def next_row(schema: str, table: str) -> str:
    job, row = quote(lineage.JOB_ID), quote(lineage.ROW)
    return f"SELECT MIN({row}) FROM {place(schema, table)} WHERE {job} = ? AND {row} >= ?"


def read_rows(schema: str, table: str, columns: Sequence[tuple[str, str]]) -> str:
    """Those of one job between two numbers; `columns` with their types. Times and decimals come
    as text, so that no driver's conversion has a say."""
    job, row = quote(lineage.JOB_ID), quote(lineage.ROW)
    names = ", ".join(_read(name, kind) for name, kind in columns)
    return (
        f"SELECT {names} FROM {place(schema, table)} "
        f"WHERE {job} = ? AND {row} >= ? AND {row} < ? ORDER BY {row}"
    )


def _read(name: str, kind: str) -> str:
    if kind.startswith("decimal"):
        return f"CAST({quote(name)} AS varchar(60))"
    return f"CONVERT(varchar(40), {quote(name)}, {_ISO[kind]})" if kind in _ISO else quote(name)
