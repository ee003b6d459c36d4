"""The guard at the queue database's door, and what the migrations make."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import OperationalError

from casparian.adapters.queue import open_sqlite, open_url, schema
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.schema import compute_schema_fingerprint, expected_fingerprint
from casparian.adapters.queue.sqlite import open_database
from casparian.adapters.queue.sqlite_engine import sqlite_engine
from casparian.adapters.queue.tables.columns import metadata
from casparian.domain.deployments import Origin
from casparian.domain.errors import ConfigurationError, SchemaVersionError, UnavailableError


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A database made by this program."""
    name = str(tmp_path / "queue.sqlite3")
    open_sqlite(name).close()
    return name


def alter(path: str, statement: str) -> bytes:
    """Change the database behind the program's back; its bytes afterwards."""
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return Path(path).read_bytes()


def test_a_new_database_is_made_and_known_again(path: str) -> None:
    first = open_sqlite(path)
    second = open_sqlite(path, create=False)
    assert first.ledger.installation == second.ledger.installation
    first.close()
    second.close()


def test_each_database_is_an_installation_of_its_own(path: str, tmp_path: Path) -> None:
    one, other = open_sqlite(path), open_sqlite(str(tmp_path / "other.sqlite3"))
    assert one.ledger.installation != other.ledger.installation
    one.close()
    other.close()


def test_the_fingerprint_is_that_of_the_tables(path: str) -> None:
    engine = sqlite_engine(path)
    before = compute_schema_fingerprint(engine)
    assert before == expected_fingerprint(engine)
    engine.dispose()
    alter(path, "ALTER TABLE processing_job ADD COLUMN mood TEXT")
    assert compute_schema_fingerprint(engine) != before
    engine.dispose()


def test_tables_that_are_not_ours_do_not_count(path: str) -> None:
    alter(path, "CREATE TABLE notes (line TEXT)")
    open_sqlite(path).close()


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "9999"),
        ("DELETE FROM alembic_version", "unknown origin"),
        ("DROP TABLE alembic_version", "unknown origin"),
        ("ALTER TABLE processing_job ADD COLUMN mood TEXT", "altered"),
        ("ALTER TABLE worker_node RENAME COLUMN load TO burden", "altered"),
    ],
)
def test_an_unknown_schema_is_refused_untouched(path: str, statement: str, word: str) -> None:
    before = alter(path, statement)
    for create in (True, False):
        with pytest.raises(SchemaVersionError, match="casparian upgrade") as error:
            open_sqlite(path, create=create)
        assert word in str(error.value)
        assert path in str(error.value)
    assert Path(path).read_bytes() == before


def test_an_older_schema_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, "9999"))
    with pytest.raises(SchemaVersionError, match=r"older schema .* `casparian upgrade`"):
        open_sqlite(path)


def test_a_database_without_a_queue(tmp_path: Path) -> None:
    """One that holds other tables gets the queue's beside them; reading makes nothing."""
    path = str(tmp_path / "theirs.sqlite3")
    alter(path, "CREATE TABLE notes (line TEXT)")
    with pytest.raises(SchemaVersionError, match="holds no queue"):
        open_sqlite(path, create=False)
    open_sqlite(path).close()
    missing = str(tmp_path / "missing.sqlite3")
    with pytest.raises(UnavailableError, match=r"missing\.sqlite3"):
        open_sqlite(missing, create=False)
    assert not Path(missing).exists()


def test_what_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"This is text, and not a database. " * 100)
    with pytest.raises(ConfigurationError, match="no SQLite database"):
        open_sqlite(str(path))
    with pytest.raises(UnavailableError, match="unable to open"):
        open_sqlite(str(tmp_path / "no such directory" / "queue.sqlite3"))


def test_urls(tmp_path: Path) -> None:
    open_url(f"sqlite:///{tmp_path}/queue.sqlite3").close()
    assert (tmp_path / "queue.sqlite3").exists()
    for url in ("mysql://host/db", "queue.sqlite3", "sqlite:/x"):
        with pytest.raises(ConfigurationError, match="sqlite://"):
            open_url(url)
    with pytest.raises(ConfigurationError, match="names no file"):
        open_url("sqlite://")


def test_engines_that_start_at_once_both_succeed(tmp_path: Path) -> None:
    program = (
        "import sys; from casparian.adapters.queue import open_sqlite; sys.stdin.read();"
        "s = open_sqlite(sys.argv[1]); print(s.ledger.installation); s.close()"
    )
    path = str(tmp_path / "queue.sqlite3")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    said = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert len(set(said)) == 1


def contents(path: str) -> dict[str, Any]:
    """What was declared, to the letter, and the rows of every table but the installation's."""
    with sqlite3.connect(path) as connection:
        declared = set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))
        tables = {name for kind, name, *_ in declared if kind == "table"} - {"installation"}
        rows = {name: list(connection.execute(f"SELECT * FROM {name}")) for name in tables}
    connection.close()
    return {"declared": declared, "rows": rows}


