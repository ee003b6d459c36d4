"""The router's state machine: events in, instructions out; no I/O, time (seconds) an argument.

Two rules hold it together. A frame counts only if it comes from the peer and session that
hold that job at that attempt. And whatever arrives, the router lives: what breaks the
protocol costs the sidecar that sent it, and the job that sidecar was at, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from casparian.domain.deployments import LARGEST_PLUGIN_BYTES, DeployCheck
from casparian.domain.endings import given_back, refuse_waiting
from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import (
    FailJob,
    FinishJob,
    Instruction,
    QuarantinePlugin,
    RefuseDeploy,
    RouterRules,
    Send,
    StageFrame,
    TakeDeploy,
)
from casparian.domain.jobs import Claim
from casparian.domain.messages import (
    Alive,
    Control,
    Data,
    Deploy,
    Done,
    Failed,
    FromSidecar,
    Register,
    TopicTotals,
)
from casparian.domain.plugins import REJECTS_TOPIC, LivePlugin, check_topic_name
from casparian.domain.pool import Pool
from casparian.domain.ports import Buffer, SidecarExit
from casparian.domain.sidecars import Phase, Run, Sidecar
from casparian.domain.trials import Trials
from casparian.domain.wire import Flag, credit_for


class Router:
    """See the module. `dropped` counts what came from peers that are no sidecars."""

    def __init__(self, rules: RouterRules, new_session: Callable[[], str]) -> None:
        self.rules = rules
        self.pool = Pool(rules, new_session)
        self.trials = Trials(rules, new_session)
        self.dropped = 0

    # --- events of the worker -------------------------------------------------------------

    def configure(self, plugins: Iterable[LivePlugin], now: float) -> list[Instruction]:
        return self.pool.configure(plugins, now)

    def offer(self, claims: Iterable[Claim], now: float) -> list[Instruction]:
        return self.pool.offer(claims, now)

    def exited(self, exit_: SidecarExit, now: float) -> list[Instruction]:
        return [*self.trials.exited(exit_), *self.pool.exited(exit_, now)]

    def try_out(
        self, ticket: int, plugin: LivePlugin, code: bytes, now: float
    ) -> list[Instruction]:
        """Load code that is not live in a sidecar of its own; a TrialEnded tells what came of
        it."""
        return self.trials.start(ticket, plugin, code, now)

    def tick(self, now: float) -> list[Instruction]:
        due = [*self.trials.overdue(now), *self.pool.overdue(now)]
        return [*due, *self.pool.assign(now), *self._remaining_credit()]

    def stop(self) -> tuple[list[Instruction], list[Claim]]:
        """No new work; returns the jobs that never started, to be released."""
        self.pool.stopping = True
        unstarted: list[Claim] = []
        for lane in self.pool.lanes.values():
            unstarted += lane.waiting
            lane.waiting.clear()
        out: list[Instruction] = []
        for sidecar in list(self.pool.sidecars.values()):
            if not sidecar.runs:
                out += self.pool.stop(sidecar)
        return out, unstarted

    def consumed(self, session: str, size: int) -> list[Instruction]:
        """The sinks are done with DATA of this session's that used `size` bytes of credit: it
        is given back, little amounts together."""
        sidecar = self.pool.sidecars.get(session)
        if sidecar is None or sidecar.phase is not Phase.READY:
            return []
        sidecar.outstanding -= size
        sidecar.owed += size
        return _credited(sidecar) if sidecar.owed * 8 >= sidecar.window else []

    def _remaining_credit(self) -> list[Instruction]:
        """A row that fills nearly the whole window waits for the last byte of it."""
        ready = [s for s in self.pool.sidecars.values() if s.phase is Phase.READY]
        return [i for s in ready if s.owed and not s.outstanding for i in _credited(s)]

    def refused(self, job_id: int, attempt: int) -> list[Instruction]:
        """A sink refused rows of a job, which has failed by that: the plugin gives it up."""
        found = self.pool.find(job_id, attempt)
        if found is None or found[1].condemned:
            return []
        sidecar, run = found
        run.condemned = True
        return [Send(sidecar.peer, Control(abandon=job_id))]

    def garbled(self, session: str, claim: Claim, problem: str) -> list[Instruction]:
        """A payload was no Arrow data: the job has failed by that, and its sidecar ends."""
        sidecar = self.pool.sidecars.get(session)
        found = self.pool.find(claim.job_id, claim.attempt)
        if found is not None:
            found[1].condemned = True
        if sidecar is None:
            return []
        return self._offence(sidecar, problem, claim.file_version_id)

    def lost(self, job_id: int) -> list[Instruction]:
        """The lease of a job is gone (cancelled, or taken over): nothing more is done for it."""
        for lane in self.pool.lanes.values():
            for claim in lane.waiting:
                if claim.job_id == job_id:
                    lane.waiting.remove(claim)
                    return [given_back(claim)]
        for sidecar in self.pool.sidecars.values():
            for run in sidecar.runs:
                if run.claim.job_id == job_id and not run.condemned:
                    run.condemned = True
                    out: list[Instruction] = [given_back(run.claim)]
                    if run is sidecar.runs[0]:
                        out += self.pool.kill(sidecar, ErrorClass.CONFLICT, "its job was lost")
                    return out
        return []

    # --- events of the wire ---------------------------------------------------------------

    def malformed(self, peer: bytes, problem: str) -> list[Instruction]:
        """A message that could not be read."""
        sidecar = self.pool.by_peer.get(peer)
        if sidecar is None:
            self.dropped += 1
            return []
        return self._offence(sidecar, problem)

    def received(
        self, peer: bytes, message: FromSidecar, payload: Buffer, now: float
    ) -> list[Instruction]:
        """A well-formed message, from whomever."""
        if isinstance(message, Deploy):
            return self._deploy(peer, message, payload)
        if isinstance(message, Register):
            tried = self.trials.registered(message)
            return tried or self._register(peer, message, now)
        sidecar = self.pool.by_peer.get(peer)
        if sidecar is None:
            self.dropped += 1
            return []
        if sidecar.phase is Phase.ENDING:
            return []
        if message.session != sidecar.session:
            return self._offence(sidecar, f"a {type(message).__name__} of another session")
        silent = now - sidecar.last_seen > self.rules.suspect_s
        sidecar.last_seen = now
        if isinstance(message, Alive):
            return self.pool.assign(now) if silent else []
        return self._of_job(sidecar, message, payload, now)

    def _deploy(self, peer: bytes, message: Deploy, payload: Buffer) -> list[Instruction]:
        sidecar = self.pool.by_peer.get(peer)
        if sidecar is not None:
            name = sidecar.plugin.name
            text = f"The sidecar of plugin {name} sent a DEPLOY, as only operators may: it ends."
            refused = RefuseDeploy(b"", DeployCheck.SENDER, text, name)
            return [refused, *self._offence(sidecar, "a DEPLOY")]
        if len(payload) > LARGEST_PLUGIN_BYTES:
            text = (
                f"Refused, and nothing was changed: {len(payload)} bytes of code; a plugin may "
                f"have {LARGEST_PLUGIN_BYTES}."
            )
            return [RefuseDeploy(peer, DeployCheck.SIZE, text)]
        return [TakeDeploy(peer, message.metadata, payload)]

    def _register(self, peer: bytes, message: Register, now: float) -> list[Instruction]:
        offender = self.pool.by_peer.get(peer)
        if offender is not None:
            return self._offence(offender, "a second REG")
        sidecar = self.pool.sidecars.get(message.session)
        if sidecar is None or sidecar.phase is not Phase.STARTING:
            self.dropped += 1
            return []
        expected = (sidecar.plugin.name, sidecar.plugin.content_hash)
        if (message.plugin, message.plugin_hash) != expected:
            text = f"the sidecar of plugin {sidecar.plugin.name} registered with other code"
            return self.pool.kill(sidecar, ErrorClass.PROTOCOL, text)
        sidecar.sandbox = message.sandbox
        if message.failure:
            lane = self.pool.lane_of(sidecar)
            if lane is not None:
                until = now + self.rules.mend_s
                lane.give_up(message.failure, ErrorClass.PLUGIN, until)
            text = f"plugin {sidecar.plugin.name} could not be loaded"
            out = self.pool.kill(sidecar, ErrorClass.PLUGIN, text)
            return out + self.pool.assign(now)
        return self.pool.registered(sidecar, peer, now)

    def _of_job(
        self, sidecar: Sidecar, message: Data | Done | Failed, payload: Buffer, now: float
    ) -> list[Instruction]:
        run = sidecar.runs[0] if sidecar.runs else None
        if run is None or (run.claim.job_id, run.claim.attempt) != (
            message.job_id,
            message.attempt,
        ):
            text = f"a {type(message).__name__} for job {message.job_id}, which it does not run"
            return self._offence(sidecar, text)
        match message:
            case Data():
                return self._data(sidecar, run, message, payload)
            case Done():
                return self._done(sidecar, run, message, now)
            case Failed(_, _, _, error_class, text, detail):
                out: list[Instruction] = []
                if not run.condemned:
                    out.append(FailJob(run.claim, error_class, text, detail))
                return out + self.pool.end_run(sidecar, now)

    def _data(
        self, sidecar: Sidecar, run: Run, message: Data, payload: Buffer
    ) -> list[Instruction]:
        size = len(payload)
        used = credit_for(size)
        sidecar.outstanding += used
        if message.sequence != run.sequence:
            text = f"DATA number {message.sequence} where {run.sequence} was due"
            return self._offence(sidecar, text)
        if sidecar.outstanding > sidecar.window:
            return self._offence(sidecar, "more DATA than it had credit for")
        run.sequence += 1
        if run.condemned:
            return self.consumed(sidecar.session, used)
        totals = run.received.get(message.topic)
        if totals is None:
            problem = _topic_problem(sidecar.plugin, message.topic)
            if problem is not None:
                out = self._condemn(sidecar, run, *problem)
                return out + self.consumed(sidecar.session, used)
            if not message.flags & (Flag.SCHEMA | Flag.STREAM):
                return self._offence(sidecar, f"rows of topic {message.topic!r} before a schema")
            totals = TopicTotals()
        batches = totals.batches + (0 if message.flags & Flag.SCHEMA else 1)
        run.received[message.topic] = TopicTotals(batches, totals.rows, totals.bytes + size)
        return [StageFrame(sidecar.session, run.claim, message.topic, message.flags, payload)]

    def _done(self, sidecar: Sidecar, run: Run, message: Done, now: float) -> list[Instruction]:
        if run.condemned:
            return self.pool.end_run(sidecar, now)
        arrived = {name: (t.batches, t.bytes) for name, t in run.received.items()}
        claimed = {name: (t.batches, t.bytes) for name, t in message.topics.items()}
        if arrived != claimed:
            return self._offence(sidecar, "DONE with totals that differ from what arrived")
        lane, seconds = self.pool.lane_of(sidecar), now - sidecar.run_since
        if lane is not None:
            lane.offenders.clear()
            lane.usual_job_s += (seconds - lane.usual_job_s) * 0.2
        return [FinishJob(run.claim, message.topics, seconds), *self.pool.end_run(sidecar, now)]

    # --- verdicts -------------------------------------------------------------------------

    def _condemn(
        self, sidecar: Sidecar, run: Run, error_class: ErrorClass, message: str
    ) -> list[Instruction]:
        """The attempt failed on this side: the sidecar gives the job up and lives on."""
        if run.condemned:
            return []
        run.condemned = True
        return [
            FailJob(run.claim, error_class, message),
            Send(sidecar.peer, Control(abandon=run.claim.job_id)),
        ]

    def _offence(
        self, sidecar: Sidecar, problem: str, file_version_id: int | None = None
    ) -> list[Instruction]:
        """The sidecar broke the protocol: it ends, and the attempt it was at fails."""
        name = sidecar.plugin.name
        text = f"the sidecar of plugin {name} broke the protocol: {problem}"
        out = self.pool.kill(sidecar, ErrorClass.PROTOCOL, text)
        lane = self.pool.lane_of(sidecar)
        if file_version_id is None and sidecar.runs:
            file_version_id = sidecar.runs[0].claim.file_version_id
        if lane is None or file_version_id is None:
            return out
        if file_version_id not in lane.offenders:
            lane.offenders.append(file_version_id)
        if len(lane.offenders) < self.rules.quarantine_after:
            return out
        lane.broken = (
            f"plugin {name} is in quarantine: it broke the protocol on "
            f"{len(lane.offenders)} different files in a row, at last: {problem}"
        )
        code = lane.plugin.content_hash
        lane.plugin = replace(lane.plugin, quarantined=True)
        return [*out, QuarantinePlugin(name, code, lane.broken), *refuse_waiting(lane)]


def _topic_problem(plugin: LivePlugin, topic: str) -> tuple[ErrorClass, str] | None:
    if topic == REJECTS_TOPIC and plugin.config.topics:
        return None
    bad = check_topic_name(topic)
    if bad is not None:
        return ErrorClass.DATA, f"The topic name {topic!r:.200} {bad}; choose another."
    if plugin.config.topic_config(topic) is not None:
        return None
    known = ", ".join(sorted(plugin.config.topic_names)) or "none"
    return (
        ErrorClass.UNKNOWN_TOPIC,
        f"Plugin {plugin.name} published to topic {topic!r}, which has no table in the "
        f"configuration; it has: {known}. Add [plugin.{plugin.name}.topics.{topic}] "
        f'or [plugin.{plugin.name}.topics."*"].',
    )


def _credited(sidecar: Sidecar) -> list[Instruction]:
    credit, sidecar.owed = sidecar.owed, 0
    return [Send(sidecar.peer, Control(credit=credit))]
