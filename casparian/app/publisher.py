"""The publisher's thread: jobs that finish close together are decided and published as one group.

It is also where every end of an attempt is told to the queue, so that no other thread waits
for the database.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from casparian.app.decider import Decider, Outcome, Staged
from casparian.app.leases import Leases
from casparian.app.promoter import Decided, Promoter, sinks_of
from casparian.app.targets import Targets
from casparian.app.waiting import Waits
from casparian.domain.errors import ConfigurationError, ErrorClass, UnavailableError
from casparian.domain.jobs import Claim, Failure, JobStatus, RetryPolicy
from casparian.domain.observer import JobObserver, Unobserved
from casparian.domain.ports import JobQueue, PublishLedger

LARGEST_GROUP = 100
# A group is closed when none joined it for the gap, and at the latest after the whole.
GATHER_S = 0.2
GATHER_GAP_S = 0.025
RETRY_WAIT_S = 1.0
JOIN_SLICE_S = 0.2

log = structlog.get_logger("casparian.publisher")


_Entry = Staged | Decided | tuple[Claim, Failure] | Callable[[], None] | None


class Publisher:
    """`on_end(job_id, status)` is called for each job that left this worker."""

    def __init__(
        self,
        ledger: PublishLedger,
        jobs: JobQueue,
        targets: Targets,
        leases: Leases,
        policy: RetryPolicy,
        on_end: Callable[[int, JobStatus], None],
        waits: Waits,
        observer: JobObserver | None = None,
    ) -> None:
        self._ledger = ledger
        self._jobs = jobs
        self._targets = targets
        self._leases = leases
        self._policy = policy
        self._on_end = on_end
        self._waits = waits
        self._observer = observer or Unobserved()
        self._decider = Decider(ledger, targets, leases)
        self._promoter = Promoter(ledger, targets, leases, on_end, waits, self._observer)
        # Not a SimpleQueue, whose get with a timeout waits for ever where the time is over
        # before it begins to wait: seen with short ones, and possible with any.
        self._inbox: queue.Queue[_Entry] = queue.Queue()
        self._calls: deque[Callable[[], None]] = deque()
        self._staged: list[Staged] = []
        self._decided: list[Decided] = []
        self._failed: list[tuple[Claim, Failure]] = []
        self._thread = threading.Thread(target=self._serve, name="casparian-publisher", daemon=True)

    # --- any thread -----------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def submit(self, staged: Staged) -> None:
        self._inbox.put(staged)

    def inherit(self, decided: Decided) -> None:
        """A decided job taken over from a worker that stopped."""
        self._inbox.put(decided)

    def fail(
        self,
        claim: Claim,
        error_class: ErrorClass,
        message: str,
        detail: str = "",
        supersede_if_newer: bool = False,
    ) -> None:
        """Tell the queue that an attempt ended without rows."""
        failure = Failure(
            claim.job_id,
            claim.attempt,
            claim.token,
            error_class,
            message,
            detail,
            supersede_if_newer,
            claim.sandbox,
            claim.plugin_hash,
            claim.environment,
        )
        self._inbox.put((claim, failure))

    def call(self, step: Callable[[], None]) -> None:
        """Run `step` in the publisher's thread, until the database answers."""
        self._inbox.put(step)

    def close(self, timeout_s: float, abort: threading.Event) -> bool:
        """Finish what can be finished, until told to abort; False when jobs had to be left."""
        self._inbox.put(None)
        end = time.monotonic() + timeout_s
        while self._thread.is_alive() and time.monotonic() < end and not abort.is_set():
            self._thread.join(JOIN_SLICE_S)
        self._thread.join(JOIN_SLICE_S)
        return not self._thread.is_alive() and not (self._staged or self._decided)

    # --- the thread -----------------------------------------------------------------------

    def _serve(self) -> None:
        closing = False
        while not closing or self._due_soon():
            closing = self._collect() or closing
            for step in (
                self._run_calls,
                self._report_failures,
                self._decide_due,
                self._promote_due,
            ):
                try:
                    with self._waits.database(step.__name__):
                        step()
                except UnavailableError as error:
                    log.error("database not reachable, trying again", error=str(error))
                    self._pause()
                except (ConfigurationError, MemoryError) as error:
                    # A right was taken away from the engine, say.
                    log.error("publishing waits, trying again", error=str(error) or repr(error))
                    self._pause()
                except Exception:
                    # A bug must not leave jobs RUNNING for ever: their leases run out, and
                    # other workers take them.
                    log.exception("publishing failed, leaving the jobs to their leases")
                    self._let_go()
                    self._pause()

    def _pause(self) -> None:
        """Before it is tried again. Not a sleep: libfaketime lets each of Python's fail."""
        threading.Event().wait(RETRY_WAIT_S)

    def _due_soon(self) -> bool:
        return bool(self._calls or self._failed or self._staged or self._decided)

    def _collect(self) -> bool:
        """Wait for work; True when told to close."""
        closing = False
        try:
            entry = self._inbox.get(timeout=self._next_wait())
            group_ends = time.monotonic() + GATHER_S
            while True:
                match entry:
                    case None:
                        closing = True
                    case Staged():
                        self._staged.append(entry)
                    case Decided():
                        self._decided.append(entry)
                    case (_, Failure()):
                        self._failed.append(entry)
                    case _:
                        self._calls.append(entry)
                if len(self._staged) >= LARGEST_GROUP:
                    break
                entry = self._inbox.get(timeout=self._gather_wait(group_ends))
        except queue.Empty:
            pass
        return closing

    def _next_wait(self) -> float | None:
        if self._failed or self._calls:
            return 0.0
        times = [s.next_at for s in self._staged] + [d.next_at for d in self._decided]
        return max(0.001, min(times) - time.monotonic()) if times else None

    def _gather_wait(self, group_ends: float) -> float:
        """How long to wait for one more of a group: each group costs the same few syncs, so
        jobs that are about to be staged are worth a moment, and no more than that."""
        coming = len(self._leases) - len(self._staged) - len(self._decided)
        if not self._staged or coming <= 0:
            return 0.0
        return max(0.0, min(GATHER_GAP_S, group_ends - time.monotonic()))

    def _let_go(self) -> None:
        for staged in self._staged:
            self._leases.remove(staged.claim.job_id, staged.claim.token)
        for decided in self._decided:
            self._leases.remove(decided.manifest.job_id, decided.token)
        self._staged, self._decided = [], []

    def _run_calls(self) -> None:
        while self._calls:
            self._calls[0]()
            self._calls.popleft()

    # --- failures -------------------------------------------------------------------------

    def _report_failures(self) -> None:
        if not self._failed:
            return
        outcomes = self._jobs.fail([failure for _, failure in self._failed], self._policy)
        for claim, failure in self._failed:
            self._leases.remove(claim.job_id, claim.token)
            status = outcomes.get(claim.job_id)
            if status is None:
                self._observer.lost(claim)
                continue
            self._observer.failed(claim, failure, status)
            if status is JobStatus.QUEUED and failure.error_class is ErrorClass.INFRASTRUCTURE:
                what = f"plugin {claim.plugin}"
                self._waits.job(claim.job_id, status, what, failure.message)
            if failure.error_class is not ErrorClass.CONFLICT:
                log.warning(
                    "attempt failed",
                    job=claim.job_id,
                    version=claim.file_version_id,
                    plugin=claim.plugin,
                    attempt=claim.attempt,
                    error_class=str(failure.error_class),
                    error=failure.message,
                    status=str(status),
                )
            self._on_end(claim.job_id, status)
        self._failed = []

    def _fail_staged(self, staged: Staged, error_class: ErrorClass, message: str) -> None:
        self._drop_staging(staged)
        claim = staged.claim
        failure = Failure(
            claim.job_id,
            claim.attempt,
            claim.token,
            error_class,
            message,
            sandbox=claim.sandbox,
            plugin_hash=claim.plugin_hash,
            environment=claim.environment,
        )
        self._failed.append((claim, failure))

    def _drop_staging(self, staged: Staged) -> None:
        if staged.sent is not None:
            # What may be decided may be another's by now; an orphan is swept.
            return
        for sink in sinks_of(self._targets, staged.manifest):
            try:
                sink.discard(staged.key)
            except (OSError, UnavailableError) as error:
                log.warning("staging not removed", staging=staged.key.name, error=str(error))

    # --- decide ---------------------------------------------------------------------------

    def _decide_due(self) -> None:
        now = time.monotonic()
        group: dict[tuple[str, int], Staged] = {}
        # Those that may be decided already come first: who was sent together stays together.
        for staged in sorted(self._staged, key=lambda s: s.sent is None):
            # Two versions of one file do not share a group: the second is planned on the first.
            if staged.next_at <= now and len(group) < LARGEST_GROUP:
                group.setdefault(staged.slot_key, staged)
        if group:
            self._decide(list(group.values()))

    def _decide(self, group: list[Staged]) -> None:
        outcome = Outcome()
        try:
            self._decider.decide(group, outcome)
        finally:
            # What was found before the database went away holds all the same.
            self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        for staged, error_class, message in outcome.failed:
            self._fail_staged(staged, error_class, message)
        for staged in outcome.lost:
            self._drop_staging(staged)
            self._leases.remove(staged.claim.job_id, staged.claim.token)
            self._observer.lost(staged.claim)
        self._decided += [decided for _, decided in outcome.decided]
        self._remove(outcome.ended)

    def _remove(self, ended: Sequence[Staged]) -> None:
        gone = {id(s) for s in ended}
        self._staged = [s for s in self._staged if id(s) not in gone]

    # --- promote --------------------------------------------------------------------------

    def _promote_due(self) -> None:
        now = time.monotonic()
        due = [d for d in self._decided if d.next_at <= now]
        if due:
            again = self._promoter.promote(due)
            waiting = {id(d) for d in due}
            self._decided = [d for d in self._decided if id(d) not in waiting] + again
