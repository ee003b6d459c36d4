"""The router, event by event: who is believed, what an offence costs, what a death leads to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from casparian.domain.deployments import LARGEST_PLUGIN_BYTES, DeployCheck
from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import (
    FailJob,
    FinishJob,
    KillSidecar,
    QuarantinePlugin,
    RefuseDeploy,
    Send,
    StageFrame,
    StartSidecar,
    TakeDeploy,
    TrialEnded,
)
from casparian.domain.messages import (
    Alive,
    Control,
    Data,
    Deploy,
    Done,
    Execute,
    Failed,
    FromSidecar,
    Register,
    TopicTotals,
)
from casparian.domain.plugins import REJECTS_TOPIC
from casparian.domain.pool import Phase
from casparian.domain.wire import Flag, Limits, credit_for
from tests.support.router import BATCH, Bench, FakeSidecar, claim, controls, live, of, sent_jobs

JOB = claim(1)
SMALL = Limits(session_window=2 << 20)


class TestRegistration:
    def test_a_sidecar_that_registers_gets_its_window_and_a_job(self) -> None:
        bench = Bench()
        (start,) = of(StartSidecar, bench.offer(JOB))
        sidecar = bench.started[start.session]
        credit, job = bench.hear(sidecar, sidecar.register())
        assert credit == Send(sidecar.peer, Control(credit=64 << 20))
        assert job == Send(
            sidecar.peer, Execute(1, 1, "/in/f1.csv", "f1.csv", JOB.file_version_id, "c" * 64)
        )

    def test_the_job_records_the_code_that_ran_it(self) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB)
        (finish,) = of(FinishJob, bench.hear(sidecar, sidecar.done(JOB)))
        assert (JOB.plugin_hash, finish.claim.plugin_hash) == ("claimed", "h1")

    @pytest.mark.parametrize(
        "register",
        [
            Register("guessed", "lines", "h1", 7),
            Register("", "lines", "h1", 7),
        ],
    )
    def test_a_wrong_secret_is_nobody(self, register: Register) -> None:
        bench = Bench()
        bench.offer(JOB)
        assert bench.router.received(b"stranger", register, b"", bench.now) == []
        assert bench.router.dropped == 1
        assert [s.phase for s in bench.router.pool.sidecars.values()] == [Phase.STARTING]

    def test_a_secret_is_used_once(self) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB)
        assert bench.router.received(b"stranger", sidecar.register(), b"", bench.now) == []
        assert bench.router.dropped == 1
        assert of(FinishJob, bench.hear(sidecar, sidecar.done(JOB)))

    @pytest.mark.parametrize(("name", "code"), [("lines", "h2"), ("other", "h1")])
    def test_other_code_than_was_started_is_killed(self, name: str, code: str) -> None:
        bench = Bench()
        (start,) = of(StartSidecar, bench.offer(JOB))
        sidecar = bench.started[start.session]
        out = bench.hear(sidecar, Register(start.session, name, code, 7))
        assert [k.session for k in of(KillSidecar, out)] == [start.session]
        assert sent_jobs(out) == []

    def test_a_plugin_that_cannot_be_loaded_fails_its_jobs_with_the_reason(self) -> None:
        bench = Bench()
        (start,) = of(StartSidecar, bench.offer(JOB, claim(2)))
        sidecar = bench.started[start.session]
        out = bench.hear(sidecar, sidecar.register("no module named xyz\nTraceback ..."))
        assert [(f.claim.job_id, f.error_class, f.message, f.detail) for f in of(FailJob, out)] == [
            (1, ErrorClass.PLUGIN, "no module named xyz", "Traceback ..."),
            (2, ErrorClass.PLUGIN, "no module named xyz", "Traceback ..."),
        ]
        assert of(KillSidecar, out)
        bench.exit(sidecar)
        (later,) = bench.offer(claim(3))
        assert isinstance(later, FailJob)

    def test_deploy_is_handed_to_the_architect(self) -> None:
        bench = Bench()
        taken = bench.router.received(b"anybody", Deploy({"plugin": "x"}), b"code", bench.now)
        assert taken == [TakeDeploy(b"anybody", {"plugin": "x"}, b"code")]

    def test_too_much_code_is_not_handed_on(self) -> None:
        bench = Bench()
        code = bytes(LARGEST_PLUGIN_BYTES + 1)
        (refused,) = of(RefuseDeploy, bench.router.received(b"x", Deploy({}), code, bench.now))
        assert (refused.peer, refused.check) == (b"x", DeployCheck.SIZE)

    def test_a_sidecar_that_sends_deploy_ends(self) -> None:
        """And gets no answer; the job that it was at is tried again."""
        bench = Bench()
        sidecar = bench.ready(JOB)
        out = bench.hear(sidecar, Deploy({"key_id": "k"}), b"code")
        (refused,) = of(RefuseDeploy, out)
        assert (refused.peer, refused.check, refused.plugin) == (b"", DeployCheck.SENDER, "lines")
        assert of(KillSidecar, out)
        assert not of(TakeDeploy, out)
        (failed,) = of(FailJob, bench.exit(sidecar))
        assert failed.error_class is ErrorClass.PROTOCOL


class TestTrials:
    """Code that is not live is loaded beside what is."""

    def trial(self, bench: Bench) -> FakeSidecar:
        new = live(code="h2")
        started = bench.note(bench.router.try_out(5, new, b"code", bench.now))
        (start,) = of(StartSidecar, started)
        assert (start.plugin, start.code) == (new, b"code")
        return bench.started[start.session]

    def test_what_registers_can_be_loaded(self) -> None:
        bench = Bench()
        sidecar = self.trial(bench)
        assert sent_jobs(bench.offer(claim(1))) == []
        ended, killed = bench.hear(sidecar, sidecar.register())
        assert ended == TrialEnded(5, "")
        assert killed == KillSidecar(sidecar.session, "its trial is over", dismissed=True)
        assert bench.exit(sidecar) == []

    def test_why_it_cannot_be_loaded_is_told(self) -> None:
        bench = Bench()
        sidecar = self.trial(bench)
        out = bench.hear(sidecar, sidecar.register("no class named Handler"))
        assert of(TrialEnded, out) == [TrialEnded(5, "no class named Handler")]

    def test_one_that_registers_as_another_has_failed(self) -> None:
        bench = Bench()
        sidecar = self.trial(bench)
        register = replace(sidecar.register(), plugin_hash="h1")
        (ended,) = of(TrialEnded, bench.hear(sidecar, register))
        assert "other code" in ended.failure

    def test_one_that_dies_has_failed(self) -> None:
        bench = Bench()
        sidecar = self.trial(bench)
        (ended,) = of(TrialEnded, bench.exit(sidecar, 3))
        assert "exit code 3" in ended.failure
        assert "the tail" in ended.failure

    def test_one_that_takes_too_long_is_ended(self) -> None:
        bench = Bench(start_s=60.0)
        sidecar = self.trial(bench)
        assert of(KillSidecar, bench.after(59)) == []
        assert [k.session for k in of(KillSidecar, bench.after(2))] == [sidecar.session]
        assert of(KillSidecar, bench.after(2)) == []
        assert of(TrialEnded, bench.exit(sidecar)) == [
            TrialEnded(5, "it could not be loaded within 60 s\nthe tail")
        ]

    def test_it_gets_no_job_and_is_believed_nothing(self) -> None:
        bench = Bench()
        live_one = bench.ready()
        sidecar = self.trial(bench)
        bench.hear(sidecar, sidecar.register())
        assert sent_jobs(bench.offer(claim(1))) == [(live_one.peer, 1)]
        assert bench.hear(sidecar, sidecar.done(claim(1))) == []
        assert bench.router.dropped == 1


class TestStrangers:
    @pytest.mark.parametrize(
        "message",
        [
            Alive("x"),
            Data("x", 1, 1, "rows", 0, Flag.SCHEMA),
            Done("x", 1, 1),
            Failed("x", 1, 1, ErrorClass.DATA, "m"),
        ],
    )
    def test_whoever_did_not_register_changes_nothing(self, message: FromSidecar) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB)
        assert bench.router.received(b"stranger", message, b"rows", bench.now) == []
        assert bench.router.malformed(b"stranger", "no header") == []
        assert bench.router.dropped == 2
        assert of(FinishJob, bench.hear(sidecar, sidecar.done(JOB)))


Offence = Callable[[Bench, FakeSidecar], list[object]]


def _say(message: Callable[[FakeSidecar], FromSidecar], payload: bytes = b"") -> Offence:
    return lambda bench, sidecar: list(bench.hear(sidecar, message(sidecar), payload))


def _too_much(bench: Bench, sidecar: FakeSidecar) -> list[object]:
    window = bench.router.pool.sidecars[sidecar.session].window
    out = bench.hear(sidecar, sidecar.data(JOB, b"s", Flag.SCHEMA), b"s")
    payload = bytes(window)
    return [*out[1:], *bench.hear(sidecar, sidecar.data(JOB, payload), payload)]


OFFENCES: dict[str, tuple[Offence, str]] = {
    "malformed": (
        lambda bench, sidecar: list(bench.router.malformed(sidecar.peer, "flags 0xff")),
        "flags 0xff",
    ),
    "second REG": (_say(lambda s: s.register()), "a second REG"),
    "REG of another": (_say(lambda s: Register("guessed", "lines", "h1", 7)), "a second REG"),
    "another session": (_say(lambda s: Alive("guessed")), "Alive of another session"),
    "DONE of another session": (_say(lambda s: Done("guessed", 1, 1)), "Done of another session"),
    "another job": (_say(lambda s: Done(s.session, 2, 1)), "job 2, which it does not run"),
    "another attempt": (_say(lambda s: Done(s.session, 1, 2)), "which it does not run"),
    "ERR of another job": (
        _say(lambda s: Failed(s.session, 9, 1, ErrorClass.DATA, "m")),
        "a Failed for job 9",
    ),
    "a job ahead of its turn": (_say(lambda s: Done(s.session, 2, 1)), "which it does not run"),
    "sequence": (
        _say(lambda s: Data(s.session, 1, 1, "rows", 1, Flag.SCHEMA), b"s"),
        "DATA number 1 where 0 was due",
    ),
    "rows before schema": (_say(lambda s: s.data(JOB, b"x"), b"x"), "before a schema"),
    "credit": (_too_much, "more DATA than it had credit for"),
    "totals": (
        _say(lambda s: Done(s.session, 1, 1, {"rows": TopicTotals(1, 1, 1)})),
        "totals that differ",
    ),
}


class TestOffences:
    @pytest.mark.parametrize("name", OFFENCES)
    def test_costs_the_sidecar_and_the_job_it_was_at_only(self, name: str) -> None:
        offence, text = OFFENCES[name]
        bench = Bench(limits=SMALL)
        other = claim(2)
        sidecar = bench.ready(JOB, other)
        (kill,) = offence(bench, sidecar)
        assert isinstance(kill, KillSidecar)
        assert text in kill.reason
        # Nothing more is heard from it, and it is killed once.
        assert bench.hear(sidecar, sidecar.done(JOB)) == []
        assert bench.router.malformed(sidecar.peer, "more") == []
        out = bench.exit(sidecar, job_id=1)
        (failed,) = of(FailJob, out)
        assert (failed.claim.job_id, failed.error_class) == (1, ErrorClass.PROTOCOL)
        assert "broke the protocol" in failed.message
        assert failed.detail == "the tail"
        assert bench.router.pool.lanes["lines"].waiting[0].job_id == 2

    @pytest.mark.parametrize("sent", ["rows", "batches", "bytes", "topic"])
    def test_done_must_add_up(self, sent: str) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB)
        bench.stage(sidecar, JOB)
        true = sidecar.done(JOB)
        known = true.topics["rows"]
        wrong = {
            "rows": {"rows": TopicTotals(known.batches, 99, known.bytes)},
            "batches": {"rows": TopicTotals(known.batches + 1, known.rows, known.bytes)},
            "bytes": {"rows": TopicTotals(known.batches, known.rows, known.bytes - 1)},
            "topic": {**true.topics, "more": TopicTotals()},
        }[sent]
        (out,) = bench.hear(sidecar, Done(sidecar.session, 1, 1, wrong))
        if sent == "rows":
            # Rows are counted where batches are read: the instruction carries them there.
            assert out == FinishJob(out.claim, wrong)  # type: ignore[union-attr]
        else:
            assert isinstance(out, KillSidecar)

    def test_garbled_arrow_is_an_offence_although_the_router_did_not_see_it(self) -> None:
        bench = Bench()
        sidecar = bench.ready(JOB)
        bench.stage(sidecar, JOB)
        (kill,) = bench.router.garbled(sidecar.session, JOB, "no Arrow batch")
        assert isinstance(kill, KillSidecar)
        # The writers have told the queue; no second end follows.
        assert of(FailJob, bench.exit(sidecar, job_id=1)) == []


class TestQuarantine:
    def offend(self, bench: Bench, job: int, version: int = 0) -> list[object]:
        """One job that ends in an offence; what that led to."""
        bench.now += 100
        bench.offer(claim(job, version=version))
        bench.after(0)
        sidecar = list(bench.started.values())[-1]
        bench.hear(sidecar, sidecar.register())
        out = bench.router.malformed(sidecar.peer, "noise")
        bench.exit(sidecar, job_id=job)
        return list(out)

    def test_three_different_files_in_a_row(self) -> None:
        bench = Bench()
        assert not of(QuarantinePlugin, self.offend(bench, 1))  # type: ignore[arg-type]
        assert not of(QuarantinePlugin, self.offend(bench, 2))  # type: ignore[arg-type]
        (quarantine,) = of(QuarantinePlugin, self.offend(bench, 3))  # type: ignore[arg-type]
        assert (quarantine.plugin, quarantine.content_hash) == ("lines", "h1")
        assert "3 different files" in quarantine.reason
        (refused,) = bench.offer(claim(4))
        assert isinstance(refused, FailJob)
        assert refused.error_class is ErrorClass.QUARANTINED
        assert bench.router.pool.demand() == {}

    def test_one_poison_file_does_not_disable_a_plugin(self) -> None:
        bench = Bench()
        for job in range(1, 9):
            assert not of(QuarantinePlugin, self.offend(bench, job, version=77))  # type: ignore[arg-type]
        assert sent_jobs(bench.after(100)) == []
        assert of(StartSidecar, bench.offer(claim(20)))

    def test_a_good_file_begins_the_row_anew(self) -> None:
        bench = Bench()
        self.offend(bench, 1)
        self.offend(bench, 2)
        bench.now += 100
        good = claim(3)
        sidecar = bench.ready(good)
        assert of(FinishJob, bench.hear(sidecar, sidecar.done(good)))
        bench.hear(sidecar, Alive("guessed"))
        bench.exit(sidecar)
        assert not of(QuarantinePlugin, self.offend(bench, 4))  # type: ignore[arg-type]

    def test_the_waiting_jobs_end_with_it(self) -> None:
        bench = Bench()
        self.offend(bench, 1)
        self.offend(bench, 2)
        bench.now += 100
        sidecar = bench.ready(*(claim(n) for n in range(3, 8)))
        out = bench.router.malformed(sidecar.peer, "noise")
        assert [f.claim.job_id for f in of(FailJob, out)] == [5, 6, 7]
        # The prefetched one comes back to a plugin that takes none.
        out = bench.exit(sidecar, job_id=3)
        assert [(f.claim.job_id, f.error_class) for f in of(FailJob, out)] == [
            (3, ErrorClass.PROTOCOL),
            (4, ErrorClass.QUARANTINED),
        ]

    def test_new_code_is_free_of_it(self) -> None:
        bench = Bench()
        for job in (1, 2, 3):
            self.offend(bench, job)
        bench.configure(live(code="h2"))
        assert of(StartSidecar, bench.offer(claim(4)))


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
