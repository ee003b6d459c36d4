"""How the queue takes rows over: keys, numbers and jobs, held to the promises of AdoptingQueue."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import create_engine, text

from casparian.adapters.queue import QueueStores, open_url
from casparian.app.adoption import Adoption
from casparian.app.context import EtlContext
from casparian.app.targets import Targets
from casparian.domain.adoption import (
    AdoptingQueue,
    Owner,
    StandingSlot,
    TakenOver,
    Takeover,
    owner_of,
)
from casparian.domain.errors import CasparianError, ConfigurationError
from casparian.domain.jobs import JobStatus
from casparian.domain.plugins import LivePlugin, Mode, PluginConfig, TopicConfig
from casparian.domain.ports import WorkerNode
from casparian.domain.publish import (
    BundleKey,
    Generation,
    JobFate,
    Marker,
    PublishedSlot,
    SlotKey,
    SlotState,
    Target,
)
from casparian.domain.schemas import Column, TargetSchema
from casparian.testing.world import PLUGIN, ROOT, TARGET, VirtualClock, World, content
from tests.support import tsql
from tests.support.mssql_server import of_schema

OTHER = "f" * 32
NOW = 1_700_000_000_000_000


def marker(
    path: str,
    job_id: int = 1,
    location_id: int = 1,
    version_id: int = 0,
    ordinal: int = 1,
    text: str = "",
    installation: str = OTHER,
) -> Marker:
    root = ROOT.decode()
    return Marker(
        installation, job_id, 1, PLUGIN, "rows", location_id, version_id, root, path, ordinal, 5,
        content("rows"), content(text) if text else "",
    )  # fmt: skip


@dataclass
class Station:
    world: World
    stores: QueueStores
    database: str

    @property
    def queue(self) -> AdoptingQueue:
        assert self.stores.adoption is not None
        return self.stores.adoption

    def adopt(self, *markers: Marker, own: tuple[Marker, ...] = ()) -> TakenOver:
        return self.take([StandingSlot(TARGET, m) for m in markers], own)

    def take(self, slots: list[StandingSlot], own: tuple[Marker, ...] = ()) -> TakenOver:
        mine = [StandingSlot(TARGET, m) for m in own]
        return self.queue.take_over(Takeover(slots, mine, {}, frozenset(), "ann"))

    def keys(self, done: TakenOver) -> list[tuple[int, int, int]]:
        """Job, location and version of each adopted slot, by job."""
        slots = sorted((r.after for r in done.renewals), key=lambda m: m.job_id)
        return [(m.job_id, m.location_id, m.version_id) for m in slots if m.ordinal == 0]

    def location(self, path: bytes) -> int:
        found = self.stores.catalog.find(self.world.root.id, path)
        assert found is not None
        return found.id

    def published(self, path: bytes) -> tuple[PublishedSlot, ...]:
        key = (PLUGIN, self.location(path))
        return self.stores.ledger.slots([key])[key].published

    def query(self, sql: str) -> list[tuple[object, ...]]:
        if self.database.startswith("mssql"):
            engine, sql = of_schema(self.database, sql)
        else:
            engine = create_engine(self.database)
        with engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(text(sql))]
        engine.dispose()
        return rows


@pytest.fixture(params=["sqlite", "postgresql", "mssql"])
def station(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Station]:
    clock = VirtualClock()
    url = f"sqlite:///{tmp_path / 'queue.sqlite3'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_queue")
    elif request.param == "mssql":
        url = request.getfixturevalue("mssql_schema")
    with tsql.noted() if request.param == "sqlite" else nullcontext():
        stores = open_url(url, clock)
        world = World(stores, clock)
        world.apply()
        yield Station(world, stores, url)
        stores.close()


# --- whose rows they are ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "status", "ordinal", "owner"),
    [
        ("now", JobStatus.COMPLETED, 1, Owner.MINE),
        ("now", JobStatus.PROMOTING, 1, Owner.MINE),
        ("now", JobStatus.QUEUED, 1, Owner.RESTORED),
        ("now", None, 1, Owner.RESTORED),
        ("now", None, 0, Owner.MINE),
        ("before", JobStatus.SUPERSEDED, 1, Owner.FORMERLY_MINE),
        ("before", None, 0, Owner.FORMERLY_MINE),
        ("before", None, 1, Owner.FOREIGN),
        ("never", JobStatus.COMPLETED, 1, Owner.FOREIGN),
    ],
)
def test_whose_rows_are(mine: str, status: JobStatus | None, ordinal: int, owner: Owner) -> None:
    fates = {1: JobFate(status, 1, None)} if status else {}
    one = marker("a.csv", ordinal=ordinal, installation=mine)
    assert owner_of(one, "now", frozenset({"before"}), fates) is owner


class Plain:
    """A sink that has the port `Sink` and nothing besides."""

    scheme, location = "plain", "/out"

    def __init__(self, *markers: Marker) -> None:
        self._markers = markers

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        yield from ((Target("plain", "/out", "rows"), marker) for marker in self._markers)


class PlainFactory:
    scheme = "plain"

    def __init__(self, sink: Plain) -> None:
        self._sink = sink

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        return Target("plain", "/out", "rows")

    def open(self, location: str) -> Plain:
        return self._sink


def adoption(station: Station, sink: Plain) -> Adoption:
    targets = Targets({"plain": cast(Any, PlainFactory(sink))})
    config = PluginConfig("p", frozenset(), {}, (TopicConfig("rows", "plain://x"),))
    plugins = [LivePlugin(config, "h" * 64)]
    return Adoption(station.stores, targets, plugins, EtlContext.capture(), station.world.clock)


def test_a_sink_that_cannot_renew_is_refused_where_it_holds_rows(station: Station) -> None:
    assert adoption(station, Plain()).look().others == []
    with pytest.raises(ConfigurationError, match="adapter has no `renew`"):
        adoption(station, Plain(marker("a.csv"))).look()


def test_a_worker_that_is_known_to_have_ended_is_idle(station: Station) -> None:
    """A killed one leaves its heartbeat; another host's is believed for a while."""
    context = EtlContext.capture()
    dead = WorkerNode(
        "dead", "here", 2**22 + 1, context.host_key, 1, ("worker",),
        heartbeat_at_us=station.world.clock(),
    )  # fmt: skip
    station.stores.queue.beat(dead)
    mine = adoption(station, Plain())
    assert mine.idle_workers() == {"dead"}
    station.stores.queue.beat(replace(dead, id="far", hostname="far", host_key="far"))
    with pytest.raises(ConfigurationError, match="An engine runs on this queue: far"):
        mine.idle_workers()
    station.world.clock.advance(31)
    assert mine.idle_workers() == {"dead", "far"}


