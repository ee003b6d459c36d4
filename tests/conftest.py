"""Fixtures that every test may use. What one kind of test needs stands in its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from casparian.adapters.queue import QueueStores, open_sqlite, open_url
from tests.support import mssql_server
from tests.support.examples import examples
from tests.support.postgres_server import VARIABLE, Server, make_empty, new_schema, server_programs

pytest.register_assert_rewrite("casparian.testing")
# How long an example takes depends on what else the machine does.
settings.register_profile("casparian", deadline=None, max_examples=examples(30))
settings.load_profile("casparian")


@pytest.fixture
def test_db_engine(tmp_path: Path) -> Iterator[QueueStores]:
    """The queue database of this test alone, in an SQLite file: all of its ports."""
    stores = open_sqlite(str(tmp_path / "casparian_flow.sqlite3"))
    yield stores
    stores.close()


@pytest.fixture(scope="session")
def postgresql_url() -> str:
    """A server's database, as CASPARIAN_TEST_POSTGRES_URL names it."""
    url = os.environ.get(VARIABLE)
    if not url:
        assert not os.environ.get("CASPARIAN_EXPECT_POSTGRES"), "PostgreSQL was to be there"
        pytest.skip(f"no PostgreSQL: {VARIABLE} is not set; `make test` starts one if it can")
    return url


@pytest.fixture
def postgresql_schema(postgresql_url: str) -> Iterator[str]:
    """The URL of a new schema of that database, dropped after the test."""
    with new_schema(postgresql_url) as url:
        yield url


@pytest.fixture(scope="session")
def _used_schema(postgresql_url: str) -> Iterator[str]:
    with new_schema(postgresql_url) as url:
        open_url(url).close()
        yield url


@pytest.fixture
def postgresql_queue(_used_schema: str) -> str:
    """The URL of a queue that nothing was put into: quicker than to make a new one."""
    make_empty(_used_schema)
    return _used_schema


@pytest.fixture(scope="session")
def mssql_url() -> str:
    """A SQL Server's database, as CASPARIAN_TEST_MSSQL_URL names it."""
    url = os.environ.get(mssql_server.VARIABLE)
    if not url:
        pytest.skip(f"no SQL Server: {mssql_server.VARIABLE} is not set; see `make test-mssql`")
    return url


@pytest.fixture
def mssql_schema(mssql_url: str) -> Iterator[str]:
    """The URL of a new schema of that database, dropped after the test."""
    with mssql_server.new_schema(mssql_url) as url:
        yield url


@pytest.fixture
def postgresql_server(postgresql_url: str) -> Iterator[Server]:
    """A server of this test alone, which may be stopped and started."""
    programs = server_programs()
    if programs is None:
        pytest.skip("PostgreSQL's own programs are not on this machine")
    server = Server(programs, "fsync=off")
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def test_source_root(tmp_path: Path) -> Path:
    """A directory to drop files into."""
    root = tmp_path / "inbox"
    root.mkdir(exist_ok=True)
    return root


@pytest.fixture
def temp_test_dir(tmp_path: Path) -> Path:
    """An empty directory of this test alone."""
    return tmp_path


@pytest.fixture
def short_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sockets have short paths; pytest's own directories are named after tests."""
    return tmp_path_factory.mktemp("s")
