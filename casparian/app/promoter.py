"""S3 to S5: promotes decided jobs into their sinks, completes them, clears their staging.

A decided job is rolled forward for ever: what fails for want of the infrastructure is tried
again without end, anything else ten times before the job is BLOCKED.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from casparian.app.leases import Leases
from casparian.app.targets import Targets
from casparian.app.waiting import Waits
from casparian.domain.bundles import revisions_of
from casparian.domain.errors import CasparianError, UnavailableError, is_infrastructure
from casparian.domain.jobs import JobStatus
from casparian.domain.observer import JobObserver, Unobserved
from casparian.domain.plugins import REJECTS_TOPIC
from casparian.domain.ports import PromoteItem, PublishLedger, Sink
from casparian.domain.publish import (
    Completion,
    InstallCase,
    Manifest,
    Receipt,
    StagingKey,
    final_status,
)

MOST_TRIES = 10
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0

log = structlog.get_logger("casparian.publisher")


@dataclass(slots=True)
class Decided:
    """A job after S2. `inherited`: taken over, so its staging is to be renamed first."""

    manifest: Manifest
    token: str
    inherited: bool = False
    tries: int = 0
    waits: int = 0
    next_at: float = 0.0

    @property
    def key(self) -> StagingKey:
        return self.manifest.staging(self.token)


def sinks_of(targets: Targets, manifest: Manifest) -> list[Sink]:
    """The sinks that a manifest is about, each once."""
    sinks = {id(s): s for s in (targets.sink(i.target) for i in manifest.items)}
    return list(sinks.values())


class Promoter:
    """Used by the publisher's thread only. `on_end(job_id, status)` is told of every end."""

    def __init__(
        self,
        ledger: PublishLedger,
        targets: Targets,
        leases: Leases,
        on_end: Callable[[int, JobStatus], None],
        waits: Waits,
        observer: JobObserver | None = None,
    ) -> None:
        self._ledger = ledger
        self._targets = targets
        self._leases = leases
        self._on_end = on_end
        self._waits = waits
        self._observer = observer or Unobserved()

    def promote(self, group: Sequence[Decided]) -> list[Decided]:
        """Promote and complete; returns those to be tried again at their `next_at`."""
        mine = [d for d in group if self._holds(d)]
        if not mine:
            return []
        receipts = self._install(mine)
        again: list[Decided] = []
        ended: list[tuple[Decided, Manifest, Completion]] = []
        for decided in mine:
            got = receipts[decided.manifest.job_id]
            failed = [r for r in got if r.case is None]
            if failed:
                self._put_off(decided, failed, again)
                continue
            stands = _installed(decided.manifest, got)
            ended.append((decided, stands, _completion(decided, stands, got)))
        self._complete(ended)
        return again

    def _holds(self, decided: Decided) -> bool:
        held = self._leases.holds(decided.manifest.job_id, decided.token)
        if not held:
            log.warning("decided job left to another worker", job=decided.manifest.job_id)
        return held

    def _install(self, group: Sequence[Decided]) -> dict[int, list[Receipt]]:
        receipts: dict[int, list[Receipt]] = {d.manifest.job_id: [] for d in group}
        per_sink: dict[int, tuple[Sink, list[PromoteItem]]] = {}
        for decided in group:
            try:
                if decided.inherited:
                    for sink in sinks_of(self._targets, decided.manifest):
                        sink.rekey(decided.key)
                for item in decided.manifest.items:
                    sink = self._targets.sink(item.target)
                    entry = per_sink.setdefault(id(sink), (sink, []))
                    entry[1].append(PromoteItem(decided.key, decided.manifest, item))
            except (OSError, MemoryError, CasparianError) as error:
                receipts[decided.manifest.job_id] = _all_failed(decided, error)
        for sink, items in per_sink.values():
            wanted = [p for p in items if not _has_failure(receipts[p.manifest.job_id])]
            try:
                for promoted, receipt in zip(wanted, sink.promote(wanted), strict=True):
                    receipts[promoted.manifest.job_id].append(receipt)
            except (OSError, MemoryError, CasparianError) as error:
                for promoted in wanted:
                    receipts[promoted.manifest.job_id].append(
                        Receipt(promoted.item, None, str(error), transient=True)
                    )
        return receipts

    def _put_off(self, decided: Decided, failed: Sequence[Receipt], again: list[Decided]) -> None:
        text = "; ".join(f"{r.item.target}: {r.error}" for r in failed)
        job_id = decided.manifest.job_id
        decided.waits += 1
        if not all(r.transient for r in failed):
            decided.tries += 1
        fate = self._ledger.fates([job_id]).get(job_id)
        if fate is None or fate.token != decided.token:
            log.warning("decided job left to another worker", job=job_id)
            self._leases.remove(job_id, decided.token)
            return
        # It is ours: should a holder before us have renamed the staging late, take it back.
        decided.inherited = True
        if decided.tries >= MOST_TRIES:
            if self._ledger.block(job_id, decided.token, text):
                self._on_end(job_id, JobStatus.BLOCKED)
                self._observer.blocked(decided.manifest, text)
            self._leases.remove(job_id, decided.token)
            log.error("job blocked", job=job_id, error=text)
            return
        wait = min(FIRST_WAIT_S * 2 ** min(decided.waits - 1, 16), LONGEST_WAIT_S)
        decided.next_at = time.monotonic() + wait
        again.append(decided)
        what = ", ".join(sorted({f"sink {r.item.target.location}" for r in failed}))
        self._waits.job(job_id, JobStatus.PROMOTING, what, text)
        log.warning("promote failed, trying again", job=job_id, error=text, wait_s=wait)

    def _complete(self, group: Sequence[tuple[Decided, Manifest, Completion]]) -> None:
        if not group:
            return
        done = self._ledger.complete([completion for _, _, completion in group])
        for decided, stands, completion in group:
            job_id = completion.job_id
            self._leases.remove(job_id, decided.token)
            self._waits.job_over(job_id)
            if job_id not in done:
                log.warning("job completed by another worker", job=job_id)
                continue
            self._on_end(job_id, completion.status)
            self._observer.published(stands, completion.status)
            log.info(
                "job " + completion.status.lower(),
                job=job_id,
                version=stands.file_version_id,
                plugin=stands.plugin,
                path=stands.path,
                rows=completion.rows,
            )
        self._clear(decided for decided, _, completion in group if completion.job_id in done)

    def _clear(self, group: Iterable[Decided]) -> None:
        """Nothing depends on it: what is left behind is an orphan and will be swept."""
        for decided in group:
            for sink in sinks_of(self._targets, decided.manifest):
                try:
                    sink.discard(decided.key)
                except (OSError, UnavailableError) as error:
                    log.warning("staging not removed", staging=decided.key.name, error=str(error))


def _installed(manifest: Manifest, receipts: Sequence[Receipt]) -> Manifest:
    """What a job did: slots that a newer job holds are neither its rows nor its to forget."""
    if all(r.case is not InstallCase.OLDER for r in receipts):
        return manifest
    installed = (r.item for r in receipts if r.case is not InstallCase.OLDER)
    return replace(manifest, items=tuple(installed))


def _completion(decided: Decided, stands: Manifest, receipts: Sequence[Receipt]) -> Completion:
    """S4 of a job."""
    return Completion(
        stands.job_id,
        decided.token,
        final_status(decided.manifest, receipts),
        sum(item.rows for item in stands.items if item.slot.topic != REJECTS_TOPIC),
        stands.emptied,
        revisions_of(decided.manifest),
    )


def _all_failed(decided: Decided, error: Exception) -> list[Receipt]:
    items = decided.manifest.items
    return [Receipt(item, None, str(error), transient=is_infrastructure(error)) for item in items]


def _has_failure(receipts: Sequence[Receipt]) -> bool:
    return any(r.case is None for r in receipts)