# --- installation and numbers ---------------------------------------------------------------------


def test_the_queue_becomes_another_installation_beyond_all_numbers(station: Station) -> None:
    """Promise 1."""
    before = station.stores.ledger.installation
    done = station.adopt(marker("a.csv", 70, 80, 90))
    assert done.installation not in (before, OTHER)
    assert station.query("select uuid from installation") == [(done.installation,)]
    assert station.queue.former() == {before}
    assert station.queue.targets() == [TARGET]
    station.world.record((b"b.csv", "1"))
    claim = station.world.claim_one()
    assert (claim.job_id, claim.location_id) == (71, 82)
    assert claim.file_version_id > 90
    said = station.query("select actor, former_uuid, uuid from adoption")
    assert said == [("ann", before, done.installation)]


def test_undecided_jobs_get_other_numbers_with_their_history(station: Station) -> None:
    """Promise 4."""
    world = station.world
    world.record_many(4)
    done, held, failed = world.claim(3)
    world.publish(done)
    station.stores.queue.cancel([failed.job_id], "ann")
    taken = station.adopt(marker("other.csv", 50, 50))
    assert taken.renumbered == 3
    assert world.statuses() == {
        done.job_id: "COMPLETED",
        held.job_id + 50: "QUEUED",
        failed.job_id + 50: "CANCELLED",
        54: "QUEUED",
    }
    assert world.job(held.job_id + 50)["attempt"] == 1
    assert world.history(b"file-0002.csv") == ["CANCELLED", "ADOPTED"]
    if station.database.startswith("sqlite"):
        assert station.query("pragma foreign_key_check") == []
        assert station.query("pragma integrity_check") == [("ok",)]
    assert world.ledger_refuses(held)


def test_numbers_beyond_the_others_stay(station: Station) -> None:
    station.world.record_many(3)
    assert station.adopt(marker("other.csv", 2, 50)).renumbered == 2
    assert sorted(station.world.statuses()) == [3, 4, 5]


def test_decided_jobs_are_done_again(station: Station) -> None:
    """Promise 4: one that was being promoted, and one that is blocked."""
    world = station.world
    world.record_many(2)
    one, two = world.claim(2)
    world.decide(one)
    world.decide(two)
    station.stores.ledger.block(two.job_id, two.token, "full of others")
    taken = station.adopt(marker("other.csv", 50, 50))
    assert taken.again == 2
    statuses = world.statuses()
    assert [statuses[c.job_id] for c in (one, two)] == ["SUPERSEDED"] * 2
    again = world.claim(5)
    assert [c.job_id for c in again] == [51, 52]
    for claim in again:
        assert world.slot(claim).holder is None
        world.publish(claim)


