"""The contract of JobQueue. A subclass gives the fixture `stores`; numbers are the port's.

Its parts are one class each: claims, failures, what operators do, purges, duplicates. What is
left of it, the state of the queue and its wake-ups, stands here.
"""

from __future__ import annotations

import threading

import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.jobs import JobStatus
from casparian.domain.ports import JobQueue, WorkerNode
from casparian.testing.claims import ClaimContract
from casparian.testing.duplicates import DuplicateContract
from casparian.testing.failures import POLICY, FailureContract, failure
from casparian.testing.operations import OperatorContract
from casparian.testing.purges import PurgeContract
from casparian.testing.world import HASH, SECOND_US, Stores, VirtualClock, World


def node(name: str = "n1", pid: int = 7, stopped: bool = False) -> WorkerNode:
    return WorkerNode(
        name, "host", pid, "host/boot", 1, ("worker",), "ipc://x", {"python": "3"},
        "abc", "me", 5, 0, {"jobs": 1}, stopped,
    )  # fmt: skip


class JobQueueContract(
    ClaimContract, FailureContract, OperatorContract, PurgeContract, DuplicateContract
):
    """Hold an adapter to the promises of JobQueue."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def stores(self, clock: VirtualClock) -> Stores:
        raise NotImplementedError("give the adapter under test")

    @pytest.fixture
    def world(self, stores: Stores, clock: VirtualClock) -> World:
        world = World(stores, clock)
        world.apply()
        return world

    @pytest.fixture
    def queue(self, world: World) -> JobQueue:
        return world.stores.queue

    def test_jobs_are_looked_up_by_number(self, world: World) -> None:
        """Each once, in their order, beside the other conditions; of unknown ones nothing."""
        world.record_many(4)
        reports, (first, *_, last) = world.stores.reports, world.statuses()
        found = reports.jobs(ids=[last, first, last, 10**9, -1])
        assert found == [job for job in reports.jobs() if job["id"] in (first, last)]
        assert reports.jobs("FAILED", ids=[first]) == reports.jobs(ids=[]) == []
        assert len(reports.jobs(ids=range(first, first + 5000))) == 4

    def test_backlog_counts_by_status(self, world: World, queue: JobQueue) -> None:
        assert sum(queue.backlog().values()) == 0
        world.record_many(7)
        done, decided, failed, _ = world.claim(4)
        world.publish(done)
        world.decide(decided)
        queue.fail([failure(failed, ErrorClass.DATA)], POLICY)
        queue.cancel([7], "ann")
        assert {s: n for s, n in queue.backlog().items() if n} == {
            JobStatus.COMPLETED: 1,
            JobStatus.PROMOTING: 1,
            JobStatus.FAILED: 1,
            JobStatus.RUNNING: 1,
            JobStatus.QUEUED: 2,
            JobStatus.CANCELLED: 1,
        }

    def test_heartbeats(self, world: World, queue: JobQueue, clock: VirtualClock) -> None:
        """Promise 8: written by the queue's clock; a new process takes its pid's row."""
        queue.beat(node("n1"))
        queue.beat(node("n2", pid=8))
        clock.advance(5)
        queue.beat(node("n1", stopped=True))
        first, second = queue.workers()
        assert first.heartbeat_at_us == clock()
        assert second.heartbeat_at_us == clock() - 5 * SECOND_US
        assert (first.stopped, first.roles, first.versions["python"]) == (True, ("worker",), "3")
        queue.beat(node("n3"))
        assert sorted(n.id for n in queue.workers()) == ["n2", "n3"]

    def test_a_wake_ends_a_wait(self, queue: JobQueue) -> None:
        """A wake that comes before the wait is not lost either."""
        queue.wait(0.2)
        queue.wake()
        waited = threading.Event()

        def wait() -> None:
            queue.wait(60)
            waited.set()

        queue.wait(60)
        thread = threading.Thread(target=wait)
        thread.start()
        while not waited.wait(0.01):
            queue.wake()
        thread.join()

    def test_new_jobs_end_a_wait(self, world: World, queue: JobQueue) -> None:
        queue.wait(0.2)
        thread = threading.Thread(target=world.record_many, args=(3,))
        thread.start()
        while not (claims := world.claim(3)):
            queue.wait(60)
        thread.join()
        assert claims[0].plugin_hash == HASH

    def test_a_wait_ends_in_time(self, queue: JobQueue) -> None:
        """It returns, though nothing happens."""
        queue.wait(0)
        queue.wait(0.05)
