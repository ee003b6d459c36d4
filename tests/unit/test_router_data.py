"""The frames of a job on their way through the router: topics, credit, leases that are lost."""

from __future__ import annotations

import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import FailJob, FinishJob, KillSidecar, Send, StageFrame
from casparian.domain.messages import Control, TopicTotals
from casparian.domain.plugins import REJECTS_TOPIC
from casparian.domain.wire import Flag, Limits, credit_for
from tests.support.router import BATCH, Bench, claim, controls, live, of, sent_jobs

JOB = claim(1)
SMALL = Limits(session_window=2 << 20)


class TestData:
    def test_frames_are_handed_on_as_they_came(self) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB)
        schema, batch = bench.stage(sidecar, JOB, size=10)
        assert isinstance(schema, StageFrame)
        assert isinstance(batch, StageFrame)
        assert (schema.flags, bytes(schema.payload)) == (Flag.SCHEMA, b"schema")
        assert (batch.flags, batch.topic, len(batch.payload)) == (BATCH, "rows", 10)
        (finish,) = bench.hear(sidecar, sidecar.done(JOB))
        assert isinstance(finish, FinishJob)
        assert finish.topics == {"rows": TopicTotals(1, 2, 16)}

    def test_a_whole_stream_needs_no_schema_before(self) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB)
        (frame,) = bench.hear(sidecar, sidecar.data(JOB, b"stream", Flag.STREAM), b"stream")
        assert isinstance(frame, StageFrame)
        assert of(FinishJob, bench.hear(sidecar, sidecar.done(JOB)))

    @pytest.mark.parametrize(
        ("topic", "error_class", "text"),
        [
            ("unheard", ErrorClass.UNKNOWN_TOPIC, "it has: more, rows"),
            ("_private", ErrorClass.DATA, "starts with"),
            ("a/b", ErrorClass.DATA, "contains"),
            ("x" * 151, ErrorClass.DATA, "longer than 150"),
        ],
    )
    def test_a_topic_that_cannot_be_fails_the_job_not_the_sidecar(
        self, topic: str, error_class: ErrorClass, text: str
    ) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB, claim(2))
        failed, abandon, *_ = bench.hear(sidecar, sidecar.data(JOB, b"s", Flag.SCHEMA, topic), b"s")
        assert isinstance(failed, FailJob)
        assert failed.error_class is error_class
        assert text in failed.message
        assert abandon == Send(sidecar.peer, Control(abandon=1))
        assert bench.hear(sidecar, sidecar.failed(JOB)) == []
        assert of(FinishJob, bench.hear(sidecar, sidecar.done(claim(2))))

    def test_rejects_need_no_table_where_any_topic_has_one(self) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB)
        schema = sidecar.data(JOB, b"s", Flag.SCHEMA, REJECTS_TOPIC)
        assert of(StageFrame, bench.hear(sidecar, schema, b"s"))
        bench = Bench(live(topics=()))
        sidecar = bench.ready(JOB)
        schema = sidecar.data(JOB, b"s", Flag.SCHEMA, REJECTS_TOPIC)
        (failed,) = of(FailJob, bench.hear(sidecar, schema, b"s"))
        assert "'_rejects'" in failed.message

    def test_rows_of_a_refused_job_are_dropped_and_credited(self) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB)
        bench.stage(sidecar, JOB)
        assert bench.router.refused(1, 1) == [Send(sidecar.peer, Control(abandon=1))]
        assert bench.router.refused(1, 1) == []
        known = bench.router.pool.sidecars[sidecar.session]
        before = known.outstanding
        payload = bytes(1000)
        assert of(StageFrame, bench.hear(sidecar, sidecar.data(JOB, payload), payload)) == []
        assert known.outstanding == before
        # It may finish before it hears of it: the job has failed all the same.
        assert bench.hear(sidecar, sidecar.done(JOB)) == []
        assert sent_jobs(bench.offer(claim(2))) == [(sidecar.peer, 2)]

    def test_a_refusal_that_comes_after_the_end_changes_nothing(self) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB)
        bench.hear(sidecar, sidecar.done(JOB))
        assert bench.router.refused(1, 1) == []
        assert bench.router.garbled("gone", JOB, "late") == []


