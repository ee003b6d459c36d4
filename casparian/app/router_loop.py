"""The router's thread: messages and exits in, the state machine's instructions carried out.

Nothing slow runs here: it moves messages, and hands all else on.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from casparian.domain.instructions import (
    DeployInstruction,
    FailJob,
    FinishJob,
    Instruction,
    KillSidecar,
    QuarantinePlugin,
    Send,
    StageFrame,
    StartSidecar,
)
from casparian.domain.jobs import Claim
from casparian.domain.message_codec import decode_from_sidecar, encode
from casparian.domain.peers import GuardedTransport
from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import (
    PeerBusy,
    PeerGone,
    PluginHost,
    SidecarSpec,
    Transport,
    not_started,
)
from casparian.domain.router import Router
from casparian.domain.wire import RemoteProtocolError

BUSY_POLL_S = 0.005

HandedOn = StageFrame | FinishJob | FailJob | QuarantinePlugin | DeployInstruction

log = structlog.get_logger("casparian.worker")


class RouterLoop:
    """Owns the transport and the plugin host; `router` is touched by its thread only.

    `code` gives the code by its hash, `readable` the directories of a plugin's input;
    `carry_out` takes the instructions about jobs and deployments; what `each_round` returns after
    every round is performed; `each_tick` is called when timers are due, at least once a second;
    `give_back` takes the claims that never ran when the loop is stopped.
    """

    def __init__(
        self,
        router: Router,
        transport: Transport,
        make_host: Callable[[Callable[[], None]], PluginHost],
        code: Callable[[str], bytes],
        python: Callable[[str], str],
        readable: Callable[[LivePlugin], tuple[str, ...]],
        carry_out: Callable[[HandedOn], None],
        each_round: Callable[[], list[Instruction]],
        each_tick: Callable[[], None],
        give_back: Callable[[list[Claim]], None],
    ) -> None:
        self.router = router
        self.endpoint = ""
        self.failure: Exception | None = None
        self._transport = transport
        self._guarded = transport if isinstance(transport, GuardedTransport) else None
        self._make_host = make_host
        self._code = code
        self._python = python
        self._readable = readable
        self._carry_out = carry_out
        self._each_round = each_round
        self._each_tick = each_tick
        self._give_back = give_back
        self._inbox: queue.SimpleQueue[Callable[[], list[Instruction]]] = queue.SimpleQueue()
        self._unsent: deque[Send] = deque()
        self._stopping = threading.Event()
        self._abort = threading.Event()
        self._bound = threading.Event()
        self._cannot_bind: BaseException | None = None
        self._prestart = False
        self._refused_told = 0
        self._thread = threading.Thread(target=self._serve, name="casparian-router", daemon=True)

    # --- any thread -----------------------------------------------------------------------

    def start(self, prestart: bool) -> None:
        """Bind and begin; raises what kept the transport from binding."""
        self._prestart = prestart
        self._thread.start()
        self._bound.wait()
        if self._cannot_bind is not None:
            raise self._cannot_bind

    def post(self, event: Callable[[], list[Instruction]]) -> None:
        """Run `event` in the loop's thread, and what it says."""
        self._inbox.put(event)
        self.wake()

    def wake(self) -> None:
        self._transport.wake()

    @property
    def refused(self) -> int:
        """Peers that the transport did not admit."""
        return self._guarded.refused if self._guarded is not None else 0

    def stop(self, timeout_s: float) -> None:
        """No new jobs; returns when those at sidecars have ended."""
        self._stopping.set()
        self.wake()
        self._thread.join(timeout_s)

    def abort(self) -> None:
        """End without waiting for running jobs."""
        self._abort.set()
        self.wake()

    @property
    def aborted(self) -> threading.Event:
        return self._abort

    def end_sidecars(self) -> None:
        self._host.close()

    # --- the thread -----------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            self.endpoint = self._transport.bind()
            self._host = self._make_host(self._transport.wake)
        except BaseException as error:
            self._cannot_bind = error
            self._transport.close()
            return
        finally:
            self._bound.set()
        try:
            self._loop()
        except Exception as error:
            log.exception("the router stopped; its jobs go back when their leases are over")
            self.failure = error
        finally:
            self._transport.close()

    def _loop(self) -> None:
        tick_at = 0.0
        told_to_stop = False
        while True:
            wait = max(0.0, tick_at - time.monotonic())
            self._transport.poll(BUSY_POLL_S if self._unsent else wait)
            self._take_inbox()
            if self._prestart:
                self._prestart = False
                self._perform(self.router.pool.prestart(time.monotonic()))
            self._take_exits()
            now = time.monotonic()
            if now >= tick_at:
                self._tell_refusals()
                self._each_tick()
                self._perform(self.router.tick(now))
                tick_at = now + self.router.pool.next_timer(now)
            self._flush_unsent()
            self._perform(self._each_round())
            if self._stopping.is_set():
                if not told_to_stop:
                    told_to_stop = True
                    instructions, unstarted = self.router.stop()
                    self._perform(instructions)
                    self._give_back(unstarted)
                if self._abort.is_set() or not self.router.pool.held():
                    return

    def _tell_refusals(self) -> None:
        """One line for each reason and tick: a flood must not fill the log."""
        if self._guarded is not None and self._guarded.refused != self._refused_told:
            self._refused_told = self._guarded.refused
            for reason, peers in self._guarded.refusals().items():
                log.warning("connections refused", reason=reason, connections=peers)

    def _take_inbox(self) -> None:
        while True:
            try:
                event = self._inbox.get_nowait()
            except queue.Empty:
                return
            self._perform(event())

    def _take_exits(self) -> None:
        exits = self._host.exits()
        # What a sidecar sent before it died counts.
        while self._take_messages() and exits:
            pass
        for exit_ in exits:
            self._perform(self.router.exited(exit_, time.monotonic()))

    def _take_messages(self) -> bool:
        """Handle what has arrived, up to a limit; True when there was anything."""
        arrived = self._transport.receive()
        for incoming in arrived:
            now = time.monotonic()
            try:
                message = decode_from_sidecar(
                    incoming.head, len(incoming.payload), self.router.rules.limits
                )
            except RemoteProtocolError as error:
                self._perform(self.router.malformed(incoming.peer, str(error)))
                continue
            self._perform(self.router.received(incoming.peer, message, incoming.payload, now))
        return bool(arrived)

    def _perform(self, instructions: Iterable[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Send():
                    self._send(instruction)
                case StartSidecar():
                    self._start_sidecar(instruction)
                case KillSidecar(session, reason, dismissed):
                    told = log.debug if dismissed else log.warning
                    told("sidecar killed", reason=reason)
                    self._host.kill(session)
                case _:
                    self._carry_out(instruction)

    def _start_sidecar(self, start: StartSidecar) -> None:
        try:
            spec = self._spec(start.session, start.plugin, start.code)
        except OSError as error:
            # As where no process can be started: it is tried again, each time later.
            exit_ = not_started(start.session, error)
            self._perform(self.router.exited(exit_, time.monotonic()))
        else:
            self._host.start(spec)

    def _spec(self, session: str, plugin: LivePlugin, code: bytes | None) -> SidecarSpec:
        """Raises OSError, where what it is to read cannot be made."""
        if code is None:
            code = self._code(plugin.content_hash)
        access = self._guarded.access if self._guarded is not None else {}
        return SidecarSpec(
            session,
            plugin,
            code,
            self.endpoint,
            self.router.pool.window(),
            readable=self._readable(plugin),
            access=access,
            python=self._python(plugin.content_hash),
        )

    def _send(self, send: Send) -> None:
        if self._unsent:
            self._unsent.append(send)
            return
        try:
            self._transport.send(send.peer, encode(send.message))
        except PeerBusy:
            self._unsent.append(send)
        except PeerGone:
            # Its end is on its way as an exit, which deals with its jobs.
            log.debug("message to a sidecar that is gone")

    def _flush_unsent(self) -> None:
        pending, self._unsent = self._unsent, deque()
        for send in pending:
            self._send(send)
