"""Jobs: the table of steps, and what each class of failure costs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.domain.errors import ErrorClass, IllegalTransitionError
from casparian.domain.jobs import (
    COSTS,
    LONGEST_BACKOFF_US,
    TRANSITIONS,
    UNFINISHED,
    Budget,
    JobEventKind,
    JobKind,
    JobStatus,
    RetryPolicy,
    check_transition,
)

SECOND = 1_000_000
NOW = 10**15
POLICY = RetryPolicy(max_attempts=5, max_crashes=3, backoff_us=10 * SECOND)

FAILS_AT_ONCE = "DATA SCHEMA_DRIFT UNKNOWN_TOPIC PLUGIN QUARANTINED SOURCE_GONE FOREIGN_ROWS"
COSTS_A_TRY = "SOURCE_CHANGED ENGINE"
COSTS_A_CRASH = "CRASH OOM TIMEOUT PROTOCOL"
IS_FREE = "INFRASTRUCTURE CONFLICT"


def classes(names: str) -> list[ErrorClass]:
    return [ErrorClass(name) for name in names.split()]


class TestTransitions:
    def test_only_what_the_table_has_is_possible(self) -> None:
        possible = {(old, event, new) for (old, event), all_ in TRANSITIONS.items() for new in all_}
        for step in itertools.product(JobStatus, JobEventKind, JobStatus):
            if step in possible:
                check_transition(7, *step)
            else:
                with pytest.raises(IllegalTransitionError, match=f"job 7: .*{step[0]!r}"):
                    check_transition(7, *step)

    def test_what_is_final_is_left_by_an_operator_only(self) -> None:
        for (old, event), _ in TRANSITIONS.items():
            if old in (JobStatus.COMPLETED, JobStatus.SUPERSEDED):
                pytest.fail(f"{old} is left by {event}")
            if old in (JobStatus.FAILED, JobStatus.CANCELLED):
                assert event is JobEventKind.RETRIED

    def test_a_decided_job_is_never_failed_nor_cancelled(self) -> None:
        """Its rows may be visible already: it is rolled forward."""
        results = {
            new
            for (old, _), all_ in TRANSITIONS.items()
            for new in all_
            if old is JobStatus.PROMOTING
        }
        assert not results & {JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUEUED}

    def test_every_unfinished_job_can_end(self) -> None:
        ends = set(JobStatus) - UNFINISHED
        for status in UNFINISHED:
            seen, reach = set(), {status}
            while reach - seen:
                seen |= reach
                reach = {n for (old, _), all_ in TRANSITIONS.items() if old in seen for n in all_}
            assert reach & ends, status

    def test_every_event_leads_somewhere(self) -> None:
        steps = {event for _, event in TRANSITIONS}
        notes = {
            JobEventKind.FORGOTTEN,
            JobEventKind.ADOPTED,
            JobEventKind.PURGED,
            JobEventKind.ENQUEUED,
            JobEventKind.BACKFILLED,
        }
        assert steps == set(JobEventKind) - notes


class TestBudgets:
    def test_every_class_has_its_cost(self) -> None:
        named = " ".join((FAILS_AT_ONCE, COSTS_A_TRY, COSTS_A_CRASH, IS_FREE))
        assert sorted(classes(named)) == sorted(COSTS)
        assert set(COSTS) == set(ErrorClass)

    @pytest.mark.parametrize("error", classes(FAILS_AT_ONCE))
    def test_what_would_fail_again_fails_at_once(self, error: ErrorClass) -> None:
        verdict = POLICY.judge(error, 0, 0, NOW, 0.5)
        assert (verdict.status, verdict.tries, verdict.crashes) == (JobStatus.FAILED, 1, 0)

    @pytest.mark.parametrize("error", classes(COSTS_A_TRY))
    def test_tries_are_used_up(self, error: ErrorClass) -> None:
        assert self.history(error) == (5, 5, 0)

    @pytest.mark.parametrize("error", classes(COSTS_A_CRASH))
    def test_crashes_are_used_up_sooner(self, error: ErrorClass) -> None:
        assert self.history(error) == (3, 3, 3)

    @pytest.mark.parametrize("error", classes(IS_FREE))
    def test_what_is_not_the_jobs_fault_costs_nothing(self, error: ErrorClass) -> None:
        assert COSTS[error] == Budget(0, 0, final=False)
        verdict = POLICY.judge(error, 4, 2, NOW, 0.5)
        assert (verdict.status, verdict.tries, verdict.crashes) == (JobStatus.QUEUED, 4, 2)
        # Not even where the budget is spent already.
        assert POLICY.judge(error, 5, 3, NOW, 0.5).status is JobStatus.QUEUED

    def test_a_conflict_is_queued_at_once(self) -> None:
        assert POLICY.judge(ErrorClass.CONFLICT, 3, 1, NOW, 0.9).not_before_us == NOW

    @pytest.mark.parametrize("error", list(ErrorClass))
    def test_a_purge_is_never_queued_again(self, error: ErrorClass) -> None:
        verdict = POLICY.judge(error, 0, 0, NOW, 0.5, JobKind.PURGE)
        assert verdict.status is JobStatus.FAILED

    def history(self, error: ErrorClass) -> tuple[int, int, int]:
        """(failures until FAILED, tries, crashes) of a job that always ends so."""
        tries = crashes = 0
        for count in itertools.count(1):
            verdict = POLICY.judge(error, tries, crashes, NOW, 0.5)
            tries, crashes = verdict.tries, verdict.crashes
            if verdict.status is JobStatus.FAILED:
                return count, tries, crashes
            assert verdict.not_before_us > NOW
        raise AssertionError


class TestBackoff:
    def test_doubles_up_to_ten_minutes(self) -> None:
        waits = [POLICY.backoff(nth, 0.5) // SECOND for nth in range(1, 10)]
        assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]

    def test_is_spread_by_a_fifth(self) -> None:
        assert POLICY.backoff(1, 0.0) == 8 * SECOND
        assert POLICY.backoff(1, 0.5) == 10 * SECOND
        assert POLICY.backoff(1, 1.0) == 12 * SECOND

    @given(
        st.integers(0, 10**12),
        st.integers(1, 10**6),
        st.floats(0, 1, exclude_max=True),
    )
    def test_stays_within_its_bounds(self, base: int, nth: int, chance: float) -> None:
        wait = RetryPolicy(backoff_us=base).backoff(nth, chance)
        assert 0 <= wait <= LONGEST_BACKOFF_US * 1.2

    def test_waits_after_the_first_failure(self) -> None:
        verdict = POLICY.judge(ErrorClass.CRASH, 0, 0, NOW, 0.5)
        assert verdict.not_before_us - NOW == 10 * SECOND
