"""The Architect: takes what a DEPLOY brought, and answers when its verdict stands.

One thread verifies what comes, and answers at once what does not hold. Others try and install,
several plugins beside each other, of each one deployment at a time, so that of two the later is
held against the earlier. Meanwhile the newest of that plugin waits; an older one is not tried any
more, and answered so. The router hands over and is told what to answer; it waits for nothing.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable

import structlog

from casparian.app.arrivals import Arrived, arrived_by, not_the_newest
from casparian.app.builtins.system_deployer import SystemDeployer, Verified
from casparian.app.mailboxes import Mailboxes
from casparian.app.stopping import StoppingError
from casparian.app.tryouts import TryOuts
from casparian.domain.deployments import (
    INSTALLED,
    DeployCheck,
    DeployRefusedError,
    not_loaded,
)
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.instructions import (
    DeployInstruction,
    Instruction,
    RefuseDeploy,
    Send,
    TakeDeploy,
    TrialEnded,
)
from casparian.domain.messages import Deployed, DeployRefused
from casparian.domain.plugins import LivePlugin
from casparian.domain.requirements import EnvironmentFailedError
from casparian.domain.router import Router

MOST_UNVERIFIED = 16
"""Each may bring as much code as a plugin may have."""
AT_ONCE = 4
"""Plugins whose deployments are tried beside each other: installing packages takes long."""
BUSY = (
    f"Refused, and nothing was changed: {MOST_UNVERIFIED} deployments wait already to be verified "
    "by this engine. Deploy again in a few seconds."
)

Answer = Deployed | DeployRefused
Prepare = Callable[[str, str, bytes], None]
"""Given a plugin's name, and its code with the hash. Raises ConfigurationError or
EnvironmentFailedError where that cannot be had, StoppingError where the engine stops meanwhile."""

log = structlog.get_logger("casparian.architect")


class Architect:
    """`prepare` makes what the code says that it needs; `post` has an event carried out by the
    router's thread; `on_installed` is called before the answer, so that whoever hears it finds
    the code live.

    `counts`: deployments by outcome, `installed` or the check that refused them.
    """

    def __init__(
        self,
        deployer: SystemDeployer,
        prepare: Prepare,
        router: Router,
        post: Callable[[Callable[[], list[Instruction]]], None],
        on_installed: Callable[[], None],
    ) -> None:
        self._deployer = deployer
        self._prepare = prepare
        self._try_outs = TryOuts(router, post)
        self._post = post
        self._on_installed = on_installed
        self.counts: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._orders: queue.Queue[TakeDeploy | RefuseDeploy | None] = queue.Queue(MOST_UNVERIFIED)
        self._turned_away = 0
        self._waiting: Mailboxes[Arrived] = Mailboxes()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._receive, name="casparian-architect", daemon=True),
            *(
                threading.Thread(target=self._install, name=f"casparian-deployer-{n}", daemon=True)
                for n in range(1, AT_ONCE + 1)
            ),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Answer what waits with a refusal, and end."""
        self._closing = True
        self._try_outs.close()
        if self._threads[0].ident is not None:
            self._orders.put(None)
            for thread in self._threads:
                thread.join()

    # --- the router's thread --------------------------------------------------------------

    def carry_out(self, instruction: DeployInstruction) -> None:
        """Returns at once, whatever becomes of it."""
        if isinstance(instruction, TrialEnded):
            self._try_outs.ended(instruction)
            return
        try:
            self._orders.put_nowait(instruction)
        except queue.Full:
            with self._counting:
                self.counts[DeployCheck.BUSY] += 1
                self._turned_away += 1
            self._say(instruction.peer, DeployRefused(DeployCheck.BUSY, BUSY))

    # --- the thread that verifies ---------------------------------------------------------

    def _receive(self) -> None:
        while (order := self._orders.get()) is not None:
            if isinstance(order, RefuseDeploy):
                refusal = DeployRefusedError(order.check, order.message)
                self._refuse(order.peer, refusal, order.plugin)
            else:
                self._take(order)
            self._audit_turned_away()
        self._waiting.close()

    def _take(self, order: TakeDeploy) -> None:
        try:
            arrived = arrived_by(order)
        except DeployRefusedError as error:
            self._refuse(order.peer, error)
        else:
            self._answer_failures(arrived, self._admit)

    def _admit(self, arrived: Arrived) -> None:
        """Let it wait for its turn, where it holds."""
        body = self._verified(arrived).body
        past = self._waiting.put(body.plugin, body.version, arrived)
        if past is not None:
            self._refuse_arrived(past.item, not_the_newest(past.item, past.version))

    def _audit_turned_away(self) -> None:
        """Those for whom there was no room; once for all since, and not by the router's thread,
        which must not wait for the database."""
        with self._counting:
            turned_away, self._turned_away = self._turned_away, 0
        if turned_away:
            log.warning("deployments refused", check=DeployCheck.BUSY, deployments=turned_away)
            text = f"{BUSY} (Refused so: {turned_away}.)"
            self._audit(DeployRefusedError(DeployCheck.BUSY, text))

    # --- the threads that try and install -------------------------------------------------

    def _install(self) -> None:
        while (taken := self._waiting.take()) is not None:
            plugin, arrived = taken
            try:
                self._answer_failures(arrived, self._deploy)
            finally:
                self._waiting.done(plugin)

    def _deploy(self, arrived: Arrived) -> None:
        # Once more: since then another may have been installed, or the key revoked.
        verified = self._verified(arrived)
        body = verified.body
        failure = self._tried(LivePlugin(verified.config, body.sha256), arrived.code)
        installed = self._deployer.install(verified, failure)
        if failure:
            raise not_loaded(installed)
        self._count(INSTALLED)
        self._on_installed()
        log.info("deployed", plugin=installed.plugin, version=installed.version)
        answer = Deployed(installed.plugin, installed.version, installed.content_hash)
        self._say(arrived.peer, answer)

    def _tried(self, plugin: LivePlugin, code: bytes) -> str:
        """Why the code cannot be loaded; empty where it can."""
        try:
            self._prepare(plugin.name, plugin.content_hash, code)
            return self._try_outs.try_out(plugin, code)
        except (ConfigurationError, EnvironmentFailedError) as error:
            return str(error)
        except StoppingError as error:
            raise _stopping() from error

    # --- either ---------------------------------------------------------------------------

    def _verified(self, arrived: Arrived) -> Verified:
        if self._closing:
            raise _stopping()
        try:
            return self._deployer.verify(arrived.signed, arrived.code)
        except ConfigurationError as error:
            log.error("a deploy key cannot be used", key=arrived.signed.key_id, error=str(error))
            raise DeployRefusedError(
                DeployCheck.KEY,
                "Refused, and nothing was changed: the engine cannot use its file of that key; "
                "its log says why.",
            ) from error

    def _answer_failures(self, arrived: Arrived, step: Callable[[Arrived], None]) -> None:
        try:
            step(arrived)
        except DeployRefusedError as error:
            self._refuse_arrived(arrived, error)
        except UnavailableError as error:
            # Where the database is is not for everybody who can send a DEPLOY.
            log.error("a deployment met no database", error=str(error))
            text = (
                "The queue's database cannot be reached, and without it nothing is live that was "
                "not before: deploy again when it is back."
            )
            self._refuse_arrived(arrived, DeployRefusedError(DeployCheck.DATABASE, text))
        except Exception as error:
            log.exception("a deployment failed")
            text = f"The engine failed at it ({type(error).__name__}); its log says where."
            self._refuse_arrived(arrived, DeployRefusedError(DeployCheck.ENGINE, text))

    def _refuse_arrived(self, arrived: Arrived, error: DeployRefusedError) -> None:
        key_id = arrived.signed.key_id
        self._refuse(arrived.peer, error, arrived.plugin, arrived.version, key_id)

    def _refuse(
        self,
        peer: bytes,
        error: DeployRefusedError,
        plugin: str = "",
        version: int = 0,
        key_id: str = "",
    ) -> None:
        self._count(error.check)
        log.warning("deployment refused", check=error.check, plugin=plugin, reason=str(error))
        if error.check is not DeployCheck.CONTRACT:
            self._audit(error, plugin, version, key_id)
        self._say(peer, DeployRefused(error.check, str(error)))

    def _audit(
        self, error: DeployRefusedError, plugin: str = "", version: int = 0, key_id: str = ""
    ) -> None:
        try:
            self._deployer.refused(error, plugin, version, key_id)
        except UnavailableError as unavailable:
            log.error("a refused deployment is not in the audit", error=str(unavailable))
        except Exception:
            # Whoever sent it is answered, and the next one heard, all the same.
            log.exception("a refused deployment is not in the audit")

    def _count(self, outcome: str) -> None:
        with self._counting:
            self.counts[outcome] += 1

    def _say(self, peer: bytes, answer: Answer) -> None:
        if peer:
            self._post(lambda: [Send(peer, answer)])


def _stopping() -> DeployRefusedError:
    return DeployRefusedError(
        DeployCheck.STOPPING, "Refused, and nothing was changed: the engine is stopping."
    )
