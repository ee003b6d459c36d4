"""The pool: who gets the next job, and what becomes of jobs and sidecars when one ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import FailJob, FinishJob, KillSidecar, Send, StartSidecar
from casparian.domain.jobs import Claim
from casparian.domain.messages import Control
from casparian.domain.ports import SidecarExit
from casparian.domain.wire import Flag
from tests.support.router import Bench, claim, controls, live, of, sent_jobs


def jobs(*numbers: int) -> list[Claim]:
    return [claim(n) for n in numbers]


def waiting(bench: Bench, plugin: str = "lines") -> list[int]:
    return [c.job_id for c in bench.router.pool.lanes[plugin].waiting]


class TestDispatch:
    def test_a_sidecar_holds_one_job_more_than_it_is_at(self) -> None:
        bench = Bench()
        sidecar = bench.ready()
        assert sent_jobs(bench.offer(*jobs(1, 2, 3))) == [(sidecar.peer, 1), (sidecar.peer, 2)]
        assert waiting(bench) == [3]
        assert sent_jobs(bench.hear(sidecar, sidecar.done(claim(1)))) == [(sidecar.peer, 3)]

    def test_a_second_job_is_a_reason_for_a_second_sidecar(self) -> None:
        """Rather than a long wait behind the first."""
        bench = Bench(sidecars=2)
        first = bench.ready()
        out = bench.offer(*jobs(1, 2))
        assert sent_jobs(out) == [(first.peer, 1)]
        (start,) = of(StartSidecar, out)
        second = bench.started[start.session]
        assert sent_jobs(bench.hear(second, second.register())) == [(second.peer, 2)]
        out = bench.offer(*jobs(3, 4, 5))
        assert sorted(sent_jobs(out)) == [(first.peer, 3), (second.peer, 4)]
        assert of(StartSidecar, out) == []

    def test_while_no_other_may_be_started_the_first_takes_it(self) -> None:
        bench = Bench(sidecars=2)
        first = bench.ready()
        bench.router.pool.lanes["lines"].start_after = bench.now + 5
        assert sent_jobs(bench.offer(*jobs(1, 2))) == [(first.peer, 1), (first.peer, 2)]

    def test_short_jobs_are_sent_far_ahead(self) -> None:
        bench = Bench(sidecars=2)
        sidecar = bench.ready()
        for number in range(1, 21):
            bench.offer(claim(number))
            bench.now += 0.001
            bench.hear(sidecar, sidecar.done(claim(number)))
        sent = sent_jobs(bench.offer(*jobs(*range(100, 140))))
        assert [job for _, job in sent] == list(range(100, 132))
        assert {peer for peer, _ in sent} == {sidecar.peer}

    def test_one_sidecar_is_started_per_waiting_job_up_to_the_limit(self) -> None:
        bench = Bench(sidecars=3)
        assert len(of(StartSidecar, bench.offer(*jobs(1, 2)))) == 2
        assert of(StartSidecar, bench.after(1)) == []
        assert len(of(StartSidecar, bench.offer(*jobs(3, 4, 5)))) == 1

    def test_plugins_have_sidecars_of_their_own(self) -> None:
        bench = Bench(live("a"), live("b"))
        starts = of(StartSidecar, bench.offer(claim(1, "b")))
        assert [s.plugin.name for s in starts] == ["b"]
        sidecar = bench.started[starts[0].session]
        assert sent_jobs(bench.hear(sidecar, sidecar.register())) == [(sidecar.peer, 1)]

    def test_jobs_of_a_plugin_that_is_not_live_are_given_back(self) -> None:
        (given,) = Bench().offer(claim(1, "gone"))
        assert isinstance(given, FailJob)
        assert given.error_class is ErrorClass.CONFLICT

    def test_demand_counts_what_is_held(self) -> None:
        bench = Bench(sidecars=2)
        assert bench.router.pool.demand() == {"lines": 6}
        bench.offer(*jobs(1, 2))
        assert bench.router.pool.demand() == {"lines": 4}
        assert bench.router.pool.demand(["lines", "others"]) == {"lines": 3}
        bench.offer(*jobs(3, 4, 5, 6, 7))
        assert bench.router.pool.demand() == {}

    def test_demand_waits_until_it_is_worth_a_claim(self) -> None:
        bench = Bench(sidecars=4)
        bench.offer(*jobs(*range(1, 8)))
        assert bench.router.pool.demand() == {"lines": 3}
        bench.offer(*jobs(8))
        assert bench.router.pool.demand() == {}

    def test_prestart_starts_one_of_each_and_not_twice(self) -> None:
        bench = Bench(live("a"), live("b"))
        assert [s.plugin.name for s in of(StartSidecar, bench.prestart())] == ["a", "b"]
        assert bench.prestart() == []


class TestSilence:
    def test_no_job_goes_to_a_sidecar_that_is_only_believed_to_be_alive(self) -> None:
        bench = Bench()
        sidecar = bench.ready()
        bench.now += 5.1
        assert sent_jobs(bench.offer(claim(1))) == []
        assert sent_jobs(bench.hear(sidecar, sidecar.alive())) == [(sidecar.peer, 1)]

    def test_an_idle_sidecar_stays_for_days_by_its_heartbeats(self) -> None:
        bench = Bench()
        sidecar = bench.ready()
        for _ in range(2000):
            bench.hear(sidecar, sidecar.alive())
            assert bench.after(59) == []
        bench.hear(sidecar, sidecar.alive())
        assert sent_jobs(bench.offer(claim(1))) == [(sidecar.peer, 1)]

    def test_silent_for_too_long_is_killed_and_its_job_is_a_timeout(self) -> None:
        bench = Bench()
        sidecar = bench.ready(claim(1))
        assert bench.after(59.9) == []
        (kill,) = bench.after(0.2)
        assert isinstance(kill, KillSidecar)
        assert bench.after(100) == []
        (failed,) = of(FailJob, bench.exit(sidecar, job_id=1))
        assert failed.error_class is ErrorClass.TIMEOUT
        assert "silent for 60 s" in failed.message

    def test_a_job_past_its_deadline_is_killed_although_heartbeats_go_on(self) -> None:
        bench = Bench()
        sidecar = bench.ready(claim(1))
        for _ in range(99):
            bench.hear(sidecar, sidecar.alive())
            assert bench.after(1) == []
        bench.hear(sidecar, sidecar.alive())
        (kill,) = bench.after(1)
        assert isinstance(kill, KillSidecar)
        assert "raise timeout_s of [plugin.lines]" in kill.reason
        (failed,) = of(FailJob, bench.exit(sidecar, job_id=1))
        assert failed.error_class is ErrorClass.TIMEOUT

    def test_the_deadline_is_each_jobs_own(self) -> None:
        bench = Bench()
        sidecar = bench.ready(*jobs(1, 2))
        bench.now += 90
        bench.hear(sidecar, sidecar.done(claim(1)))
        for _ in range(2):
            bench.hear(sidecar, sidecar.alive())
            assert bench.after(45) == []

    def test_one_that_never_registers_is_killed(self) -> None:
        bench = Bench()
        bench.offer(claim(1))
        assert bench.after(60) == []
        kill, start = bench.after(1)
        assert isinstance(kill, KillSidecar)
        assert isinstance(start, StartSidecar)
        assert "did not register in 60 s" in kill.reason

    def test_one_that_does_not_leave_when_asked_to_is_killed(self) -> None:
        bench = Bench()
        sidecar = bench.ready()
        assert controls(bench.configure(live(code="h2"))) == [Control(stop=True)]
        assert bench.after(59) == []
        (kill,) = bench.after(2)
        assert isinstance(kill, KillSidecar)
        assert kill.session == sidecar.session
        assert bench.after(100) == []

    def test_the_next_look_is_when_something_may_be_due(self) -> None:
        bench = Bench(live(timeout_s=0.25))
        timer = bench.router.pool.next_timer
        assert timer(bench.now) == 1.0
        bench.ready(*jobs(1, 2, 3))
        assert timer(bench.now) == pytest.approx(0.25)

    def test_waiting_jobs_alone_are_no_reason_to_look_all_the_time(self) -> None:
        bench = Bench()
        bench.ready(*jobs(1, 2, 3, 4))
        assert waiting(bench) == [3, 4]
        assert bench.router.pool.next_timer(bench.now) == 1.0


class TestDeath:
    def test_the_job_it_was_at_fails_and_the_unstarted_wait_again_in_front(self) -> None:
        bench = Bench(sidecars=1)
        sidecar = bench.ready(*jobs(1, 2, 3))
        out = bench.exit(sidecar, code=-11, job_id=1)
        (failed,) = of(FailJob, out)
        assert (failed.claim.job_id, failed.error_class) == (1, ErrorClass.CRASH)
        assert failed.message.endswith("died of signal 11")
        assert failed.detail == "the tail"
        assert waiting(bench) == [2, 3]

    def test_without_a_note_the_first_one_is_blamed(self) -> None:
        bench = Bench()
        sidecar = bench.ready(*jobs(1, 2))
        (failed,) = of(FailJob, bench.exit(sidecar, job_id=None))
        assert failed.claim.job_id == 1
        assert waiting(bench) == [2]

    def test_one_that_began_nothing_costs_no_job(self) -> None:
        bench = Bench()
        sidecar = bench.ready(*jobs(1, 2))
        assert of(FailJob, bench.exit(sidecar, job_id=0)) == []
        assert waiting(bench) == [1, 2]

    def test_an_end_that_was_lost_with_it_is_run_again(self) -> None:
        """It was at job 2, so job 1 had ended: what it said of that never came."""
        bench = Bench()
        sidecar = bench.ready(*jobs(1, 2))
        bench.stage(sidecar, claim(1))
        failed, given = of(FailJob, bench.exit(sidecar, job_id=2))
        assert (failed.claim.job_id, failed.error_class) == (2, ErrorClass.CRASH)
        assert (given.claim.job_id, given.error_class) == (1, ErrorClass.CONFLICT)
        assert waiting(bench) == []

    def test_an_end_that_arrived_leaves_nobody_to_blame(self) -> None:
        bench = Bench()
        sidecar = bench.ready(*jobs(1, 2))
        bench.hear(sidecar, sidecar.done(claim(1)))
        assert of(FailJob, bench.exit(sidecar, job_id=1)) == []
        assert waiting(bench) == [2]

    @pytest.mark.parametrize(
        ("exit_", "error_class", "text"),
        [
            ({"code": 3}, ErrorClass.CRASH, "exit code 3"),
            ({"code": -9}, ErrorClass.CRASH, "killed by signal 9: by somebody, or by the kernel"),
            ({"code": 1, "out_of_memory": True}, ErrorClass.OOM, "memory_mb = 2048"),
            ({"code": -24, "cpu_exceeded": True}, ErrorClass.TIMEOUT, "3600 s of CPU"),
        ],
    )
    def test_is_filed_under_its_cause(
        self, exit_: dict[str, int], error_class: ErrorClass, text: str
    ) -> None:
        bench = Bench()
        sidecar = bench.ready(claim(1))
        (failed,) = of(FailJob, bench.exit(sidecar, job_id=1, **exit_))  # type: ignore[arg-type]
        assert failed.error_class is error_class
        assert text in failed.message

    def test_starts_deaths_and_restarts_are_counted(self) -> None:
        bench = Bench(restart_s=0.0)
        pool = bench.router.pool
        bench.exit(bench.ready(claim(1)), job_id=1)
        assert (pool.starts["lines"], pool.deaths["lines"], pool.restarts["lines"]) == (1, 1, 0)
        second = bench.ready(claim(2))
        assert (pool.starts["lines"], pool.deaths["lines"], pool.restarts["lines"]) == (2, 1, 1)
        bench.hear(second, second.done(claim(2)))
        bench.router.stop()
        bench.exit(second)
        assert (pool.starts["lines"], pool.deaths["lines"], pool.restarts["lines"]) == (2, 1, 1)

    def test_each_next_start_waits_longer_until_a_job_ends(self) -> None:
        bench = Bench(restart_s=1.0, longest_restart_s=5.0)
        waits = []
        for number in range(1, 6):
            sidecar = bench.ready(claim(number))
            bench.exit(sidecar, job_id=number)
            bench.offer(claim(number + 100))
            began = bench.now
            while not of(StartSidecar, bench.after(0.25)):
                pass
            waits.append(bench.now - began)
            started = list(bench.started.values())[-1]
            bench.router.lost(number + 100)
            bench.exit(started)
            bench.router.pool.lanes["lines"].failed_starts = 0
            bench.router.pool.lanes["lines"].start_after = 0.0
        assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]
        sidecar = bench.ready(claim(50))
        bench.hear(sidecar, sidecar.done(claim(50)))
        assert bench.router.pool.lanes["lines"].crashes == 0

    def test_failed_starts_are_given_up_with_the_reason(self) -> None:
        bench = Bench()
        bench.offer(claim(1))
        for number in range(3):
            sidecar = list(bench.started.values())[-1]
            out = bench.exit(sidecar, code=127)
            if number < 2:
                assert of(FailJob, out) == []
                assert of(StartSidecar, out) == []
                assert of(StartSidecar, bench.after(30))
        (failed,) = of(FailJob, out)
        # A crash, of which a job has several: the machine may be to blame.
        assert failed.error_class is ErrorClass.CRASH
        assert "could not be started 3 times in a row" in failed.message
        assert "exit code 127" in failed.message
        assert failed.detail == "the tail"

    def test_what_a_process_needs_and_is_not_to_be_had_is_nobodys_failure(self) -> None:
        bench = Bench()
        wanted = bench.router.pool.demand()
        bench.offer(claim(1))
        for number in range(3):
            out = bench.exit(list(bench.started.values())[-1], code=127, started=False)
            if number < 2:
                assert of(StartSidecar, bench.after(30))
        (failed,) = of(FailJob, out)
        assert failed.error_class is ErrorClass.INFRASTRUCTURE
        assert "in a row: there is no process for it: the tail" in failed.message
        # Its other jobs are left in the queue until it is tried again.
        assert bench.router.pool.demand() == {}
        bench.after(bench.router.rules.longest_restart_s)
        assert bench.router.pool.demand() == wanted

    def test_a_plugin_that_could_not_be_loaded_is_tried_again_later(self) -> None:
        bench = Bench()
        bench.offer(claim(1))
        sidecar = list(bench.started.values())[-1]
        message = replace(sidecar.register(), failure="no module named pandas")
        (failed,) = of(FailJob, bench.hear(sidecar, message))
        assert (failed.error_class, failed.message) == (ErrorClass.PLUGIN, "no module named pandas")
        bench.exit(sidecar)
        assert [f.message for f in of(FailJob, bench.offer(claim(2)))] == ["no module named pandas"]
        bench.after(bench.router.rules.mend_s)
        out = bench.offer(claim(3))
        assert of(FailJob, out) == []
        assert len(of(StartSidecar, out)) == 1

    def test_a_start_that_works_forgets_those_that_failed(self) -> None:
        bench = Bench()
        bench.offer(claim(1))
        for _ in range(2):
            bench.exit(list(bench.started.values())[-1], code=127)
            bench.after(30)
        sidecar = list(bench.started.values())[-1]
        assert sent_jobs(bench.hear(sidecar, sidecar.register())) == [(sidecar.peer, 1)]
        assert bench.router.pool.lanes["lines"].failed_starts == 0

    def test_of_an_unknown_sidecar_is_nothing(self) -> None:
        assert Bench().router.exited(SidecarExit("nobody", 1, ""), 0.0) == []


class TestNewCode:
    def test_old_sidecars_finish_and_new_jobs_go_to_new_ones(self) -> None:
        bench = Bench()
        old = bench.ready(claim(1))
        bench.offer(claim(2), claim(3))
        out = bench.configure(live(code="h2"))
        (start,) = of(StartSidecar, out)
        assert start.plugin.content_hash == "h2"
        new = bench.started[start.session]
        assert sent_jobs(bench.hear(new, new.register())) == [(new.peer, 3)]
        (finish, *_) = bench.hear(old, old.done(claim(1)))
        assert isinstance(finish, FinishJob)
        assert finish.claim.plugin_hash == "h1"
        # What it held already it does, then it leaves.
        finish, stop = bench.hear(old, old.done(claim(2)))
        assert isinstance(finish, FinishJob)
        assert stop == Send(old.peer, Control(stop=True))
        assert of(FailJob, bench.exit(old, code=0)) == []
        (finish,) = of(FinishJob, bench.hear(new, new.done(claim(3))))
        assert finish.claim.plugin_hash == "h2"

    def test_a_job_tells_what_stands_around_its_sidecar(self) -> None:
        bench = Bench()
        bench.offer(claim(1))
        (sidecar,) = bench.started.values()
        bench.hear(sidecar, replace(sidecar.register(), sandbox="full"))
        (finish, *_) = bench.hear(sidecar, sidecar.done(claim(1)))
        assert isinstance(finish, FinishJob)
        assert finish.claim.sandbox == "full"

    def test_idle_old_sidecars_leave_at_once(self) -> None:
        bench = Bench()
        sidecar = bench.ready()
        assert bench.configure(live(code="h2")) == [Send(sidecar.peer, Control(stop=True))]
        bench.exit(sidecar, code=0)
        assert bench.router.pool.lanes["lines"].crashes == 0

    def test_a_starting_one_is_ended_and_that_is_no_failed_start(self) -> None:
        bench = Bench()
        bench.prestart()
        sidecar = list(bench.started.values())[-1]
        (kill,) = bench.configure(live(code="h2"))
        assert isinstance(kill, KillSidecar)
        bench.configure(live(code="h1"))
        bench.exit(sidecar)
        assert bench.router.pool.lanes["lines"].failed_starts == 0
        assert of(StartSidecar, bench.offer(claim(1)))

    def test_a_death_under_old_code_hands_its_jobs_to_the_new(self) -> None:
        bench = Bench()
        old = bench.ready(*jobs(1, 2))
        bench.configure(live(code="h2"))
        out = bench.exit(old, job_id=1)
        (start,) = of(StartSidecar, out)
        assert start.plugin.content_hash == "h2"
        assert waiting(bench) == [2]

    def test_a_changed_setting_is_new_code_too(self) -> None:
        bench = Bench()
        bench.ready()
        assert controls(bench.configure(live(settings={"delimiter": ";"}))) == [Control(stop=True)]

    def test_a_plugin_that_is_gone_gives_its_waiting_jobs_back(self) -> None:
        bench = Bench()
        sidecar = bench.ready(*jobs(1, 2, 3))
        (given,) = bench.configure()
        assert isinstance(given, FailJob)
        assert given.claim.job_id == 3
        assert of(FinishJob, bench.hear(sidecar, sidecar.done(claim(1))))
        assert controls(bench.hear(sidecar, sidecar.done(claim(2)))) == [Control(stop=True)]


class TestStop:
    def test_unstarted_jobs_come_back_and_the_held_are_finished(self) -> None:
        bench = Bench()
        sidecar = bench.ready(*jobs(1, 2, 3, 4))
        out, unstarted = bench.router.stop()
        assert (out, [c.job_id for c in unstarted]) == ([], [3, 4])
        assert bench.router.pool.demand() == {}
        (given,) = bench.offer(claim(5))
        assert isinstance(given, FailJob)
        assert of(FinishJob, bench.hear(sidecar, sidecar.done(claim(1))))
        finish, stop = bench.hear(sidecar, sidecar.done(claim(2)))
        assert isinstance(finish, FinishJob)
        assert stop == Send(sidecar.peer, Control(stop=True))
        assert bench.router.pool.held() == 0

    def test_the_idle_are_asked_to_leave_and_the_starting_are_killed(self) -> None:
        bench = Bench(live("a"), live("b"))
        idle = bench.ready_of("a")
        starting = next(s for s in bench.started.values() if s.plugin.name == "b")
        out, unstarted = bench.router.stop()
        assert unstarted == []
        assert controls(out) == [Control(stop=True)]
        assert [k.session for k in of(KillSidecar, out)] == [starting.session]
        assert bench.exit(starting) == []
        assert bench.exit(idle, code=0) == []

    def test_a_death_while_stopping_gives_jobs_back_instead_of_waiting(self) -> None:
        bench = Bench()
        sidecar = bench.ready(*jobs(1, 2))
        bench.router.stop()
        out = of(FailJob, bench.exit(sidecar, job_id=1))
        assert [(f.claim.job_id, f.error_class) for f in out] == [
            (1, ErrorClass.CRASH),
            (2, ErrorClass.CONFLICT),
        ]
        assert bench.router.pool.held() == 0

    def test_one_that_registers_late_is_sent_home(self) -> None:
        bench = Bench()
        bench.offer(claim(1))
        sidecar = list(bench.started.values())[-1]
        bench.router.pool.stopping = True
        assert bench.hear(sidecar, sidecar.register()) == [Send(sidecar.peer, Control(stop=True))]


def test_rows_in_flight_do_not_mix_between_sidecars() -> None:
    """Two sidecars of one plugin, each with its job: a frame of one for the other's job counts
    for nobody."""
    bench = Bench(sidecars=2)
    first = bench.ready()
    bench.offer(*jobs(1, 2))
    second = list(bench.started.values())[-1]
    bench.hear(second, second.register())
    out = bench.hear(first, first.data(claim(2), b"s", Flag.SCHEMA), b"s")
    assert [type(i) for i in out] == [KillSidecar]
    assert of(FinishJob, bench.hear(second, second.done(claim(2))))
