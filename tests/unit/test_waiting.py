"""What an engine says that it waits for: since when, how many jobs, and until when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from casparian.app.waiting import MOST_JOBS, Waits
from casparian.domain.errors import UnavailableError
from casparian.domain.jobs import JobStatus
from casparian.domain.publish import JobFate
from casparian.testing.world import VirtualClock

QUEUED, RUNNING, PROMOTING = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PROMOTING


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def waits(clock: VirtualClock) -> Waits:
    return Waits(clock)


def named(waits: Waits) -> dict[str, int]:
    return {wait["what"]: wait["jobs"] for wait in waits.listed()}


def fates(**statuses: JobStatus) -> Mapping[int, JobFate]:
    return {int(name[1:]): JobFate(status, 1, None) for name, status in statuses.items()}


def told(waits: Waits, **statuses: JobStatus) -> None:
    waits.compare(lambda asked: fates(**statuses))


def test_a_step_waits_from_its_first_failure_to_its_next_success(
    waits: Waits, clock: VirtualClock
) -> None:
    for reason in ("locked", "full"):
        with pytest.raises(UnavailableError), waits.database("claiming"):
            raise UnavailableError(reason)
        clock.advance(5)
    (wait,) = waits.listed()
    assert (wait["what"], wait["reason"], wait["jobs"]) == ("database", "full", 0)
    first = wait["since"]
    with pytest.raises(UnavailableError), waits.database("beat"):
        raise UnavailableError("full")
    with waits.database("claiming"):
        pass
    (wait,) = waits.listed()
    assert wait["since"] > first
    with waits.database("beat"):
        pass
    assert waits.listed() == []


def test_jobs_that_wait_for_the_same_are_counted(waits: Waits) -> None:
    waits.job(1, PROMOTING, "sink /a", "full")
    waits.job(2, PROMOTING, "sink /a", "full")
    waits.job(3, QUEUED, "plugin csv", "read-only")
    assert named(waits) == {"sink /a": 2, "plugin csv": 1}
    waits.job_over(1)
    assert named(waits) == {"sink /a": 1, "plugin csv": 1}


def test_a_job_that_is_tried_again_is_not_shown_and_keeps_its_time(
    waits: Waits, clock: VirtualClock
) -> None:
    waits.job(3, QUEUED, "plugin csv", "read-only")
    (before,) = waits.listed()
    told(waits, j3=RUNNING)
    assert waits.listed() == []
    clock.advance(60)
    waits.job(3, QUEUED, "plugin csv", "full")
    (after,) = waits.listed()
    assert (after["since"], after["reason"]) == (before["since"], "full")


@pytest.mark.parametrize("status", [s for s in JobStatus if s not in (QUEUED, RUNNING, PROMOTING)])
def test_a_job_that_ended_anywhere_is_forgotten(waits: Waits, status: JobStatus) -> None:
    waits.job(3, QUEUED, "plugin csv", "read-only")
    told(waits, j3=status)
    told(waits, j3=QUEUED)
    assert waits.listed() == []


def test_a_job_that_is_pruned_is_forgotten(waits: Waits) -> None:
    waits.job(3, QUEUED, "plugin csv", "read-only")
    told(waits)
    assert waits.listed() == []


def test_without_jobs_nobody_is_asked(waits: Waits) -> None:
    def ask(jobs: Sequence[int]) -> Mapping[int, JobFate]:
        raise AssertionError(jobs)

    waits.compare(ask)


def test_of_many_jobs_some_are_kept_in_mind(waits: Waits) -> None:
    for job_id in range(MOST_JOBS + 10):
        waits.job(job_id, QUEUED, "plugin csv", "full")
    assert named(waits) == {"plugin csv": MOST_JOBS}
