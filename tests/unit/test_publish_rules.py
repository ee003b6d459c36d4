"""The rules of publishing: what a job installs, empties and leaves, and whose staging is whose."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.domain.errors import JobError
from casparian.domain.jobs import JobStatus
from casparian.domain.plugins import Mode
from casparian.domain.publish import (
    EMPTY_DIGEST,
    Generation,
    InstallCase,
    JobFate,
    Manifest,
    ManifestItem,
    Marker,
    MarkerCase,
    PublishedSlot,
    Receipt,
    SlotState,
    StagingKey,
    Target,
    compare_marker,
    final_status,
    group_by_target,
    is_orphan,
    plan_items,
    plan_purge,
    planned,
    slot_for,
)

INSTALLATION = "a" * 32
OUT, OTHER = Target("parquet", "/out", "rows"), Target("sqlite", "/db", "rows")
REPLACE, APPEND = Mode.REPLACE, Mode.APPEND
LOCATION = 5


def item(
    topic: str = "rows", mode: Mode = REPLACE, target: Target = OUT, version: int = 31
) -> ManifestItem:
    slot = slot_for(mode, "lines", topic, LOCATION, version)
    return ManifestItem(target._replace(name=topic), mode, slot, True, 3, "d" * 64)


def job(*items: ManifestItem, ordinal: int = 3, job_id: int = 30, version: int = 31) -> Manifest:
    file = ("/in", "f.csv", "c")
    return Manifest(INSTALLATION, job_id, 1, "lines", "h", LOCATION, version, ordinal, *file, items)


def stands(
    topic: str = "rows", mode: Mode = REPLACE, version: int = 31, target: Target = OUT
) -> PublishedSlot:
    slot = slot_for(mode, "lines", topic, LOCATION, version)
    return PublishedSlot(target._replace(name=topic), mode, slot)


def plan(
    manifest: Manifest,
    state: SlotState,
    today: dict[str, tuple[Target, Mode]] | None = None,
) -> tuple[list[str], list[PublishedSlot]]:
    """(topics that are installed, slots that are emptied). `today` beats where items went."""
    went = {i.slot.topic: (i.target, i.mode) for i in manifest.items}
    went |= {p.slot.topic: (p.target, p.mode) for p in state.published if p.slot.topic not in went}
    configured = went if today is None else today
    kept, emptied = plan_items(manifest, state, configured.get)
    return [i.slot.topic for i in kept], emptied


class TestPurge:
    def test_it_empties_all_that_stands(self) -> None:
        """Other versions of append topics too, and targets that a topic has left."""
        left = stands("rows", target=OUT._replace(location="/elsewhere"))
        published = (stands("rows"), stands("log", APPEND, 11), stands("log", APPEND, 31), left)
        state = SlotState(Generation(2, 20), None, published)
        assert plan_purge(job(), state) == list(published)
        assert plan_purge(job(), SlotState()) == []

    @pytest.mark.parametrize("generation", [Generation(4, 10), Generation(3, 31)])
    def test_what_is_newer_is_not_its_to_remove(self, generation: Generation) -> None:
        with pytest.raises(JobError, match="newer version of the file meanwhile"):
            plan_purge(job(), SlotState(generation, None, (stands("rows"),)))


class TestPlan:
    def test_a_first_publication_installs_all(self) -> None:
        assert plan(job(item("rows"), item("more")), SlotState()) == (["rows", "more"], [])

    def test_a_newer_version_replaces(self) -> None:
        state = SlotState(Generation(2, 20), None, (stands("rows"),))
        assert plan(job(item("rows")), state) == (["rows"], [])

    def test_a_topic_it_no_longer_publishes_is_emptied(self) -> None:
        state = SlotState(Generation(2, 20), None, (stands("rows"), stands("more")))
        assert plan(job(item("rows")), state) == (["rows"], [stands("more")])

    def test_a_job_without_rows_empties_all(self) -> None:
        state = SlotState(Generation(2, 20), None, (stands("rows"), stands("more")))
        assert plan(job(), state) == ([], [stands("rows"), stands("more")])

    @pytest.mark.parametrize("generation", [Generation(4, 10), Generation(3, 31)])
    def test_an_older_job_installs_no_replace_topic_and_empties_nothing(
        self, generation: Generation
    ) -> None:
        state = SlotState(generation, None, (stands("rows"), stands("more")))
        manifest = job(item("rows"), item("log", APPEND))
        assert plan(manifest, state) == (["log"], [])

    def test_the_same_generation_is_not_older(self) -> None:
        state = SlotState(Generation(3, 30), None, (stands("rows"),))
        assert plan(job(item("rows")), state) == (["rows"], [])

    def test_other_versions_of_an_append_topic_stay(self) -> None:
        published = (stands("log", APPEND, 11), stands("log", APPEND, 31))
        state = SlotState(Generation(2, 20), None, published)
        assert plan(job(item("log", APPEND)), state) == (["log"], [])
        assert plan(job(), state) == ([], [stands("log", APPEND, 31)])

    def test_a_changed_mode_takes_the_rows_of_the_mode_before_along(self) -> None:
        state = SlotState(Generation(2, 20), None, (stands("rows", APPEND, 11), stands("rows")))
        today = {"rows": (OUT, REPLACE)}
        assert plan(job(item("rows")), state, today) == (["rows"], [stands("rows", APPEND, 11)])
        today = {"rows": (OUT, APPEND)}
        topics, emptied = plan(job(item("rows", APPEND)), state, today)
        assert (topics, emptied) == (["rows"], [stands("rows")])

    def test_rows_in_a_target_that_the_topic_left_are_kept(self) -> None:
        state = SlotState(Generation(2, 20), None, (stands("rows", target=OTHER),))
        today = {"rows": (OUT, REPLACE)}
        assert plan(job(item("rows")), state, today) == (["rows"], [])

    def test_rows_of_a_topic_without_configuration_are_emptied(self) -> None:
        """Nothing says that they went elsewhere, and the file no longer has them."""
        state = SlotState(Generation(2, 20), None, (stands("gone"),))
        assert plan(job(item("rows")), state, {"rows": (OUT, REPLACE)}) == (
            ["rows"],
            [stands("gone")],
        )

    @given(
        st.permutations(
            [
                job(item("rows"), item("log", APPEND, version=v), ordinal=n, job_id=j, version=v)
                for n, j, v in ((1, 10, 31), (2, 11, 32), (2, 12, 32), (3, 13, 33))
            ]
        )
    )
    def test_whatever_the_order_the_newest_stands(self, jobs: Sequence[Manifest]) -> None:
        """Replace: the newest generation. Append: every version once."""
        today = {"rows": (OUT, REPLACE), "log": (OUT._replace(name="log"), APPEND)}
        state = SlotState()
        rows_of: dict[PublishedSlot, int] = {}
        for manifest in jobs:
            kept, emptied = plan_items(manifest, state, today.get)
            for slot in emptied:
                rows_of.pop(slot)
            for kept_item in kept:
                slot = PublishedSlot(kept_item.target, kept_item.mode, kept_item.slot)
                rows_of[slot] = max(rows_of.get(slot, 0), manifest.job_id)
            highest = max(state.generation or Generation(0, 0), manifest.generation)
            state = SlotState(highest, None, tuple(rows_of))
        replaced = {s: j for s, j in rows_of.items() if s.mode is REPLACE}
        assert list(replaced.values()) == [13]
        appended = {s.slot.version_id: j for s, j in rows_of.items() if s.mode is APPEND}
        assert appended == {31: 10, 32: 12, 33: 13}


class TestPlanned:
    def test_emptied_slots_become_items_without_rows(self) -> None:
        manifest = job(item("rows"), item("more"))
        decided = planned(manifest, [manifest.items[1]], [stands("old")])
        installed, empty = decided.items
        assert installed == manifest.items[1]
        assert (empty.staged, empty.rows, empty.digest) == (False, 0, EMPTY_DIGEST)
        assert decided.withheld == 1
        assert decided.emptied == (stands("old"),)
        assert decided.rows == 3

    def test_survives_its_json(self) -> None:
        decided = planned(job(item("rows"), item("log", APPEND)), [item("rows")], [stands("x")])
        decided = replace(decided, path="caf\u00e9/\udcff.csv")
        assert Manifest.from_json(decided.to_json()) == decided

    def test_items_are_promoted_sink_by_sink(self) -> None:
        items = [item("a"), item("b", target=OTHER), item("c")]
        groups = group_by_target(items)
        assert {k: [i.slot.topic for i in v] for k, v in groups.items()} == {
            ("parquet", "/out"): ["a", "c"],
            ("sqlite", "/db"): ["b"],
        }


def marker(**fields: object) -> Marker:
    return replace(Marker.of(job(item()), item()), **fields)  # type: ignore[arg-type]


class TestMarkers:
    @pytest.mark.parametrize(
        ("standing", "case"),
        [
            (None, MarkerCase.INSTALL),
            ({}, MarkerCase.ALREADY),
            ({"attempt": 9}, MarkerCase.ALREADY),
            ({"digest": "e" * 64}, MarkerCase.CONFLICT),
            ({"rows": 4}, MarkerCase.CONFLICT),
            ({"installation": "b" * 32}, MarkerCase.FOREIGN),
            ({"installation": "b" * 32, "job_id": 1, "ordinal": 1}, MarkerCase.FOREIGN),
            ({"ordinal": 2, "job_id": 29}, MarkerCase.INSTALL),
            ({"ordinal": 2, "job_id": 99}, MarkerCase.INSTALL),
            ({"ordinal": 3, "job_id": 29}, MarkerCase.INSTALL),
            ({"ordinal": 3, "job_id": 31}, MarkerCase.OLDER),
            ({"ordinal": 4, "job_id": 1}, MarkerCase.OLDER),
        ],
    )
    def test_against_what_stands(
        self, standing: dict[str, object] | None, case: MarkerCase
    ) -> None:
        known = None if standing is None else marker(**standing)
        assert compare_marker(known, marker()) is case

    @given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=6))
    def test_promoting_in_any_order_leaves_the_newest(self, jobs: list[tuple[int, int]]) -> None:
        standing: Marker | None = None
        for ordinal, job_id in jobs:
            # A job has one ordinal; another one of its number would be another digest.
            mine = marker(ordinal=ordinal, job_id=ordinal * 10 + job_id)
            if compare_marker(standing, mine) is MarkerCase.INSTALL:
                standing = mine
        assert standing is not None
        assert standing.generation == max(Generation(o, o * 10 + j) for o, j in jobs)

    def test_survives_its_json(self) -> None:
        known = marker(path="\udcff")
        assert Marker.from_json(known.to_json()) == known
        assert known.slot == item().slot


def receipts(*cases: InstallCase) -> list[Receipt]:
    return [Receipt(item(), case) for case in cases]


class TestFinalStatus:
    @pytest.mark.parametrize("cases", list(itertools.product(InstallCase, repeat=2)))
    def test_completed_if_anything_stands(self, cases: tuple[InstallCase, ...]) -> None:
        status = final_status(job(item()), receipts(*cases))
        older = set(cases) == {InstallCase.OLDER}
        assert status is (JobStatus.SUPERSEDED if older else JobStatus.COMPLETED)

    def test_a_job_that_had_nothing_to_publish_is_complete(self) -> None:
        assert final_status(job(), []) is JobStatus.COMPLETED

    def test_a_job_all_of_whose_topics_were_kept_out_is_superseded(self) -> None:
        older = planned(job(item()), [], [])
        assert final_status(older, []) is JobStatus.SUPERSEDED


KEY = StagingKey(INSTALLATION, 30, 2, "0123456789abcdef")


class TestStagings:
    @pytest.mark.parametrize(
        ("fate", "orphan"),
        [
            (None, True),
            (JobFate(JobStatus.RUNNING, 2, KEY.token), False),
            (JobFate(JobStatus.RUNNING, 2, "f" * 16), True),
            (JobFate(JobStatus.RUNNING, 3, "f" * 16), True),
            (JobFate(JobStatus.RUNNING, 2, None), True),
            (JobFate(JobStatus.PROMOTING, 2, "f" * 16), False),
            (JobFate(JobStatus.PROMOTING, 3, KEY.token), True),
            (JobFate(JobStatus.BLOCKED, 2, None), False),
            (JobFate(JobStatus.BLOCKED, 1, None), True),
            *[
                (JobFate(status, 2, KEY.token), True)
                for status in (
                    JobStatus.QUEUED,
                    JobStatus.COMPLETED,
                    JobStatus.FAILED,
                    JobStatus.CANCELLED,
                    JobStatus.SUPERSEDED,
                )
            ],
        ],
    )
    def test_orphans(self, fate: JobFate | None, orphan: bool) -> None:
        assert is_orphan(KEY, fate) is orphan

    def test_the_name_is_the_key_shortened(self) -> None:
        parsed = StagingKey.parse(KEY.name)
        assert parsed == StagingKey("a" * 12, 30, 2, "0123456789ab")
        assert parsed.same_attempt(KEY)
        # The sweep sees the shortened token only.
        assert not is_orphan(parsed, JobFate(JobStatus.RUNNING, 2, KEY.token))

    @pytest.mark.parametrize(
        "name",
        ["", "notes.txt", KEY.name + "x", KEY.name.upper(), "a" * 12 + ".30.2", ".." + KEY.name],
    )
    def test_what_is_no_staging(self, name: str) -> None:
        assert StagingKey.parse(name) is None

    def test_another_attempt_or_job_is_another(self) -> None:
        assert KEY.same_attempt(KEY._replace(token="f" * 16))
        assert not KEY.same_attempt(KEY._replace(attempt=3))
        assert not KEY.same_attempt(KEY._replace(job_id=31))
        assert not KEY.same_attempt(KEY._replace(installation="b" * 32))


@pytest.mark.parametrize("version", [0, 31])
def test_slot_names_are_not_skipped_by_readers_of_directories(version: int) -> None:
    name = slot_for(APPEND, "_private", "t", 5, version).name
    assert name[0] not in "._"
    assert "=" not in name
