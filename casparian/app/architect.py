"""The Architect: takes what a DEPLOY brought, and answers when its verdict stands.

One thread, one deployment at a time, so that of two the later is held against the earlier. The
router hands over and is told what to answer; it waits for nothing.
"""

from __future__ import annotations

import base64
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from casparian.app.builtins.system_deployer import SystemDeployer
from casparian.domain.deployments import (
    INSTALLED,
    DeployCheck,
    Deployment,
    DeployRefusedError,
    Signed,
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

MOST_WAITING = 4
LONGEST_FIELD = 8192

Answer = Deployed | DeployRefused
Prepare = Callable[[str, str, bytes], None]
"""Given a plugin's name, and its code with the hash. Raises ConfigurationError or
EnvironmentFailedError where that cannot be had."""

log = structlog.get_logger("casparian.architect")


@dataclass(slots=True)
class _Trial:
    """The one that is waited for."""

    ticket: int
    over: threading.Event
    failure: str = ""


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
        self._router = router
        self._post = post
        self._on_installed = on_installed
        self.counts: Counter[str] = Counter()
        self._orders: queue.Queue[TakeDeploy | RefuseDeploy | None] = queue.Queue(MOST_WAITING)
        self._trial = _Trial(0, threading.Event())
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="casparian-architect", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Answer what waits with a refusal, and end."""
        self._closing = True
        self._trial.over.set()
        if self._thread.ident is not None:
            self._orders.put(None)
            self._thread.join()

    # --- the router's thread --------------------------------------------------------------

    def carry_out(self, instruction: DeployInstruction) -> None:
        """Returns at once, whatever becomes of it."""
        if isinstance(instruction, TrialEnded):
            trial = self._trial
            if trial.ticket == instruction.ticket:
                trial.failure = instruction.failure
                trial.over.set()
            return
        try:
            self._orders.put_nowait(instruction)
        except queue.Full:
            # Not in the audit either: it would have to wait for the same database.
            self.counts[DeployCheck.BUSY] += 1
            text = (
                f"Refused, and nothing was changed: {MOST_WAITING} deployments wait at this "
                "engine; try again when they are done."
            )
            self._say(instruction.peer, DeployRefused(DeployCheck.BUSY, text))

    # --- its own thread -------------------------------------------------------------------

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            if isinstance(order, RefuseDeploy):
                self._refuse(order.peer, DeployRefusedError(order.check, order.message), {}, order)
            else:
                self._take(order)

    def _take(self, order: TakeDeploy) -> None:
        said: dict[str, str] = {}
        try:
            installed = self._deploy(order, said)
        except DeployRefusedError as error:
            self._refuse(order.peer, error, said)
        except UnavailableError as error:
            # Where the database is is not for everybody who can send a DEPLOY.
            log.error("a deployment met no database", error=str(error))
            text = (
                "The queue's database cannot be reached, and without it nothing is live that was "
                "not before: deploy again when it is back."
            )
            self._refuse(order.peer, DeployRefusedError(DeployCheck.DATABASE, text), said)
        except Exception as error:
            log.exception("a deployment failed")
            text = f"The engine failed at it ({type(error).__name__}); its log says where."
            self._refuse(order.peer, DeployRefusedError(DeployCheck.ENGINE, text), said)
        else:
            self.counts[INSTALLED] += 1
            self._on_installed()
            log.info("deployed", plugin=installed.plugin, version=installed.version)
            answer = Deployed(installed.plugin, installed.version, installed.content_hash)
            self._say(order.peer, answer)

    def _deploy(self, order: TakeDeploy, said: dict[str, str]) -> Deployment:
        """`said` is filled with what the deployment says of itself, for the audit."""
        if self._closing:
            raise _stopping()
        signed = _signed(order.metadata)
        said["key_id"] = signed.key_id
        said["plugin"], version = claimed(signed.body)
        said["version"] = str(version)
        code = bytes(order.payload)
        try:
            verified = self._deployer.verify(signed, code)
        except ConfigurationError as error:
            log.error("a deploy key cannot be used", key=signed.key_id, error=str(error))
            raise DeployRefusedError(
                DeployCheck.KEY,
                "Refused, and nothing was changed: the engine cannot use its file of that key; "
                "its log says why.",
            ) from error
        body = verified.body
        failure = self._tried(LivePlugin(verified.config, body.sha256), code)
        installed = self._deployer.install(verified, failure)
        if failure:
            raise DeployRefusedError(
                DeployCheck.CONTRACT,
                f"Version {body.version} of plugin {body.plugin} is recorded, and not live, since "
                f"it could not be loaded: {failure}",
            )
        return installed

    def _tried(self, plugin: LivePlugin, code: bytes) -> str:
        """Why the code cannot be loaded; empty where it can."""
        try:
            self._prepare(plugin.name, plugin.content_hash, code)
        except (ConfigurationError, EnvironmentFailedError) as error:
            if self._closing:
                raise _stopping() from error
            return str(error)
        trial = self._trial = _Trial(self._trial.ticket + 1, threading.Event())
        ticket = trial.ticket
        self._post(lambda: self._router.try_out(ticket, plugin, code, time.monotonic()))
        if not self._closing:
            # The router ends every trial, at the latest when its time to start is over.
            trial.over.wait()
        if self._closing:
            raise _stopping()
        return trial.failure

    def _refuse(
        self,
        peer: bytes,
        error: DeployRefusedError,
        said: Mapping[str, str],
        order: RefuseDeploy | None = None,
    ) -> None:
        self.counts[error.check] += 1
        plugin = order.plugin if order else said.get("plugin", "")
        log.warning("deployment refused", check=error.check, plugin=plugin, reason=str(error))
        if error.check is not DeployCheck.CONTRACT:
            version, key_id = int(said.get("version", 0)), said.get("key_id", "")
            try:
                self._deployer.refused(error, plugin, version, key_id)
            except UnavailableError as unavailable:
                log.error("a refused deployment is not in the audit", error=str(unavailable))
        self._say(peer, DeployRefused(error.check, str(error)))

    def _say(self, peer: bytes, answer: Answer) -> None:
        if peer:
            self._post(lambda: [Send(peer, answer)])


def _stopping() -> DeployRefusedError:
    return DeployRefusedError(
        DeployCheck.STOPPING, "Refused, and nothing was changed: the engine is stopping."
    )


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
