"""The router, event by event: who is believed, who gets a job, what is only tried out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casparian.domain.deployments import LARGEST_PLUGIN_BYTES, DeployCheck
from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import (
    FailJob,
    FinishJob,
    KillSidecar,
    RefuseDeploy,
    Send,
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
)
from casparian.domain.sidecars import Phase
from casparian.domain.wire import Flag
from tests.support.router import Bench, FakeSidecar, claim, live, of, sent_jobs

JOB = claim(1)


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
