"""The sidecar's side of a session: jobs in turn, credit never overdrawn, totals that add up."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.domain.errors import ErrorClass, IllegalTransitionError
from casparian.domain.message_codec import decode_from_sidecar, encode
from casparian.domain.messages import (
    MOST_TOPICS,
    Control,
    Deployed,
    DeployRefused,
    Done,
    Execute,
    Failed,
    FromRouter,
    TopicTotals,
)
from casparian.domain.session import Session
from casparian.domain.wire import Flag, LocalProtocolError, credit_for

BATCH = Flag(0)


def job(number: int, attempt: int = 1) -> Execute:
    return Execute(number, attempt, f"/in/f{number}", f"f{number}", 100 + number, "c" * 64)


def at_work(credit: int = 1_000_000) -> Session:
    session = Session("secret")
    session.handle(Control(credit=credit))
    session.handle(job(1))
    session.begin()
    return session


def test_jobs_are_done_in_the_order_they_came() -> None:
    session = Session("secret")
    assert session.begin() is None
    for number in (1, 2):
        session.handle(job(number))
    assert session.begin() == job(1)
    assert session.done() == Done("secret", 1, 1, {})
    assert session.begin() == job(2)
    assert session.failed(ErrorClass.OOM, "m", "d") == Failed(
        "secret", 2, 1, ErrorClass.OOM, "m", "d"
    )
    assert session.begin() is None


class TestCredit:
    def test_the_first_grant_is_the_window(self) -> None:
        session = Session("secret")
        session.handle(Control(credit=100))
        session.handle(Control(credit=50))
        assert (session.window, session.credit) == (100, 150)

    def test_is_never_overdrawn(self) -> None:
        session = at_work(credit=credit_for(4) + credit_for(6))
        session.data("rows", Flag.SCHEMA, 0, 4)
        with pytest.raises(IllegalTransitionError, match=f"{credit_for(6)} bytes of credit"):
            session.data("rows", BATCH, 1, 7)
        session.data("rows", BATCH, 1, 6)
        session.handle(Control(credit=credit_for(7)))
        session.data("rows", BATCH, 1, 7)
        assert session.credit == 0

    def test_is_used_by_messages_of_nothing(self) -> None:
        """However small they are, no more than a known number is on the way."""
        session = at_work(credit=1 << 20)
        session.data("rows", Flag.SCHEMA, 0, 0)
        with contextlib.suppress(IllegalTransitionError):
            for _ in range(1 << 20):
                session.data("rows", BATCH, 1, 0)
        assert session.done().topics["rows"].batches < 500

    def test_outlives_the_job(self) -> None:
        """What was sent of one job is on its way while the next is at work."""
        session = at_work(credit=credit_for(4) + 6)
        session.data("rows", Flag.SCHEMA, 0, 4)
        session.done()
        assert session.credit == 6


class TestTotals:
    def test_schemas_are_bytes_but_no_batches(self) -> None:
        session = at_work()
        session.data("rows", Flag.SCHEMA, 0, 30)
        session.data("rows", BATCH, 5, 100)
        session.data("more", Flag.STREAM, 2, 50)
        session.data("rows", Flag.SCHEMA, 0, 30)
        assert session.done().topics == {
            "rows": TopicTotals(1, 5, 160),
            "more": TopicTotals(1, 2, 50),
        }

    def test_begin_anew_with_each_job(self) -> None:
        session = at_work()
        session.handle(job(2))
        first = session.data("rows", Flag.SCHEMA, 0, 1)
        second = session.data("rows", BATCH, 1, 1)
        session.done()
        session.begin()
        third = session.data("rows", Flag.SCHEMA, 0, 1)
        assert [first.sequence, second.sequence, third.sequence] == [0, 1, 0]
        assert session.done().topics == {"rows": TopicTotals(0, 0, 1)}

    @given(
        st.text(st.sampled_from("aé😀\x7f\u2028"), min_size=1, max_size=140).filter(
            lambda name: len(name.encode()) < 140
        )
    )
    def test_more_topics_than_done_can_hold_are_refused_where_they_begin(self, name: str) -> None:
        """Not at the end, when the sidecar would have nothing it could say."""
        session = at_work(credit=10**9)
        count = 0
        with contextlib.suppress(LocalProtocolError):
            for count in range(MOST_TOPICS + 1):
                session.data(f"{name}{count}", Flag.SCHEMA, 0, 1)
        assert 50 <= count <= MOST_TOPICS
        with pytest.raises(LocalProtocolError, match=f"after {count} topics"):
            session.data(f"{name}{count}", Flag.SCHEMA, 0, 1)
        for known in range(count):
            session.data(f"{name}{known}", BATCH, 2**60, 1)
        done = session.done()
        assert decode_from_sidecar(encode(done), 0) == done


class TestGivingUp:
    def test_of_the_current_job(self) -> None:
        session = at_work()
        session.handle(Control(abandon=1))
        assert session.abandoned

    def test_of_another_job_is_past(self) -> None:
        session = at_work()
        session.handle(Control(abandon=2))
        assert not session.abandoned

    @pytest.mark.parametrize("end", ["done", "failed"])
    def test_ends_with_the_job(self, end: str) -> None:
        """An idle session has nothing to give up, whether the next job has come or not."""
        session = at_work()
        session.handle(Control(abandon=1))
        if end == "done":
            session.done()
        else:
            session.failed(ErrorClass.DATA, "given up", "")
        assert not session.abandoned
        session.handle(job(2))
        session.begin()
        assert not session.abandoned


@pytest.mark.parametrize(
    "message", [Control(stop=True), DeployRefused("sender", "no"), Deployed("lines", 2, "c")]
)
def test_stops_when_told_to_and_stays_so(message: FromRouter) -> None:
    session = Session("secret")
    session.handle(message)
    session.handle(Control(credit=5))
    assert session.stopping


@pytest.mark.parametrize("event", ["data", "done", "failed"])
def test_nothing_is_sent_of_no_job(event: str) -> None:
    session = Session("secret")
    with pytest.raises(IllegalTransitionError, match="'idle'"):
        {
            "data": lambda: session.data("rows", BATCH, 1, 0),
            "done": session.done,
            "failed": lambda: session.failed(ErrorClass.DATA, "m", ""),
        }[event]()


def test_one_job_at_a_time() -> None:
    session = at_work()
    session.handle(job(2))
    with pytest.raises(IllegalTransitionError, match="'at job 1'"):
        session.begin()
