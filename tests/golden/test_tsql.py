"""Every statement that SQL Server is sent, kept as text and held to what all T-SQL servers share.

`queue.mssql.sql` is made while contracts run (see `tests.support.tsql`), `dialect.mssql.sql` and
`migrations.mssql.sql` here. CASPARIAN_WRITE_GOLDEN=1 writes them; what is new is for review.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import select
from sqlglot import exp

from casparian.adapters.queue import schema
from casparian.adapters.queue.claims import claim_parts
from casparian.adapters.queue.conditions import lost_jobs
from casparian.adapters.queue.database import ClaimParts
from casparian.adapters.queue.tables.files import file_hash_registry, file_location
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.domain.jobs import JobStatus
from tests.support import tsql

pytest.importorskip("pyodbc", exc_type=ImportError, reason="no pyodbc, or no libodbc of unixodbc")

HERE = Path(__file__).parent
MANY_PLUGINS = 150
FORBIDDEN = (
    "MERGE", "WAITFOR", "CREATE OR ALTER", "ALTER COLUMN", "SP_RENAME", "SP_GETAPPLOCK", "NTEXT",
    "IMAGE", "LIMIT", "RETURNING", "ON CONFLICT", "SKIP LOCKED", "OFFSET", "TRUE", "FALSE",
)  # fmt: skip
CLAIM = (
    "UPDATE q SET {sets} OUTPUT {told} FROM [q].[processing_job] AS q "
    "WITH (ROWLOCK, UPDLOCK, READPAST, READCOMMITTEDLOCK) WHERE q.status = 'QUEUED' AND q.id IN "
    "(SELECT TOP (:limit) id FROM [q].[processing_job] "
    "WITH (ROWLOCK, UPDLOCK, READPAST, READCOMMITTEDLOCK) WHERE status = 'QUEUED' AND {due} "
    "ORDER BY due, id)"
)


def migrations() -> list[str]:
    """The statements of all migrations, one after the other."""
    from casparian.adapters.queue.mssql_engine import BinaryText

    written = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="mssql",
        dialect_opts={"deprecate_large_types": True},
        opts={"as_sql": True, "output_buffer": written, "mssql_batch_separator": ""},
    )
    types: Any = BinaryText(context.dialect)
    context.dialect.type_compiler_instance = types
    revisions = ScriptDirectory(str(schema.MIGRATIONS)).walk_revisions()
    with Operations.context(context):
        for revision in reversed(list(revisions)):
            revision.module.upgrade()
    statements = written.getvalue().replace("\t", "    ").split(";\n\n")
    return [statement.strip() for statement in statements if statement.strip()]


def mssql_dialect() -> Any:
    from casparian.adapters.queue.mssql import MssqlDialect
    from casparian.adapters.queue.mssql_engine import mssql_engine

    url = "mssql+pyodbc://user@127.0.0.1:1/database?driver=none&schema=q"
    return MssqlDialect(mssql_engine(url))


def dialect_statements() -> list[str]:
    """What the dialect writes itself, but for the parts of it that take an open connection."""
    dialect = mssql_dialect()
    job = processing_job.c
    lost = lost_jobs(JobStatus.PROMOTING, 1, ["worker-1", "worker-2"])
    taken = {"token": dialect.fresh_token, "worker": "worker-3", "lease_until_us": 2}
    left = select(job.id).where(lost).order_by(job.lease_until_us, job.id)
    take_over = ClaimParts(taken, left, 10, lost, (job.id, job.token, job.attempt, job.manifest))
    missing = dialect.insert_missing(file_hash_registry, "content_hash", "size", "first_seen_us")
    return [
        str(dialect.claim(claim_parts(dialect.fresh_token, 1))),
        str(dialect.claim(claim_parts(dialect.fresh_token, 3))),
        tsql.written(dialect.claim(take_over)),
        tsql.written(missing.statement),
        *dialect.own_statements(file_location),
    ]


def golden(name: str, statements: list[str]) -> list[str]:
    path = HERE / f"{name}.mssql.sql"
    if os.environ.get("CASPARIAN_WRITE_GOLDEN"):
        path.write_text("\n\n".join(statements) + "\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip().split("\n\n")


def test_the_migrations_are_those_that_were_reviewed() -> None:
    made = migrations()
    assert made == golden("migrations", made)


def test_the_dialect_writes_what_was_reviewed() -> None:
    made = dialect_statements()
    assert made == golden("dialect", made)


def every() -> Iterator[str]:
    for name in ("queue", "dialect", "migrations"):
        yield from (HERE / f"{name}.mssql.sql").read_text(encoding="utf-8").strip().split("\n\n")


def test_a_claim_has_the_form_that_every_t_sql_server_runs() -> None:
    claim = dialect_statements()[0]
    form = re.escape(CLAIM).replace(r"\{sets\}", "(.*)").replace(r"\{told\}", "(.*)")
    matched = re.fullmatch(form.replace(r"\{due\}", "(.*)"), claim)
    assert matched is not None, claim
    assert "attempt=(q.attempt + " in matched[1]


def test_a_claim_for_many_plugins_is_short_enough() -> None:
    dialect = mssql_dialect()
    claim = str(dialect.claim(claim_parts(dialect.fresh_token, MANY_PLUGINS)))
    assert len(re.sub(r":\w+", "?", claim)) < 4_000


def test_every_statement_is_one_that_all_t_sql_servers_take() -> None:
    for statement in every():
        words = re.sub(r"'[^']*'|:\w+", "''", statement).upper()
        found = [word for word in FORBIDDEN if re.search(rf"\b{word}\b", words)]
        assert not found, (found, statement)
        assert len(statement) < tsql.LONGEST, statement
        if not statement.startswith(("DBCC", "SET IDENTITY_INSERT", "SET TRANSACTION")):
            parsed = sqlglot.parse(_as_query(statement), read="tsql")
            assert not any(isinstance(tree, exp.Command) for tree in parsed), statement


def _as_query(statement: str) -> str:
    return re.sub(r":(\w+)", r"@\1", statement).replace("?", "@p")


def test_jobs_are_changed_only_where_they_stand_as_expected() -> None:
    """By status, by token, or by both: whoever comes late changes nothing."""
    changes = [s for s in every() if re.match(r"(UPDATE|DELETE FROM) processing_job\b", s)]
    assert len(changes) > 8
    for statement in changes:
        _, _, where = statement.partition(" WHERE ")
        held = re.search(r"processing_job\.(status|token|finished_at_us)\b", where)
        assert held, statement


def test_text_is_compared_by_code_points_and_keys_fit_an_index() -> None:
    for statement in migrations():
        for column in re.findall(r"^\s+\w+ N?VARCHAR\(\w+\).*$", statement, re.MULTILINE):
            assert "NVARCHAR" in column, column
            assert "COLLATE Latin1_General_BIN2" in column, column
