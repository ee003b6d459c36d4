"""What an offence costs the sidecar, its job and, after three files, its plugin."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import (
    FailJob,
    FinishJob,
    KillSidecar,
    QuarantinePlugin,
    StartSidecar,
)
from casparian.domain.messages import Alive, Data, Done, Failed, FromSidecar, Register, TopicTotals
from casparian.domain.wire import Flag, Limits
from tests.support.router import Bench, FakeSidecar, claim, live, of, sent_jobs

JOB = claim(1)
SMALL = Limits(session_window=2 << 20)
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
