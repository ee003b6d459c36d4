"""Any history of honest, clumsy and hostile events: every job ends once, and nothing raises."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import (
    FailJob,
    FinishJob,
    Instruction,
    RouterRules,
    Send,
    StageFrame,
    StartSidecar,
)
from casparian.domain.jobs import Claim
from casparian.domain.messages import (
    Alive,
    Data,
    Deploy,
    Done,
    Execute,
    Failed,
    FromSidecar,
    Register,
    TopicTotals,
)
from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import SidecarExit
from casparian.domain.router import Router
from casparian.domain.sidecars import Phase, Sidecar
from casparian.domain.wire import Flag, Limits
from tests.support.examples import examples
from tests.support.router import claim, live

CODES = st.sampled_from(["h1", "h2"])
SEEDS = st.integers(0, 2**32)
TOPICS = ("rows", "more", "unheard", "_bad")
RULES = RouterRules(
    sidecars=2,
    quarantine_after=2,
    limits=Limits(session_window=1 << 20, total_window=4 << 20),
)
Attempt = tuple[int, int]


class RouterMachine(RuleBasedStateMachine):
    """Keeps its own account of the ends of jobs, and looks up in the router what is where."""

    def __init__(self) -> None:
        super().__init__()
        sessions = (f"secret-{n}" for n in itertools.count())
        self.router = Router(RULES, lambda: next(sessions))
        self.now = 0.0
        self.numbers = itertools.count(1)
        self.claims: dict[Attempt, Claim] = {}
        self.ends: Counter[Attempt] = Counter()
        self.started: list[StartSidecar] = []
        self.staged: list[StageFrame] = []
        self.peers: dict[str, bytes] = {}
        self.stopped = False

    # --- bookkeeping ----------------------------------------------------------------------

    def perform(self, instructions: list[Instruction]) -> None:
        """What the worker would do; checks that each instruction is about its own sidecar."""
        for instruction in instructions:
            match instruction:
                case StartSidecar():
                    self.started.append(instruction)
                case FinishJob(claim=job) | FailJob(claim=job):
                    self.ends[job.job_id, job.attempt] += 1
                case StageFrame(session, job):
                    self.staged.append(instruction)
                    sidecar = self.router.pool.sidecars[session]
                    first = sidecar.runs[0].claim
                    assert (first.job_id, first.attempt) == (job.job_id, job.attempt)
                case Send(peer, Execute() as message):
                    holder = self.router.pool.by_peer[peer]
                    assert holder.phase is Phase.READY
                    assert message.job_id in [r.claim.job_id for r in holder.runs]
                    job = self.claims[message.job_id, message.attempt]
                    assert job.plugin == holder.plugin.name
                case _:
                    pass

    def places(self) -> Counter[Attempt]:
        """Where each attempt that is still to end stands, counted."""
        pool = self.router.pool
        found = [c for lane in pool.lanes.values() for c in lane.waiting]
        for sidecar in pool.sidecars.values():
            found += [r.claim for r in sidecar.runs if not r.condemned]
        return Counter((c.job_id, c.attempt) for c in found)

    def some_sidecar(self, seed: int, *phases: Phase) -> Sidecar | None:
        pool = self.router.pool
        known = [s for s in pool.sidecars.values() if not phases or s.phase in phases]
        return random.Random(seed).choice(known) if known else None

    def hear(self, peer: bytes, message: FromSidecar, payload: bytes = b"") -> None:
        self.perform(self.router.received(peer, message, payload, self.now))

    # --- the worker -----------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.perform(self.router.configure([live("a"), live("b")], self.now))

    @rule(a=CODES, b=st.none() | CODES, quarantined=st.booleans())
    def configure(self, a: str, b: str | None, quarantined: bool) -> None:
        plugins = [live("a", a)]
        if b is not None:
            plugins.append(LivePlugin(live("b", b).config, b, quarantined))
        self.perform(self.router.configure(plugins, self.now))

    @rule(plugins=st.lists(st.sampled_from(["a", "b", "gone"]), max_size=8), short=st.booleans())
    def offer(self, plugins: list[str], short: bool) -> None:
        made = [claim(next(self.numbers), name) for name in plugins]
        self.claims.update({(c.job_id, c.attempt): c for c in made})
        if short:
            for lane in self.router.pool.lanes.values():
                lane.usual_job_s = 0.001
        self.perform(self.router.offer(made, self.now))

    @rule(seed=SEEDS)
    @precondition(lambda self: self.ends)
    def offer_again(self, seed: int) -> None:
        """A job that ended comes back at its next attempt."""
        job_id, attempt = random.Random(seed).choice(sorted(self.ends))
        if (job_id, attempt + 1) not in self.claims:
            again = claim(job_id, self.claims[job_id, attempt].plugin, attempt + 1)
            self.claims[job_id, attempt + 1] = again
            self.perform(self.router.offer([again], self.now))

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 6.0, 61.0, 101.0]))
    def time_passes(self, seconds: float) -> None:
        assert 0 < self.router.pool.next_timer(self.now) <= 1.001
        self.now += seconds
        self.perform(self.router.tick(self.now))

    @rule()
    def prestart(self) -> None:
        if not self.stopped:
            self.perform(self.router.pool.prestart(self.now))

    @rule(seed=SEEDS, end=st.sampled_from(["consumed", "refused", "garbled"]))
    @precondition(lambda self: self.staged)
    def writer_is_done(self, seed: int, end: str) -> None:
        frame = self.staged.pop(random.Random(seed).randrange(len(self.staged)))
        attempt = (frame.claim.job_id, frame.claim.attempt)
        # The writers tell the queue of what they refuse; the router gives no second end.
        if end != "consumed" and self.places()[attempt]:
            self.ends[attempt] += 1
        if end == "refused":
            self.perform(self.router.refused(*attempt))
        if end == "garbled":
            self.perform(self.router.garbled(frame.session, frame.claim, "no Arrow"))
        self.perform(self.router.consumed(frame.session, len(frame.payload)))

    @rule(seed=SEEDS)
    @precondition(lambda self: self.claims)
    def lease_is_lost(self, seed: int) -> None:
        job_id, _ = random.Random(seed).choice(sorted(self.claims))
        self.perform(self.router.lost(job_id))

    @rule()
    @precondition(lambda self: not self.stopped)
    def stop(self) -> None:
        self.stopped = True
        instructions, unstarted = self.router.stop()
        self.perform(instructions)
        self.ends.update((c.job_id, c.attempt) for c in unstarted)

    # --- sidecars that keep the rules -----------------------------------------------------

    @rule(seed=SEEDS)
    def register(self, seed: int) -> None:
        sidecar = self.some_sidecar(seed, Phase.STARTING)
        if sidecar is not None:
            peer = b"peer of " + sidecar.session.encode()
            plugin = sidecar.plugin
            self.hear(peer, Register(sidecar.session, plugin.name, plugin.content_hash, 1))

    @rule(seed=SEEDS, topic=st.sampled_from(TOPICS), size=st.integers(0, 1 << 19))
    def send_data(self, seed: int, topic: str, size: int) -> None:
        sidecar = self.some_sidecar(seed, Phase.READY)
        if sidecar is None or not sidecar.runs:
            return
        run = sidecar.runs[0]
        flags = Flag(0) if topic in run.received else Flag.SCHEMA
        job = run.claim
        message = Data(sidecar.session, job.job_id, job.attempt, topic, run.sequence, flags)
        self.hear(sidecar.peer, message, bytes(size))

    @rule(seed=SEEDS, error=st.none() | st.sampled_from(ErrorClass))
    def end_job(self, seed: int, error: ErrorClass | None) -> None:
        sidecar = self.some_sidecar(seed, Phase.READY)
        if sidecar is None or not sidecar.runs:
            return
        job, received = sidecar.runs[0].claim, sidecar.runs[0].received
        if error is None:
            self.hear(sidecar.peer, Done(sidecar.session, job.job_id, job.attempt, dict(received)))
        else:
            ended = Failed(sidecar.session, job.job_id, job.attempt, error, "no")
            self.hear(sidecar.peer, ended)

    @rule(seed=SEEDS)
    def heartbeat(self, seed: int) -> None:
        sidecar = self.some_sidecar(seed, Phase.READY, Phase.ENDING)
        if sidecar is not None and sidecar.peer:
            self.hear(sidecar.peer, Alive(sidecar.session))

    @rule(seed=SEEDS, noted=st.sampled_from(["none", "nothing", "first", "last", "other"]))
    def exit(self, seed: int, noted: str) -> None:
        sidecar = self.some_sidecar(seed)
        if sidecar is None:
            return
        jobs = [r.claim.job_id for r in sidecar.runs] or [0]
        job_id = {
            "none": None, "nothing": 0, "first": jobs[0], "last": jobs[-1], "other": 10**6,
        }[noted]  # fmt: skip
        exit_ = SidecarExit(sidecar.session, -9, "tail", job_id=job_id)
        self.perform(self.router.exited(exit_, self.now))
        assert self.router.exited(exit_, self.now) == []

    # --- and that do not ------------------------------------------------------------------

    @rule(seed=SEEDS, data=st.data())
    def send_anything(self, seed: int, data: st.DataObject) -> None:
        sidecar = self.some_sidecar(seed)
        peers = [b"stranger", *self.router.pool.by_peer]
        peer = data.draw(st.sampled_from(peers))
        session = data.draw(st.sampled_from(["guessed", sidecar.session if sidecar else ""]))
        job_id = data.draw(st.sampled_from([0, 1, 10**9, *(j for j, _ in self.claims)]))
        attempt = data.draw(st.integers(0, 3))
        message: Any = data.draw(
            st.sampled_from(
                [
                    Register(session, "a", "h1", 1),
                    Register(session, "a", "h1", 1, "cannot be loaded"),
                    Register(session, "x", "h9", 1),
                    Data(session, job_id, attempt, "rows", data.draw(st.integers(0, 5)), Flag(3)),
                    Done(session, job_id, attempt, {"rows": TopicTotals(1, 1, 1)}),
                    Failed(session, job_id, attempt, ErrorClass.DATA, "m"),
                    Alive(session, job_id),
                    Deploy({}),
                ]
            )
        )
        self.hear(peer, message, bytes(data.draw(st.integers(0, 100))))

    @rule(seed=SEEDS)
    def send_noise(self, seed: int) -> None:
        sidecar = self.some_sidecar(seed)
        peer = sidecar.peer if sidecar is not None else b"stranger"
        self.perform(self.router.malformed(peer, "no header"))

    @rule(seed=SEEDS)
    def send_more_than_the_credit(self, seed: int) -> None:
        sidecar = self.some_sidecar(seed, Phase.READY)
        if sidecar is not None and sidecar.runs:
            run = sidecar.runs[0]
            job, session = run.claim, sidecar.session
            flood = Data(session, job.job_id, job.attempt, "rows", run.sequence, Flag.SCHEMA)
            self.hear(sidecar.peer, flood, bytes(sidecar.window + 1))
            assert sidecar.phase is Phase.ENDING

    # --- what always holds ----------------------------------------------------------------

    @invariant()
    def every_attempt_is_in_one_place_or_has_ended_once(self) -> None:
        places = self.places()
        for attempt in self.claims:
            assert places[attempt] + self.ends[attempt] == 1, (
                f"job {attempt[0]} attempt {attempt[1]}: in {places[attempt]} places, "
                f"{self.ends[attempt]} ends"
            )
        assert not set(places) - set(self.claims)

    @invariant()
    def nobody_has_more_on_its_way_than_its_window(self) -> None:
        for sidecar in self.router.pool.sidecars.values():
            if sidecar.phase is Phase.READY:
                assert 0 <= sidecar.outstanding <= sidecar.window
                assert sidecar.owed >= 0
                assert sidecar.outstanding + sidecar.owed <= sidecar.window

    @invariant()
    def sidecars_are_within_their_number(self) -> None:
        pool = self.router.pool
        for lane in pool.lanes.values():
            current = [s for s in pool.of(lane.plugin.name) if s.plugin == lane.plugin]
            assert len(current) <= RULES.sidecars

    @invariant()
    def peers_are_those_of_living_sidecars(self) -> None:
        pool = self.router.pool
        assert all(pool.sidecars.get(s.session) is s for s in pool.by_peer.values())

    @invariant()
    def nothing_waits_where_it_cannot_run(self) -> None:
        for lane in self.router.pool.lanes.values():
            if lane.broken or lane.plugin.quarantined or self.stopped:
                assert not lane.waiting


TestRouterMachine = RouterMachine.TestCase
TestRouterMachine.settings = settings(
    max_examples=examples(40), stateful_step_count=30, deadline=None, print_blob=True
)
