"""The port Transport: what engine and sidecar need of the wire between them.

Apart from the other ports, and theirs too: a sidecar knows no other, and is started often.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from casparian.domain.errors import CasparianError

Buffer = bytes | bytearray | memoryview


class PeerGone(CasparianError):
    """The peer is not connected."""


class PeerBusy(CasparianError):
    """The peer's queue is full; nothing was sent."""


class Incoming(NamedTuple):
    """One message from a peer. `payload` is empty where there is none."""

    peer: bytes
    head: Buffer
    payload: Buffer


class Transport(Protocol):
    """The engine's side of the wire.

    1. Messages of one peer arrive whole and in order.
    2. `receive` never blocks and gives at most `limit`; what is not head and payload is
       dropped and counted in `malformed`, and costs no other message.
    3. `send` raises PeerGone for a peer that is not connected, PeerBusy when its bounded
       queue is full: nothing is dropped without a word.
    4. `poll` returns True when a message waits or `wake` was called, from whatever thread.
    5. Memory is bounded: queues have limits, oversize messages are refused.
    6. All but `wake` belong to the thread that called `bind`.
    """

    malformed: int

    def bind(self) -> str: ...

    def poll(self, timeout_s: float) -> bool: ...

    def receive(self, limit: int = 64) -> list[Incoming]: ...

    def send(self, peer: bytes, head: Buffer, payload: Buffer = b"") -> None: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...


@runtime_checkable
class GuardedTransport(Transport, Protocol):
    """Optional for a transport: it asks who connects.

    7. A peer that may not connect is told so or hears nothing; no message of it arrives. It is
       counted in `refused`, and in the next `refusals`, which are by reason.
    8. `access` is what a sidecar shows, and is handed to it in private; empty where that is
       nothing. It is a secret.
    9. However many connect and say nothing, those that are connected are served.
    """

    access: Mapping[str, str]

    @property
    def refused(self) -> int: ...

    def refusals(self) -> Mapping[str, int]: ...


class Connection(Protocol):
    """A sidecar's side of the wire; the same promises."""

    def send(self, head: Buffer, payload: Buffer = b"") -> None: ...

    def poll(self, timeout_s: float) -> bool: ...

    def receive(self) -> list[tuple[Buffer, Buffer]]: ...

    def wake(self) -> None: ...

    def close(self) -> None: ...