def test_a_database_made_at_once_is_the_one_that_the_migrations_make(
    path: str, tmp_path: Path
) -> None:
    migrated = str(tmp_path / "migrated.sqlite3")
    engine = sqlite_engine(migrated)
    with engine.execution_options(casparian_write=True).begin() as connection:
        schema.migrate(connection)
    engine.dispose()
    made = contents(path)
    assert made == contents(migrated), "run `python -m casparian.adapters.queue.migrations`"
    assert made["rows"]["alembic_version"] == [(schema.REVISIONS[-1],)]


def test_a_database_that_could_not_be_made_whole_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "latest.sql"
    script.write_text(schema.script_of("sqlite").read_text() + "\nCREATE TABLE job_event (x);\n")
    path = str(tmp_path / "queue.sqlite3")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "script_of", lambda dialect: script)
        with pytest.raises(OperationalError, match="already exists"):
            open_sqlite(path)
    with sqlite3.connect(path) as connection:
        assert list(connection.execute("SELECT name FROM sqlite_master")) == []
    connection.close()
    open_sqlite(path).close()


def test_a_dialect_without_a_script_gets_its_schema_by_the_migrations(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "script_of", lambda dialect: tmp_path / "none.sql")
    other = str(tmp_path / "other.sqlite3")
    open_sqlite(other).close()
    assert contents(other) == contents(path)


def test_migrations_make_what_the_tables_say(path: str) -> None:
    """Columns by the fingerprint; keys, indexes and constraints by name."""
    engine = sqlite_engine(path)
    inspector = inspect(engine)
    for name, table in metadata.tables.items():
        made = {index["name"] for index in inspector.get_indexes(name)}
        assert made == {index.name for index in table.indexes}, name
        key = inspector.get_pk_constraint(name)["constrained_columns"]
        assert set(key) == {column.name for column in table.primary_key}, name
        unique = {tuple(u["column_names"]) for u in inspector.get_unique_constraints(name)}
        assert len(unique) == sum(
            constraint.__visit_name__ == "unique_constraint" for constraint in table.constraints
        ), name
        foreign = {tuple(f["constrained_columns"]) for f in inspector.get_foreign_keys(name)}
        assert foreign == {tuple(f.column_keys) for f in table.foreign_key_constraints}, name
        nullable = {column["name"] for column in inspector.get_columns(name) if column["nullable"]}
        assert nullable == {column.name for column in table.columns if column.nullable}, name
    engine.dispose()


def test_the_known_revisions_are_those_that_ship() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config).walk_revisions()
    assert tuple(reversed([script.revision for script in scripts])) == schema.REVISIONS


def test_ids_are_never_given_twice(path: str) -> None:
    with sqlite3.connect(path) as connection:
        tables = dict(connection.execute("SELECT name, sql FROM sqlite_master"))
    connection.close()
    counted = [name for name, table in metadata.tables.items() if "id" in table.primary_key]
    for name in set(counted) - {"installation"}:
        assert "AUTOINCREMENT" in tables[name], name
    assert len(counted) > 8


def test_a_file_that_was_opened_read_only_once_is_opened_anew(path: str) -> None:
    """SQLite falls back to that where a disk fails for a moment; a pool would keep it for good."""
    database = open_database(path)

    def read_only(*_: Any) -> sqlite3.Connection:
        event.remove(database.engine, "do_connect", read_only)
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)

    with contextlib.closing(database):
        database.engine.dispose()
        event.listen(database.engine, "do_connect", read_only)
        with pytest.raises(UnavailableError, match="readonly"):
            touch(database)
        touch(database)


def touch(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("update worker_node set pid = pid"))


def test_code_from_before_there_were_versions_has_them(tmp_path: Path) -> None:
    """Each code that an older database holds was a version, of the directory."""
    path = str(tmp_path / "older.sqlite3")
    engine = sqlite_engine(path)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with engine.execution_options(casparian_write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0009")
        for version, digit, live in ((1, "1", 0), (2, "2", 1)):
            connection.exec_driver_sql(
                "INSERT INTO plugin_manifest (plugin_name, content_hash, code, origin, version, "
                "created_at_us, live) VALUES ('lines', ?, x'00', 'directory', ?, ?, ?)",
                (digit * 64, version, version * 10, live),
            )
    schema.upgrade(engine)
    engine.dispose()
    stores = open_sqlite(path)
    told = [(d.version, d.content_hash, d.at_us) for d in stores.store.deployments("lines")]
    assert told == [(1, "1" * 64, 10), (2, "2" * 64, 20)]
    assert {d.origin for d in stores.store.deployments()} == {Origin.DIRECTORY}
    assert stores.store.standing()["lines"].version == 2
    stores.close()