class TestCredit:
    def test_comes_back_in_eighths_and_the_last_of_it_at_a_tick(self) -> None:
        bench = Bench(limits=SMALL)
        sidecar = bench.ready(JOB)
        window = 2 << 20
        part = bytes(window // 16 - credit_for(0))
        bench.hear(sidecar, sidecar.data(JOB, b"s", Flag.SCHEMA), b"s")
        for _ in range(3):
            bench.hear(sidecar, sidecar.data(JOB, part), part)
        consumed = bench.router.consumed
        schema, each = credit_for(1), credit_for(len(part))
        assert consumed(sidecar.session, schema) == []
        assert consumed(sidecar.session, each) == []
        assert controls(consumed(sidecar.session, each)) == [Control(2 * each + schema)]
        assert controls(bench.router.tick(bench.now)) == []  # A part is still with the sinks.
        assert consumed(sidecar.session, each) == []
        assert controls(bench.router.tick(bench.now)) == [Control(each)]
        assert controls(bench.router.tick(bench.now)) == []

    def test_is_used_by_messages_of_nothing(self) -> None:
        """A sidecar that sends ever so many of them, past its credit, is ended."""
        bench = Bench(limits=SMALL)
        sidecar = bench.ready(JOB)
        bench.hear(sidecar, sidecar.data(JOB, b"", Flag.SCHEMA), b"")
        most = (2 << 20) // credit_for(0)
        for _ in range(most - 1):
            assert not of(KillSidecar, bench.hear(sidecar, sidecar.data(JOB, b""), b""))
        assert of(KillSidecar, bench.hear(sidecar, sidecar.data(JOB, b""), b""))

    def test_of_a_sidecar_that_is_gone_is_nobodys(self) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB)
        bench.stage(sidecar, JOB)
        bench.exit(sidecar)
        assert bench.router.consumed(sidecar.session, 10) == []

    def test_all_sessions_together_keep_the_total(self) -> None:
        many = [live(f"p{n}") for n in range(20)]
        bench = Bench(*many, sidecars=2, limits=Limits(total_window=80 << 20))
        assert bench.router.pool.window() == 2 << 20


class TestLostLeases:
    def test_of_a_waiting_job(self) -> None:
        bench = Bench()
        bench.offer(JOB, claim(2))
        (given,) = bench.router.lost(1)
        assert isinstance(given, FailJob)
        assert given.error_class is ErrorClass.CONFLICT
        assert bench.router.pool.held() == 1

    def test_of_the_running_job_ends_its_sidecar(self) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB, claim(2))
        given, kill = bench.router.lost(1)
        assert isinstance(given, FailJob)
        assert isinstance(kill, KillSidecar)
        out = bench.exit(sidecar, job_id=1)
        assert of(FailJob, out) == []
        assert bench.router.lost(1) == []

    def test_of_a_prefetched_job_lets_the_sidecar_live(self) -> None:
        bench = Bench()
        second = claim(2)
        sidecar = bench.ready(JOB, second)
        (given,) = bench.router.lost(2)
        assert isinstance(given, FailJob)
        assert given.claim.job_id == 2
        assert of(FinishJob, bench.hear(sidecar, sidecar.done(JOB)))
        assert of(StageFrame, bench.stage(sidecar, second)) == []
        assert of(FinishJob, bench.hear(sidecar, sidecar.done(second))) == []
        assert sent_jobs(bench.offer(claim(3))) == [(sidecar.peer, 3)]

    def test_of_an_unknown_job_is_nothing(self) -> None:
        assert Bench().router.lost(99) == []
