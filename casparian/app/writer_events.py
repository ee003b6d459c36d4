"""What the sink writers tell of a job, and what follows: for publisher, router and observer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from casparian.app.decider import Staged
from casparian.app.live_plugins import LivePlugins
from casparian.app.publisher import Publisher
from casparian.app.staging_pool import WORTH_WAKING_BYTES
from casparian.app.verify import ContentCheck
from casparian.app.worker_context import WorkerContext
from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import Instruction
from casparian.domain.jobs import Claim
from casparian.domain.observer import JobObserver
from casparian.domain.publish import Manifest
from casparian.domain.router import Router

Post = Callable[[Callable[[], list[Instruction]]], None]


class WriterEvents:
    """Called by the writers' threads. `post` has an event carried out by the router's thread,
    `wake` lets it look; `drop` ends a job's lane of writers."""

    def __init__(
        self,
        router: Router,
        check: ContentCheck,
        plugins: LivePlugins,
        publisher: Publisher,
        observer: JobObserver,
        post: Post,
        wake: Callable[[], None],
        drop: Callable[[Claim], None],
    ) -> None:
        self._router = router
        self._check = check
        self._plugins = plugins
        self._publisher = publisher
        self._observer = observer
        self._post = post
        self._wake = wake
        self._drop = drop
        self._consumed: dict[str, int] = {}
        self._lock = threading.Lock()

    def consumed(self, session: str, size: int) -> None:
        """Small amounts wait for the router's next round, whatever that is for."""
        with self._lock:
            total = self._consumed[session] = self._consumed.get(session, 0) + size
        if total >= WORTH_WAKING_BYTES:
            self._wake()

    def take_consumed(self) -> dict[str, int]:
        """Bytes by session since the last call."""
        if not self._consumed:
            return {}
        with self._lock:
            consumed, self._consumed = self._consumed, {}
        return consumed

    def staged(self, claim: Claim, manifest: Manifest, context: WorkerContext) -> None:
        self._check.release(claim)
        self._observer.staged(claim, time.monotonic() - context.opened_at)
        self._publisher.submit(Staged(claim, context.plugin.config, manifest))

    def stage_failed(self, claim: Claim, error_class: ErrorClass, message: str) -> None:
        replaces = self._plugins.last_seen(claim.plugin).config.replaces_everything
        newer = error_class is ErrorClass.SOURCE_CHANGED and replaces
        self.report(claim, error_class, message, supersede_if_newer=newer)
        self._after_refusal(claim, lambda: self._router.refused(claim.job_id, claim.attempt))

    def garbled(self, session: str, claim: Claim, problem: str) -> None:
        text = f"the sidecar of plugin {claim.plugin} broke the protocol: {problem}"
        self.report(claim, ErrorClass.PROTOCOL, text)
        self._after_refusal(claim, lambda: self._router.garbled(session, claim, problem))

    def _after_refusal(self, claim: Claim, event: Callable[[], list[Instruction]]) -> None:
        """Tell the router; from then on no frame of the job comes, and its lane may go."""

        def tell() -> list[Instruction]:
            instructions = event()
            self._drop(claim)
            return instructions

        self._post(tell)

    def report(
        self,
        claim: Claim,
        error_class: ErrorClass,
        message: str,
        detail: str = "",
        supersede_if_newer: bool = False,
    ) -> None:
        """The attempt is over without rows."""
        self._check.release(claim)
        self._publisher.fail(claim, error_class, message, detail, supersede_if_newer)
