"""Frames for the fuzz: valid ones of the session that runs, mutated, through codec and router; and
those of a router through codec and session."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import KillSidecar
from casparian.domain.jobs import Claim
from casparian.domain.message_codec import decode_from_router, decode_from_sidecar, encode
from casparian.domain.messages import (
    Alive,
    Control,
    Data,
    Done,
    Execute,
    Failed,
    Register,
    TopicTotals,
)
from casparian.domain.session import Session
from casparian.domain.wire import HEADER, Flag, RemoteProtocolError
from tests.support.router import Bench, FakeSidecar, claim, of

WORTH_OF_A_BENCH = 2_000
"""Cases before everything is begun anew: jobs that never end would fill any router."""
JSON_PIECES = (
    b"{}", b"[]", b'""', b"null", b"true", b"-1", b"1e999", b"9223372036854775808", b"NaN",
    b'{"a":' * 40, b"[" * 40, b'"\\ud800"', b'"\xff"', b'"session":"x","session":"x"', b"0.1",
)  # fmt: skip


class Frames:
    """One bench at a time, with one sidecar at a job."""

    def __init__(self) -> None:
        self._left = 0
        self._jobs = 0

    def case(self, chance: random.Random) -> str:
        if self._left == 0:
            self._begin()
        self._left -= 1
        if chance.random() < 0.2:
            return self._to_session(chance)
        return self._to_router(chance)

    def _begin(self) -> None:
        self._left = WORTH_OF_A_BENCH
        self._bench = Bench(quarantine_after=1 << 30)
        self._session = Session("secret")
        self._ready()

    def _ready(self) -> None:
        """A sidecar that has registered, and runs a job."""
        starting = [s for s in self._bench.router.pool.sidecars if s in self._bench.started]
        if starting:
            self._sidecar = self._bench.started[starting[-1]]
        else:
            self._bench.prestart()
            self._sidecar = list(self._bench.started.values())[-1]
        self._bench.hear(self._sidecar, self._sidecar.register())

    def _running(self) -> Claim:
        """The job that the sidecar is at; it gets one where it has none."""
        runs = self._bench.router.pool.sidecars[self._sidecar.session].runs
        if not runs:
            self._jobs += 1
            self._sidecar.sent, self._sidecar.sequence = {}, 0
            self._bench.offer(claim(self._jobs))
        return runs[0].claim

    # --- to the router --------------------------------------------------------------------

    def _to_router(self, chance: random.Random) -> str:
        message = chance.choice(MESSAGES)(chance, self._sidecar, self._running())
        head, payload = encode(message), bytes(chance.choice((0, 0, 1, 40)))
        if chance.random() < 0.6:
            head = mutated(head, chance)
        peer = self._sidecar.peer if chance.random() < 0.98 else b"stranger"
        bench = self._bench
        dropped = bench.router.dropped
        try:
            read = decode_from_sidecar(head, len(payload))
        except RemoteProtocolError as error:
            out = bench.note(bench.router.malformed(peer, str(error)))
            said = str(error)
        else:
            out = bench.note(bench.router.received(peer, read, payload, bench.now))
            said = f"read: {type(read).__name__}"
        killed = [k for k in of(KillSidecar, out) if k.session == self._sidecar.session]
        if killed:
            said = said if said != f"read: {type(message).__name__}" else killed[0].reason
            bench.exit(self._sidecar, job_id=0)
            self._ready()
        elif bench.router.dropped > dropped:
            said = "dropped: of nobody's"
        return said

    # --- to the session -------------------------------------------------------------------

    def _to_session(self, chance: random.Random) -> str:
        message = chance.choice(
            (
                Execute(chance.randrange(9), 1, "/in/f", "f", 1, "c" * 64),
                Control(chance.randrange(1 << 20), chance.randrange(9), chance.random() < 0.1),
                Failed("secret", 1, 1, ErrorClass.DATA, "text", ""),
            )
        )
        head = encode(message)
        if chance.random() < 0.6:
            head = mutated(head, chance)
        try:
            read = decode_from_router(head, chance.choice((0, 0, 9)))
        except RemoteProtocolError as error:
            return f"session: {error}"
        self._session.handle(read)
        assert self._session.credit >= 0
        return f"session read: {type(read).__name__}"


def _data(chance: random.Random, sidecar: FakeSidecar, job: Claim) -> Data:
    topic = chance.choice(("rows", "more", "unheard", "_bad", "é" * 90))
    flags = Flag(chance.randrange(4))
    sequence = sidecar.sequence if chance.random() < 0.8 else chance.randrange(5)
    sidecar.sequence += 1
    return Data(sidecar.session, job.job_id, job.attempt, topic, sequence, flags)


def _done(chance: random.Random, sidecar: FakeSidecar, job: Claim) -> Done:
    topics = {f"t{n}": TopicTotals(n, n, n) for n in range(chance.choice((0, 0, 1, 5)))}
    return Done(sidecar.session, job.job_id, job.attempt, topics)


MESSAGES: tuple[Callable[[random.Random, FakeSidecar, Claim], object], ...] = (
    _data,
    _data,
    _done,
    lambda _, s, j: Failed(s.session, j.job_id, j.attempt, ErrorClass.DATA, "line 3", "more"),
    lambda _, s, j: Alive(s.session, j.job_id),
    lambda _, s, j: s.register(),
    lambda c, s, j: Register(s.session, "lines", "h1", c.randrange(1 << 40), "cannot be loaded"),
)


# --- mutations ----------------------------------------------------------------------------


def mutated(head: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        head = chance.choice(MUTATIONS)(head, chance)
    if chance.random() < 0.7 and len(head) >= HEADER.size:
        # The length fits again, so that what is behind it is looked at.
        size = struct.pack("!I", len(head) - HEADER.size)
        head = head[:4] + size + head[8:]
    return head


def _flip(head: bytes, chance: random.Random) -> bytes:
    if not head:
        return head
    at = chance.randrange(len(head))
    return head[:at] + bytes([head[at] ^ (1 << chance.randrange(8))]) + head[at + 1 :]


def _cut(head: bytes, chance: random.Random) -> bytes:
    return head[: chance.randrange(len(head) + 1)]


def _drop(head: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(head) + 1)
    return head[:at] + head[at + chance.randrange(9) :]


def _double(head: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(head) + 1)
    return head[:at] + head[max(0, at - chance.randrange(20)) :]


def _insert(head: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(min(len(head), HEADER.size), len(head) + 1)
    return head[:at] + chance.choice(JSON_PIECES) + head[at:]


def _value(head: bytes, chance: random.Random) -> bytes:
    """A value of the metadata becomes something else."""
    places = [n for n in range(HEADER.size, len(head)) if head[n : n + 1] == b":"]
    if not places:
        return head
    at = chance.choice(places) + 1
    ends = [n for n in range(at, len(head)) if head[n : n + 1] in (b",", b"}")]
    return head[:at] + chance.choice(JSON_PIECES) + head[ends[0] if ends else len(head) :]


def _opcode(head: bytes, chance: random.Random) -> bytes:
    return head[:1] + bytes([chance.randrange(12)]) + head[2:]


def _job(head: bytes, chance: random.Random) -> bytes:
    number = chance.choice((0, 1, 2**31, 2**63, 2**64 - 1))
    return head[:8] + struct.pack("!Q", number) + head[16:]


MUTATIONS = (_flip, _cut, _drop, _double, _insert, _value, _value, _opcode, _job)
