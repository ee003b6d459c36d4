"""A router on a bench: events by hand, time by hand, sidecars that are values."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from casparian.domain.errors import ErrorClass
from casparian.domain.files import StatIdentity
from casparian.domain.instructions import Instruction, RouterRules, Send, StartSidecar
from casparian.domain.jobs import Claim
from casparian.domain.messages import (
    Alive,
    Control,
    Data,
    Done,
    Execute,
    Failed,
    FromSidecar,
    Register,
    TopicTotals,
)
from casparian.domain.plugins import LivePlugin, PluginConfig, TopicConfig
from casparian.domain.ports import Buffer, SidecarExit
from casparian.domain.router import Router
from casparian.domain.wire import Flag

KIND = TypeVar("KIND")
BATCH = Flag(0)


def live(name: str = "lines", code: str = "h1", **config: object) -> LivePlugin:
    topics = (TopicConfig("rows", "parquet:///out"), TopicConfig("more", "parquet:///out"))
    values = {"tags": frozenset({"csv"}), "topics": topics, "timeout_s": 100.0, **config}
    return LivePlugin(PluginConfig(name, **values), code)  # type: ignore[arg-type]


def claim(job_id: int, plugin: str = "lines", attempt: int = 1, version: int = 0) -> Claim:
    """A claim; of a file version of its own unless `version` says which."""
    return Claim(
        job_id,
        plugin,
        "claimed",
        attempt,
        f"token-{job_id}-{attempt}",
        version or job_id + 1000,
        job_id,
        1,
        b"/in",
        b"f%d.csv" % job_id,
        "c" * 64,
        StatIdentity(1, 1, 1, job_id, 1),
    )


@dataclass
class FakeSidecar:
    """A sidecar as a router knows it. `sent` counts the DATA of its current job."""

    session: str
    plugin: LivePlugin
    peer: bytes
    sent: dict[str, TopicTotals] = field(default_factory=dict)
    sequence: int = 0

    def register(self, failure: str = "") -> Register:
        return Register(self.session, self.plugin.name, self.plugin.content_hash, 7, failure)

    def data(self, job: Claim, payload: Buffer, flags: Flag = BATCH, topic: str = "rows") -> Data:
        """The next DATA of a job, and counted for `done`."""
        message = Data(self.session, job.job_id, job.attempt, topic, self.sequence, flags)
        known = self.sent.get(topic, TopicTotals())
        batches = known.batches + (0 if flags & Flag.SCHEMA else 1)
        self.sent[topic] = TopicTotals(batches, known.rows + 1, known.bytes + len(payload))
        self.sequence += 1
        return message

    def done(self, job: Claim) -> Done:
        totals, self.sent, self.sequence = self.sent, {}, 0
        return Done(self.session, job.job_id, job.attempt, totals)

    def failed(self, job: Claim, error_class: ErrorClass = ErrorClass.DATA) -> Failed:
        self.sent, self.sequence = {}, 0
        return Failed(self.session, job.job_id, job.attempt, error_class, "line 3", "traceback")

    def alive(self) -> Alive:
        return Alive(self.session)


class Bench:
    """A router with what it started. Every event returns the instructions it led to."""

    def __init__(self, *plugins: LivePlugin, **rules: object) -> None:
        self.now = 1000.0
        numbers = itertools.count(1)
        given = replace(RouterRules(sidecars=1), **rules)  # type: ignore[arg-type]
        self.router = Router(given, lambda: f"secret-{next(numbers)}")
        self.started: dict[str, FakeSidecar] = {}
        self.configure(*(plugins or (live(),)))

    def note(self, instructions: Iterable[Instruction]) -> list[Instruction]:
        out = list(instructions)
        for start in of(StartSidecar, out):
            peer = b"peer-%d" % (len(self.started) + 1)
            self.started[start.session] = FakeSidecar(start.session, start.plugin, peer)
        return out

    def configure(self, *plugins: LivePlugin) -> list[Instruction]:
        return self.note(self.router.configure(plugins, self.now))

    def offer(self, *claims: Claim) -> list[Instruction]:
        return self.note(self.router.offer(claims, self.now))

    def prestart(self) -> list[Instruction]:
        return self.note(self.router.pool.prestart(self.now))

    def after(self, seconds: float) -> list[Instruction]:
        """Let time pass, then tick."""
        self.now += seconds
        return self.note(self.router.tick(self.now))

    def hear(
        self, sidecar: FakeSidecar, message: FromSidecar, payload: Buffer = b""
    ) -> list[Instruction]:
        return self.note(self.router.received(sidecar.peer, message, payload, self.now))

    def exit(
        self, sidecar: FakeSidecar, code: int = -9, job_id: int | None = None, **more: bool
    ) -> list[Instruction]:
        exit_ = SidecarExit(sidecar.session, code, "the tail", job_id=job_id, **more)
        return self.note(self.router.exited(exit_, self.now))

    # --- usual beginnings -----------------------------------------------------------------

    def ready(self, *jobs: Claim) -> FakeSidecar:
        """A registered sidecar that holds these jobs."""
        (start,) = of(StartSidecar, self.prestart())
        sidecar = self.started[start.session]
        self.hear(sidecar, sidecar.register())
        self.offer(*jobs)
        return sidecar

    def ready_of(self, plugin: str) -> FakeSidecar:
        """One sidecar of each plugin started, that of `plugin` registered."""
        starts = of(StartSidecar, self.prestart())
        sidecar = next(self.started[s.session] for s in starts if s.plugin.name == plugin)
        self.hear(sidecar, sidecar.register())
        return sidecar

    def stage(self, sidecar: FakeSidecar, job: Claim, size: int = 10) -> list[Instruction]:
        """A schema and one batch of `size` bytes."""
        out = self.hear(sidecar, sidecar.data(job, b"schema", Flag.SCHEMA), b"schema")
        payload = bytes(size)
        return out + self.hear(sidecar, sidecar.data(job, payload), payload)


def of(kind: type[KIND], instructions: Iterable[Instruction]) -> list[KIND]:
    return [i for i in instructions if isinstance(i, kind)]


def sent_jobs(instructions: Iterable[Instruction]) -> list[tuple[bytes, int]]:
    """(peer, job id) of each EXEC."""
    sends = of(Send, instructions)
    return [(s.peer, s.message.job_id) for s in sends if isinstance(s.message, Execute)]


def controls(instructions: Iterable[Instruction]) -> list[Control]:
    return [s.message for s in of(Send, instructions) if isinstance(s.message, Control)]
