"""The Architect: takes what a DEPLOY brought, and answers when its verdict stands.

One thread verifies what comes, and answers at once what does not hold. Another tries and installs,
one deployment at a time, so that of two the later is held against the earlier. Meanwhile the newest
of each plugin waits; an older one is not tried any more, and answered so. The router hands over and
is told what to answer; it waits for nothing.
"""

from __future__ import annotations

import base64
import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from casparian.app.builtins.system_deployer import SystemDeployer, Verified
from casparian.app.mailboxes import Mailboxes
from casparian.app.tryouts import StoppingError, TryOuts
from casparian.domain.deployments import (
    INSTALLED,
    DeployCheck,
    DeployRefusedError,
    Signed,
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
from casparian.domain.signing import claimed
from casparian.domain.wire import Json

MOST_UNVERIFIED = 16
"""Each may bring as much code as a plugin may have."""
LONGEST_FIELD = 8192

Answer = Deployed | DeployRefused
Prepare = Callable[[str, str, bytes], None]
"""Given a plugin's name, and its code with the hash. Raises ConfigurationError or
EnvironmentFailedError where that cannot be had."""

log = structlog.get_logger("casparian.architect")


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A deployment. The plugin and version that it names are not to be believed unverified."""

    peer: bytes
    signed: Signed
    code: bytes
    plugin: str
    version: int


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
        self._waiting: Mailboxes[_Arrived] = Mailboxes()
        self._closing = False
        self._threads = [
            threading.Thread(target=self._receive, name="casparian-architect", daemon=True),
            threading.Thread(target=self._install, name="casparian-deployer", daemon=True),
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
            # Not in the audit either: it would have to wait for the same database.
            self._count(DeployCheck.BUSY)
            text = (
                f"Refused, and nothing was changed: {MOST_UNVERIFIED} deployments came at once; "
                "try again."
            )
            self._say(instruction.peer, DeployRefused(DeployCheck.BUSY, text))

    # --- the thread that verifies ---------------------------------------------------------

    def _receive(self) -> None:
        while (order := self._orders.get()) is not None:
            if isinstance(order, RefuseDeploy):
                refusal = DeployRefusedError(order.check, order.message)
                self._refuse(order.peer, refusal, order.plugin)
                continue
            try:
                arrived = _arrived(order)
            except DeployRefusedError as error:
                self._refuse(order.peer, error)
            else:
                self._answer_failures(arrived, self._admit)
        self._waiting.close()

    def _admit(self, arrived: _Arrived) -> None:
        """Let it wait for its turn, where it holds."""
        body = self._verified(arrived).body
        past = self._waiting.put(body.plugin, body.version, arrived)
        if past is not None:
            self._refuse_arrived(past.item, _not_the_newest(past.item, past.version))

    # --- the thread that tries and installs -----------------------------------------------

    def _install(self) -> None:
        while (arrived := self._waiting.take()) is not None:
            self._answer_failures(arrived, self._deploy)

    def _deploy(self, arrived: _Arrived) -> None:
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
        except (ConfigurationError, EnvironmentFailedError) as error:
            if self._closing:
                raise _stopping() from error
            return str(error)
        try:
            return self._try_outs.try_out(plugin, code)
        except StoppingError as error:
            raise _stopping() from error

    # --- either ---------------------------------------------------------------------------

    def _verified(self, arrived: _Arrived) -> Verified:
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

    def _answer_failures(self, arrived: _Arrived, step: Callable[[_Arrived], None]) -> None:
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

    def _refuse_arrived(self, arrived: _Arrived, error: DeployRefusedError) -> None:
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
            try:
                self._deployer.refused(error, plugin, version, key_id)
            except UnavailableError as unavailable:
                log.error("a refused deployment is not in the audit", error=str(unavailable))
        self._say(peer, DeployRefused(error.check, str(error)))

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


def _arrived(order: TakeDeploy) -> _Arrived:
    """Raises DeployRefusedError for what is no deployment."""
    signed = _signed(order.metadata)
    return _Arrived(order.peer, signed, bytes(order.payload), *claimed(signed.body))


def _not_the_newest(older: _Arrived, version: int) -> DeployRefusedError:
    """Another one waits, of that version."""
    other = f"Refused, and nothing was changed: version {version} of plugin {older.plugin} came "
    if version == older.version:
        return DeployRefusedError(DeployCheck.VERSION, f"{other}before.")
    text = f"{other}before version {older.version} was tried."
    return DeployRefusedError(DeployCheck.SUPERSEDED, text)


def _signed(metadata: Mapping[str, Json]) -> Signed:
    """What a DEPLOY's metadata holds. Raises DeployRefusedError for anything else."""
    try:
        if set(metadata) != {"key_id", "body", "signature"}:
            raise ValueError
        fields = [metadata[name] for name in ("key_id", "body", "signature")]
        if not all(isinstance(f, str) and len(f) <= LONGEST_FIELD for f in fields):
            raise ValueError
        key_id, body, signature = (str(f) for f in fields)
        return Signed(
            key_id,
            "",
            base64.b64decode(body, validate=True),
            base64.b64decode(signature, validate=True),
        )
    except ValueError as error:
        raise DeployRefusedError(
            DeployCheck.FORM,
            "Refused, and nothing was changed: a DEPLOY has the metadata key_id, body and "
            "signature, the latter two in base64.",
        ) from error
