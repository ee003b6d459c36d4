"""The pool of sidecars: which runs what, who gets the next job, who is started, stopped, killed.

A sidecar works its jobs in the order they were sent. When it dies, the job it was at fails;
those it never started wait again; one whose end was lost with it is queued anew.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from casparian.domain.endings import exit_reason, given_back, overdue_reason, refuse_waiting
from casparian.domain.errors import ErrorClass
from casparian.domain.files import path_text
from casparian.domain.instructions import (
    FailJob,
    Instruction,
    KillSidecar,
    RouterRules,
    Send,
    StartSidecar,
)
from casparian.domain.jobs import Claim
from casparian.domain.messages import Control, Execute
from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import SidecarExit
from casparian.domain.sidecars import STOPPED, Lane, Phase, Run, Sidecar

SMALLEST_WINDOW = 1 << 20


class Pool:
    """See the module. `new_session` gives secrets, unguessable in production."""

    def __init__(self, rules: RouterRules, new_session: Callable[[], str]) -> None:
        self.rules = rules
        self._new_session = new_session
        self.lanes: dict[str, Lane] = {}
        self.sidecars: dict[str, Sidecar] = {}
        self.by_peer: dict[bytes, Sidecar] = {}
        self.stopping = False
        # By plugin: sidecars started, those that ended unasked, and starts in the place of such.
        self.starts: Counter[str] = Counter()
        self.deaths: Counter[str] = Counter()
        self.restarts: Counter[str] = Counter()

    # --- questions ------------------------------------------------------------------------

    def window(self) -> int:
        """Bytes one more session may have on their way, so that all together keep the total."""
        limits = self.rules.limits
        sessions = max(1, self.rules.sidecars * len(self.lanes))
        return max(SMALLEST_WINDOW, min(limits.session_window, limits.total_window // sessions))

    def demand(self, coming: Sequence[str] = ()) -> dict[str, int]:
        """How many more jobs of each plugin could be put to use, once that is a fair part of
        all it can hold: claims are the cheaper the more jobs they are for.

        `coming`: the plugins of jobs that are claimed, and not offered yet.
        """
        wanted: dict[str, int] = {}
        for name, lane in self.lanes.items():
            if self.stopping or lane.plugin.quarantined or lane.lacks_a_process:
                continue
            capacity = (self.rules.sidecars + 1) * lane.depth(self.rules)
            held = len(lane.waiting) + sum(len(s.runs) for s in self.of(name))
            held += coming.count(name)
            if (capacity - held) * 4 >= capacity:
                wanted[name] = capacity - held
        return wanted

    def held(self) -> int:
        """Jobs waiting or at a sidecar."""
        waiting = sum(len(lane.waiting) for lane in self.lanes.values())
        return waiting + sum(len(s.runs) for s in self.sidecars.values())

    def of(self, plugin: str) -> list[Sidecar]:
        return [
            s
            for s in self.sidecars.values()
            if s.plugin.name == plugin and s.phase is not Phase.ENDING
        ]

    def lane_of(self, sidecar: Sidecar) -> Lane | None:
        """The lane whose live code this sidecar runs, None when there is newer code."""
        lane = self.lanes.get(sidecar.plugin.name)
        return lane if lane is not None and lane.plugin == sidecar.plugin else None

    def find(self, job_id: int, attempt: int) -> tuple[Sidecar, Run] | None:
        for sidecar in self.sidecars.values():
            for run in sidecar.runs:
                if (run.claim.job_id, run.claim.attempt) == (job_id, attempt):
                    return sidecar, run
        return None

    # --- configuration and work -----------------------------------------------------------

    def configure(self, plugins: Iterable[LivePlugin], now: float) -> list[Instruction]:
        """The live plugins, whenever they change. New code: new sidecars for new jobs."""
        out: list[Instruction] = []
        named = {p.name: p for p in plugins}
        for name, plugin in named.items():
            lane = self.lanes.get(name)
            if lane is None:
                self.lanes[name] = Lane(plugin)
            elif lane.plugin != plugin:
                self.lanes[name] = Lane(plugin, waiting=lane.waiting)
        for name in [n for n in self.lanes if n not in named]:
            out += [given_back(claim) for claim in self.lanes.pop(name).waiting]
        for sidecar in list(self.sidecars.values()):
            if self.lane_of(sidecar) is None and not sidecar.runs:
                out += self.stop(sidecar)
        return out + self.assign(now)

    def offer(self, claims: Iterable[Claim], now: float) -> list[Instruction]:
        """Claimed jobs, to be run."""
        out: list[Instruction] = []
        for claim in claims:
            lane = self.lanes.get(claim.plugin)
            if lane is None or self.stopping:
                out.append(given_back(claim))
            else:
                lane.waiting.append(claim)
        return out + self.assign(now)

    def prestart(self, now: float) -> list[Instruction]:
        """One sidecar per plugin before any job comes, so that no first file waits for it."""
        return [
            self._start(lane, now)
            for lane in self.lanes.values()
            if not lane.plugin.quarantined and not self.of(lane.plugin.name)
        ]

    def assign(self, now: float) -> list[Instruction]:
        """Give waiting jobs to sidecars with room, and start those that are missing."""
        out: list[Instruction] = []
        for lane in self.lanes.values():
            lane.try_again(now)
            if lane.broken or lane.plugin.quarantined:
                out += refuse_waiting(lane)
            elif lane.waiting:
                out += self._hand_out(lane, now)
                out += self._start_missing(lane, now)
        return out

    def _hand_out(self, lane: Lane, now: float) -> list[Instruction]:
        out: list[Instruction] = []
        depth = lane.depth(self.rules)
        able = [
            s
            for s in self.of(lane.plugin.name)
            if s.phase is Phase.READY
            and s.plugin == lane.plugin
            and now - s.last_seen <= self.rules.suspect_s
        ]
        another = self._another_may_come(lane, now)
        while lane.waiting and able:
            sidecar = min(able, key=lambda s: len(s.runs))
            # A job does not wait behind another one where a sidecar of its own can be had.
            if len(sidecar.runs) >= (1 if another else depth):
                break
            out.append(self._send_job(sidecar, lane.waiting.popleft(), now))
        return out

    def _another_may_come(self, lane: Lane, now: float) -> bool:
        """True while a sidecar starts, or may be started, for jobs long enough to wait for it."""
        if self.stopping or lane.usual_job_s < self.rules.short_job_s:
            return False
        current = [s for s in self.of(lane.plugin.name) if s.plugin == lane.plugin]
        if any(s.phase is Phase.STARTING for s in current):
            return True
        return len(current) < self.rules.sidecars and now >= lane.start_after

    def _send_job(self, sidecar: Sidecar, claim: Claim, now: float) -> Send:
        if not sidecar.runs:
            sidecar.run_since = now
        # A plugin may have changed since the claim: the job records the code that runs it.
        claim = claim._replace(
            plugin_hash=sidecar.plugin.content_hash,
            sandbox=sidecar.sandbox,
            environment=sidecar.plugin.environment,
        )
        sidecar.runs.append(Run(claim))
        return Send(
            sidecar.peer,
            Execute(
                claim.job_id,
                claim.attempt,
                claim.input_path or path_text(claim.source),
                path_text(claim.path),
                claim.file_version_id,
                claim.content_hash,
            ),
        )

    def _start_missing(self, lane: Lane, now: float) -> list[Instruction]:
        """Every waiting job beyond what starting sidecars will take deserves one of its own."""
        if self.stopping or now < lane.start_after:
            return []
        current = [s for s in self.of(lane.plugin.name) if s.plugin == lane.plugin]
        starting = sum(s.phase is Phase.STARTING for s in current)
        missing = min(self.rules.sidecars - len(current), len(lane.waiting) - starting)
        return [self._start(lane, now) for _ in range(missing)]

    def _start(self, lane: Lane, now: float) -> StartSidecar:
        session, name = self._new_session(), lane.plugin.name
        self.sidecars[session] = Sidecar(session, lane.plugin, now)
        self.starts[name] += 1
        if self.restarts[name] < self.deaths[name]:
            self.restarts[name] += 1
        return StartSidecar(session, lane.plugin)

    # --- life and death of sidecars -------------------------------------------------------

    def registered(self, sidecar: Sidecar, peer: bytes, now: float) -> list[Instruction]:
        sidecar.phase, sidecar.peer, sidecar.last_seen = Phase.READY, peer, now
        sidecar.window = self.window()
        self.by_peer[peer] = sidecar
        lane = self.lane_of(sidecar)
        if lane is None or self.stopping:
            return self.stop(sidecar)
        lane.failed_starts = 0
        return [Send(peer, Control(credit=sidecar.window)), *self.assign(now)]

    def end_run(self, sidecar: Sidecar, now: float) -> list[Instruction]:
        """The sidecar's first job left it."""
        sidecar.runs.popleft()
        lane = self.lane_of(sidecar)
        if lane is not None:
            lane.crashes = 0
        if sidecar.runs:
            sidecar.run_since = now
        elif self.stopping or lane is None:
            return self.stop(sidecar)
        return self.assign(now)

    def stop(self, sidecar: Sidecar) -> list[Instruction]:
        """Ask an idle sidecar to leave; one that has not even registered is killed."""
        sidecar.dismissed = True
        if sidecar.phase is not Phase.READY:
            return self.kill(sidecar, ErrorClass.CRASH, "no longer needed")
        sidecar.phase, sidecar.ending = Phase.ENDING, STOPPED
        return [Send(sidecar.peer, Control(stop=True))]

    def kill(self, sidecar: Sidecar, error_class: ErrorClass, reason: str) -> list[Instruction]:
        """End a sidecar; the job it was at fails for this reason once it is dead."""
        if sidecar.phase is Phase.ENDING:
            return []
        sidecar.phase, sidecar.ending = Phase.ENDING, (error_class, reason)
        return [KillSidecar(sidecar.session, reason, sidecar.dismissed)]

    def exited(self, exit_: SidecarExit, now: float) -> list[Instruction]:
        """A sidecar's process ended, however."""
        sidecar = self.sidecars.pop(exit_.session, None)
        if sidecar is None:
            return []
        self.by_peer.pop(sidecar.peer, None)
        error_class, message = sidecar.ending or exit_reason(exit_, sidecar.plugin)
        culprit = self._culprit(sidecar, exit_.job_id)
        out = self._take_back(sidecar, culprit)
        if culprit is not None and not culprit.condemned:
            out.insert(0, FailJob(culprit.claim, error_class, message, exit_.tail))
        lane = self.lane_of(sidecar)
        if lane is not None and not sidecar.dismissed:
            self.deaths[lane.plugin.name] += 1
            if sidecar.peer:
                lane.crashes += 1
                lane.back_off(lane.crashes, self.rules, now)
            else:
                self._count_failed_start(lane, exit_, message, now)
        return out + self.assign(now)

    @staticmethod
    def _culprit(sidecar: Sidecar, job_id: int | None) -> Run | None:
        """The job at which a sidecar died; None when its end had arrived."""
        if job_id is None:
            return sidecar.runs[0] if sidecar.runs else None
        return next((run for run in sidecar.runs if run.claim.job_id == job_id), None)

    def _take_back(self, sidecar: Sidecar, culprit: Run | None) -> list[Instruction]:
        """What becomes of a dead sidecar's other jobs. Those it never started wait again, in
        front and in their order; a started one is staged in part, so it is queued anew."""
        runs, sidecar.runs = list(sidecar.runs), deque()
        lane = self.lanes.get(sidecar.plugin.name)
        before_culprit = culprit in runs
        again: list[Claim] = []
        out: list[Instruction] = []
        for run in runs:
            if run is culprit:
                before_culprit = False
            elif run.condemned:
                continue
            elif before_culprit or run.sequence or lane is None or self.stopping:
                out.append(given_back(run.claim))
            else:
                again.append(run.claim)
        if lane is not None:
            lane.waiting.extendleft(reversed(again))
        return out

    def _count_failed_start(self, lane: Lane, exit_: SidecarExit, message: str, now: float) -> None:
        """A sidecar that never registered: tried again, each time later, then given up."""
        if lane.broken or self.stopping:
            return
        lane.failed_starts += 1
        lane.back_off(lane.failed_starts, self.rules, now)
        if lane.failed_starts >= self.rules.most_failed_starts:
            reason = (
                f"plugin {lane.plugin.name} could not be started {lane.failed_starts} times "
                f"in a row: {message}\n{exit_.tail}"
            )
            if exit_.started:
                # Not the plugin's code for sure: the jobs have tries left.
                lane.give_up(reason, ErrorClass.CRASH, now + self.rules.mend_s)
            else:
                until = now + self.rules.longest_restart_s
                lane.give_up(reason, ErrorClass.INFRASTRUCTURE, until)

    def overdue(self, now: float) -> list[Instruction]:
        """Kill what did not register, did not finish, fell silent, or did not leave in time."""
        out: list[Instruction] = []
        for sidecar in list(self.sidecars.values()):
            reason = overdue_reason(sidecar, self.rules, now)
            if reason is None:
                continue
            if sidecar.phase is Phase.ENDING:
                sidecar.ending = reason
                out.append(KillSidecar(sidecar.session, reason[1]))
            else:
                out += self.kill(sidecar, *reason)
        return out

    def next_timer(self, now: float) -> float:
        """Seconds until something may be overdue or may be started, at most one."""
        times = [now + 1.0]
        times += [s.deadline for s in self.sidecars.values() if s.runs and s.phase is Phase.READY]
        # Jobs that wait for a sidecar to have room wait for an event, not for a time.
        starts = [lane.start_after for lane in self.lanes.values() if lane.waiting]
        times += [at for at in starts if at > now]
        return max(0.0, min(times) - now) or 0.001
