"""Batches on their way into the tables of a file: whole or not at all, and checked where it
matters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from casparian.adapters.queue.database import Database
from casparian.adapters.queue.sqlite import open_database
from casparian.adapters.queue.stores import stores_of
from casparian.adapters.queue.tables.files import file_location, file_version
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.adapters.queue.tables.plugins import file_tag
from casparian.domain.errors import ConfigurationError
from casparian.domain.files import Sighting
from casparian.domain.routing import RoutingRule, RoutingTable, Subscription
from casparian.testing.world import VirtualClock, World, content, stat


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(str(tmp_path / "queue.sqlite3"), VirtualClock())
    yield database
    database.close()


@pytest.fixture
def world(database: Database) -> World:
    world = World(stores_of(database), VirtualClock())
    world.apply()
    return world


def sighting(name: str) -> Sighting:
    return Sighting(name.encode(), stat(), content(name))


def test_what_fails_half_way_leaves_nothing(world: World) -> None:
    """The first files have their rows when the last is found to fit into none."""
    routing = world.stores.store.routing()
    no_number = sighting("z.csv")._replace(identity=stat()._replace(mtime_ns=1 << 70))
    with pytest.raises(OverflowError):
        world.stores.catalog.record(
            world.root.id, [*(sighting(f"{n}.csv") for n in range(1500)), no_number], routing
        )
    assert world.stores.catalog.find(world.root.id, b"0.csv") is None
    assert world.stores.reports.status()["versions"] == 0


def test_a_root_that_is_not_there(world: World) -> None:
    with pytest.raises(ConfigurationError, match="no source root 77"):
        world.stores.catalog.record(77, [sighting("a.csv")], world.stores.store.routing())


def test_references_are_checked_again_after_a_batch(world: World, database: Database) -> None:
    world.record((b"a.csv", "one"))
    nobodys = insert(file_tag).values(file_version_id=10**6, tag="csv")
    with pytest.raises(IntegrityError, match="FOREIGN KEY"), database.write() as connection:
        connection.execute(nobodys)


def test_a_batch_of_files_routed_differently(world: World, database: Database) -> None:
    """Each gets the tags and jobs that are its own, new and known ones in one batch."""
    store = world.stores.store
    rules = store.routing().rules
    (csv,) = [rule for rule in rules if rule.tag == "csv"]
    subscriptions = (
        Subscription("lines", frozenset({"csv"})),
        Subscription("other", frozenset({"odd"})),
    )
    odd = RoutingRule("**/*1.csv", "odd", 5, id=csv.id)
    routing = RoutingTable((csv, odd), subscriptions)
    names = [f"{n}.csv" for n in range(40)]
    record = world.stores.catalog.record
    record(world.root.id, [sighting(name) for name in names[::3]], routing)
    changed = [
        s._replace(content_hash=content("new " + s.content_hash)) for s in map(sighting, names)
    ]
    outcome = record(world.root.id, changed, routing)
    assert (outcome.new, outcome.changed, outcome.jobs) == (26, 14, 44)
    with database.read() as connection:
        version, job = file_version.c, processing_job.c
        tags = connection.execute(
            select(file_location.c.path, file_tag.c.tag, job.plugin_name, version.ordinal)
            .join(file_version, version.location_id == file_location.c.id)
            .join(file_tag, file_tag.c.file_version_id == version.id)
            .join(processing_job, job.file_version_id == version.id)
            .where(version.id == file_location.c.current_version_id)
        )
        found = {tuple(row) for row in tags}
    expected = set()
    for number, name in enumerate(names):
        ordinal = 2 if number % 3 == 0 else 1
        mine = [("csv", "lines"), *([("odd", "other")] if name.endswith("1.csv") else [])]
        expected |= {(name.encode(), tag, plugin, ordinal) for tag, _ in mine for _, plugin in mine}
    assert found == expected
