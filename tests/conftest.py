"""Fixtures that every test may use. What one kind of test needs stands in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from casparian.adapters.queue import QueueStores, open_sqlite
from tests.support.examples import examples

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
