"""When the fork server is started before the engine is loaded: the guess that there is work."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casparian.app import ahead
from casparian.app.ahead import something_is_new, start_sidecars_ahead
from casparian.app.settings import Settings

DATABASE = "casparian_flow.sqlite3"


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings with one root and one plugin, and what else is given."""
    (tmp_path / "inbox").mkdir()

    def make(**more: Any) -> Settings:
        raw = {"source_root": [{"path": "inbox"}], "plugin": {"one": {}}}
        return Settings.of({**raw, **more}, tmp_path)

    return make


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sidecars a plugin may have, for each start."""
    calls: list[int] = []
    monkeypatch.setattr(ahead, "start_ahead", calls.append)
    return calls


def test_an_entry_is_new_where_no_queue_was_written_after_it(
    settings: Callable[..., Settings], tmp_path: Path
) -> None:
    assert not something_is_new(settings())
    (tmp_path / "inbox" / "a.csv").touch()
    assert something_is_new(settings())
    changed_ns = os.stat(tmp_path / "inbox" / "a.csv").st_ctime_ns
    for later_ns, new in ((-1, True), (1_000_000, False)):
        (tmp_path / DATABASE).touch()
        os.utime(tmp_path / DATABASE, ns=(0, changed_ns + later_ns))
        assert something_is_new(settings()) is new
    assert not something_is_new(settings(database={"url": "postgresql+psycopg://host/q"}))


def test_a_root_that_cannot_be_listed_is_left_to_the_scan(
    settings: Callable[..., Settings],
) -> None:
    assert not something_is_new(settings(source_root=[{"path": "nowhere"}]))


def test_an_engine_that_runs_for_ever_needs_sidecars_anyhow(
    settings: Callable[..., Settings], tmp_path: Path, started: list[int]
) -> None:
    start_sidecars_ahead(settings(), drain=True)
    assert started == []
    start_sidecars_ahead(settings(plugin_host={"sidecars": 3}), drain=False)
    (tmp_path / "inbox" / "a.csv").touch()
    start_sidecars_ahead(settings(), drain=True)
    assert started == [3, 2]


def test_nothing_is_started_that_no_job_could_use(
    settings: Callable[..., Settings], started: list[int]
) -> None:
    start_sidecars_ahead(settings(plugin={}), drain=False)
    inline = {"plugin_host": {"adapter": "inline"}, "transport": {"adapter": "memory"}}
    start_sidecars_ahead(settings(**inline), drain=False)
    assert started == []
