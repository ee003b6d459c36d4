"""Scanning until nothing is about to settle: what `run --drain` begins with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from casparian.app.scout import Scout
from casparian.domain.files import ScanReport, SourceRoot

SCANS_OF_DEFERRED = 3
SLICE_S = 0.25

Progress = Callable[[], Callable[[ScanReport], None]]


def scan_until_settled(
    scout: Scout,
    stop: threading.Event,
    progress: Progress,
    roots: Sequence[SourceRoot] | None = None,
) -> ScanReport:
    """Scan every root (or these), then look at what is deferred, SCANS_OF_DEFERRED times at most.

    Before each look stands a wait until the deferred files may be settled. What is deferred
    to the end stays in the report with its reason: a failure, to the caller. Paths in the
    report are whole paths, since two roots may hold equal ones. UnavailableError passes
    through.
    """
    total = ScanReport()
    waiting: list[tuple[SourceRoot, ScanReport]] = []
    for root in scout.catalog.roots() if roots is None else roots:
        report = scout.scan(root, stopped=stop.is_set, on_progress=progress())
        total.add(_in_total(root, _without_deferred(report)))
        if report.deferred:
            waiting.append((root, report))
    for _ in range(SCANS_OF_DEFERRED):
        if not waiting or stop.is_set():
            break
        _wait([at for _, report in waiting for at in report.look_again_us.values()], scout, stop)
        again, waiting = waiting, []
        for root, before in again:
            report = _look_again(scout, root, before, stop, progress)
            total.add(_in_total(root, _without_deferred(report)))
            if report.deferred:
                waiting.append((root, report))
    for root, report in waiting:
        total.add(_in_total(root, _only_deferred(report)))
    return total


def _look_again(
    scout: Scout, root: SourceRoot, before: ScanReport, stop: threading.Event, progress: Progress
) -> ScanReport:
    if before.deferred == len(before.look_again_us):
        return scout.look(root, before.look_again_us, stopped=stop.is_set, on_progress=progress())
    # More were deferred than a report lists: only the whole root has them all. What the first
    # scan has counted is not counted again.
    report = scout.look(root, [b""], stopped=stop.is_set, on_progress=progress())
    return replace(report, unchanged=0, unreadable=0, waiting=0, errors={}, waiting_paths={})


def _wait(times_us: list[int], scout: Scout, stop: threading.Event) -> None:
    """Until the last of these times, in slices, since the clock may be set meanwhile: forward
    ends the wait, back does not make it longer."""
    left_s = (max(times_us) - scout.clock()) / 1e6
    while left_s > 0 and not stop.is_set():
        slice_s = min(left_s, SLICE_S)
        stop.wait(slice_s)
        left_s = min(left_s - slice_s, (max(times_us) - scout.clock()) / 1e6)


def _without_deferred(report: ScanReport) -> ScanReport:
    return replace(report, deferred=0, deferred_paths={}, look_again_us={}, next_look_us=None)


def _only_deferred(report: ScanReport) -> ScanReport:
    return ScanReport(
        deferred=report.deferred,
        deferred_paths=report.deferred_paths,
        look_again_us=report.look_again_us,
        next_look_us=report.next_look_us,
    )


def _in_total(root: SourceRoot, report: ScanReport) -> ScanReport:
    """The report with whole paths."""

    def whole(path: bytes) -> bytes:
        return root.path + b"/" + path if path else root.path

    return replace(
        report,
        deferred_paths={whole(p): reason for p, reason in report.deferred_paths.items()},
        look_again_us={whole(p): at_us for p, at_us in report.look_again_us.items()},
        errors={whole(p): error for p, error in report.errors.items()},
        waiting_paths={whole(p): reason for p, reason in report.waiting_paths.items()},
    )