def test_a_bundle_that_was_decided_is_let_go(station: Station) -> None:
    world = station.world
    world.record((b"a.csv", "1"))
    claim = world.claim_one()
    decision = world.decision(claim)
    items = tuple(replace(i, bundle="b1-x", revision=1) for i in decision.manifest.items)
    decision = replace(decision, manifest=replace(decision.manifest, items=items))
    assert station.stores.ledger.decide([decision]) == {}
    key, other = BundleKey(TARGET, "b1-x"), BundleKey(TARGET, "b9-x")
    station.take([StandingSlot(TARGET, marker("z.csv", 50, 50), "b9-x", 4)])
    states = station.stores.ledger.bundles([key, other])
    assert states[key] == (0, 0)
    assert states[other] == (4, 4)
    assert station.published(b"z.csv")[0].bundle == "b9-x"


def test_nothing_is_changed_when_a_worker_has_come_up(station: Station) -> None:
    """Promise 6."""
    node = WorkerNode("w", "host", 1, "host", 1, ("worker",), heartbeat_at_us=NOW)
    station.stores.queue.beat(node)
    before = station.query("select uuid from installation")
    with pytest.raises(CasparianError, match="has come up meanwhile"):
        station.adopt(marker("a.csv"))
    assert station.query("select uuid from installation") == before


# --- files ----------------------------------------------------------------------------------------


def test_slots_belong_to_the_file_of_their_root_and_path(station: Station) -> None:
    """Promise 2."""
    station.world.record((b"known.csv", "1"))
    known = station.location(b"known.csv")
    done = station.adopt(marker("known.csv", 5, 8), marker("gone\udcff.csv", 6, 1))
    gone = station.location(b"gone\xff.csv")
    assert gone > 8
    assert station.keys(done) == [(5, known, 0), (6, gone, 0)]
    tombstone = station.stores.catalog.find(station.world.root.id, b"gone\xff.csv")
    assert tombstone is not None
    assert tombstone.deleted
    slot = SlotKey(PLUGIN, "rows", gone)
    assert station.published(b"gone\xff.csv") == (PublishedSlot(TARGET, Mode.REPLACE, slot),)
    outcome = station.world.record((b"gone\xff.csv", "1"))
    assert (outcome.new, outcome.jobs) == (1, 1)
    claim = next(c for c in station.world.claim(5) if c.location_id == gone)
    state = station.world.slot(claim)
    assert state.generation is None
    assert len(state.published) == 1
    assert claim.ordinal == 1


def test_a_root_that_is_not_configured_is_noted(station: Station) -> None:
    one = replace(marker("a.csv"), root_path="/elsewhere")
    station.adopt(one)
    assert station.query("select path, active from source_root order by id") == [
        (ROOT, 1),
        (b"/elsewhere", 0),
    ]
    assert [r.path for r in station.stores.catalog.roots()] == [ROOT]


def test_what_was_published_of_a_known_version_is_published_anew(station: Station) -> None:
    world = station.world
    world.record((b"a.csv", "1"), (b"b.csv", "1"))
    for claim in world.claim(2):
        world.publish(claim)
    done = station.adopt(marker("a.csv", 7, station.location(b"a.csv")))
    assert done.enqueued == 1
    claim = world.claim_one()
    assert (claim.job_id, claim.path) == (8, b"a.csv")
    assert world.slot(claim).generation == Generation(1, 1)


# --- mode append ----------------------------------------------------------------------------------


def test_the_newest_version_is_what_the_file_holds_now(station: Station) -> None:
    """Promise 3: of A, B, A again, the last."""
    station.world.record((b"a.csv", "A"))
    (version,) = [c.file_version_id for c in station.world.claim(1)]
    contents = ((1, 11, "A"), (2, 12, "B"), (3, 13, "A"))
    done = station.adopt(*(marker("a.csv", n, 4, v, n, t) for n, v, t in contents))
    first, second, third = (key[2] for key in station.keys(done))
    assert third == version
    assert len({first, second, third}) == 3
    assert min(first, second) > 13


def test_the_next_version_with_that_content_takes_the_place(station: Station) -> None:
    """Promise 3, for a file that is not known yet."""
    done = station.adopt(marker("a.csv", 1, 4, 11, 1, "A"), marker("a.csv", 2, 4, 12, 2, "B"))
    station.world.record((b"a.csv", "B"))
    assert station.world.claim_one().file_version_id == station.keys(done)[1][2]
    station.world.record((b"a.csv", "A"))
    station.world.record((b"a.csv", "B"))
    others = {c.file_version_id for c in station.world.claim(5)}
    assert others.isdisjoint({key[2] for key in station.keys(done)})


def test_another_content_leaves_the_adopted_rows(station: Station) -> None:
    """Promise 3: whatever is found afterwards is another version."""
    done = station.adopt(marker("a.csv", 1, 4, 11, 1, "A"))
    for text_ in ("B", "A"):
        station.world.record((b"a.csv", text_))
    versions = {c.file_version_id for c in station.world.claim(5)}
    assert len(versions) == 2
    assert station.keys(done)[0][2] not in versions


