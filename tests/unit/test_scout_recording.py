"""Batches on their way into the catalog."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import cast

import pytest

from casparian.app.scout_recording import Recording
from casparian.domain.errors import UnavailableError
from casparian.domain.files import Sighting, SourceRoot, StatIdentity
from casparian.domain.ports import FileCatalog, RecordOutcome
from casparian.domain.routing import RoutingTable


class Catalog:
    """Records when it is let; a batch of none cannot be recorded."""

    def __init__(self) -> None:
        self.recorded: list[int] = []
        self.threads: list[threading.Thread] = []
        self.at_once = 0
        self.may = threading.Event()

    def record(
        self, root_id: int, sightings: Sequence[Sighting], routing: RoutingTable
    ) -> RecordOutcome:
        self.at_once += 1
        assert self.at_once == 1
        assert self.may.wait(20)
        self.threads.append(threading.current_thread())
        self.at_once -= 1
        if sightings[0].path == b"broken":
            raise UnavailableError("The catalog is away.")
        self.recorded.append(len(sightings))
        return RecordOutcome(new=len(sightings))


def batch(count: int, path: bytes = b"a") -> list[Sighting]:
    return [Sighting(path, StatIdentity(1, 1, 1, 1, 1), "0")] * count


def recording(catalog: Catalog, told: list[int]) -> Recording:
    return Recording(
        cast(FileCatalog, catalog),
        SourceRoot(1, b"/root"),
        lambda: RoutingTable((), ()),
        lambda outcome: told.append(outcome.new),
    )


def test_batches_are_recorded_in_turn_beside_the_caller() -> None:
    catalog, told = Catalog(), list[int]()
    with recording(catalog, told) as batches:
        batches.put(batch(1))
        batches.look()
        assert told == []
        catalog.may.set()
        batches.put(batch(2))
        assert told == [1]
        batches.put(batch(3))
        batches.finish(batch(4))
        assert told == catalog.recorded == [1, 2, 3, 4]
    own = threading.current_thread()
    assert [thread is own for thread in catalog.threads] == [False, False, False, True]
    assert not catalog.threads[0].is_alive()


def test_a_last_batch_alone_needs_no_thread() -> None:
    catalog, told = Catalog(), list[int]()
    catalog.may.set()
    with recording(catalog, told) as batches:
        batches.finish([])
        batches.finish(batch(5))
    assert told == [5]
    assert catalog.threads == [threading.current_thread()]


@pytest.mark.parametrize("call", ["put", "wait", "finish"])
def test_what_goes_wrong_is_raised_by_the_next_call(call: str) -> None:
    catalog, told = Catalog(), list[int]()
    catalog.may.set()
    with recording(catalog, told) as batches:
        batches.put(batch(1))
        batches.put(batch(1, b"broken"))
        arguments = [] if call == "wait" else [batch(2)]
        with pytest.raises(UnavailableError, match="away"):
            getattr(batches, call)(*arguments)
    assert told == catalog.recorded == [1]


def test_the_end_waits_for_what_is_under_way() -> None:
    catalog, told = Catalog(), list[int]()
    with recording(catalog, told) as batches:
        batches.put(batch(1))
        catalog.may.set()
    assert catalog.recorded == [1]