def test_rows_of_unknown_content_are_of_what_the_file_holds(station: Station) -> None:
    done = station.adopt(marker("a.csv", 1, 4, 11), marker("b.csv", 2, 5, 12))
    station.world.record((b"a.csv", "A"))
    assert station.world.claim_one().file_version_id == station.keys(done)[0][2]


def test_slots_of_one_version_stay_together(station: Station) -> None:
    one, two = marker("a.csv", 1, 4, 11, 1, "A"), marker("a.csv", 1, 4, 11, 1, "A")
    first = station.keys(station.adopt(replace(one, topic="left")))
    second = station.keys(station.adopt(replace(two, topic="right")))
    assert first == second


# --- again ----------------------------------------------------------------------------------------


def test_taking_over_again_gives_the_same_keys(station: Station) -> None:
    """Promise 5: killed before any marker was written, and after some."""
    station.world.record((b"b.csv", "1"))
    markers = [
        marker("a.csv", 1, 1, 11, 1, "A"),
        marker("a.csv", 2, 1, 12, 2, "B"),
        marker("b.csv", 3, 2),
        marker("b.csv", 4, 2, 0, 1, "", "e" * 32),
    ]
    first = station.adopt(*markers)
    published = [station.published(path) for path in (b"a.csv", b"b.csv")]
    again = station.adopt(*markers)
    assert station.keys(again) == station.keys(first)
    written = [r.after for r in again.renewals if r.before.job_id in (2, 4)]
    third = station.adopt(markers[0], markers[2], own=tuple(written))
    assert station.keys(third) == station.keys(first)
    assert {r.after.installation for r in third.renewals} == {third.installation}
    assert [station.published(path) for path in (b"a.csv", b"b.csv")] == published
    station.world.record((b"a.csv", "B"))
    claim = next(c for c in station.world.claim(5) if c.path == b"a.csv")
    assert claim.file_version_id == station.keys(first)[1][2]


def test_rows_of_one_file_by_two_installations(station: Station) -> None:
    """The newest keep the slot; the others are emptied by the next publication."""
    station.world.record((b"a.csv", "1"))
    claim = station.world.claim_one()
    station.world.publish(claim)
    own = replace(
        Marker.of(station.world.manifest(claim), station.world.manifest(claim).items[0]),
        installation=station.stores.ledger.installation,
    )
    done = station.adopt(marker("a.csv", 9, 9), own=(own,))
    ((_, location, version),) = station.keys(done)
    assert version > 0
    assert done.enqueued == 1
    slots = {p.slot.version_id: p.mode for p in station.published(b"a.csv")}
    assert slots == {0: Mode.REPLACE, version: Mode.APPEND}
    assert location == claim.location_id


def test_a_version_of_the_same_content_that_is_known_no_more_stays(station: Station) -> None:
    """Restored: the file was forgotten after the copy, and appended once more."""
    station.world.record((b"a.csv", "A"))
    claim = station.world.claim_one()
    station.stores.ledger.decide([station.world.decision(claim, mode=Mode.APPEND)])
    station.world.complete(claim)
    mine = station.stores.ledger.installation
    manifest = station.world.manifest(claim, mode=Mode.APPEND)
    own = Marker.of(manifest, manifest.items[0])
    later = marker("a.csv", 5, own.location_id, 6, 2, "A", mine)
    done = station.adopt(later, own=(own,))
    assert done.enqueued == 0
    assert station.keys(done)[0][2] not in (0, own.version_id)
    assert {p.mode for p in station.published(b"a.csv")} == {Mode.APPEND}


def test_schemas_of_targets_are_kept(station: Station) -> None:
    """What a target has is held against what is published next; what is known here stays."""
    wide = TargetSchema((Column("n", "int64"),))
    slots = [StandingSlot(TARGET, marker("a.csv"))]
    takeover = Takeover(slots, [], {TARGET: wide}, frozenset(), "ann")
    station.queue.take_over(takeover)
    assert station.stores.ledger.schemas([TARGET]) == {TARGET: wide}
    narrow = TargetSchema((Column("n", "int32"),))
    station.queue.take_over(replace(takeover, schemas={TARGET: narrow}))
    assert station.stores.ledger.schemas([TARGET]) == {TARGET: wide}


def test_what_a_slot_state_says_before_anything_is_published(station: Station) -> None:
    """The lock row is there, without a generation: whatever is published is newer."""
    station.adopt(marker("a.csv"))
    key = (PLUGIN, station.location(b"a.csv"))
    state = station.stores.ledger.slots([key])[key]
    assert (state.generation, state.holder) == (None, None)
    assert state != SlotState()
    assert [p.slot.topic for p in state.published] == ["rows"]
