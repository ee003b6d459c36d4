"""What became of a promote, and what that makes of the job."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from casparian.domain.jobs import JobStatus
from casparian.domain.publish.manifest import Manifest, ManifestItem


class InstallCase(StrEnum):
    """What a promote did to one slot."""

    INSTALLED = "installed"
    ALREADY = "already"
    OLDER = "older"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of promoting one item; `error` where it failed for good or for now.

    `transient`: worth another try without an operator (database locked, disk full).
    """

    item: ManifestItem
    case: InstallCase | None
    error: str | None = None
    transient: bool = False


def final_status(manifest: Manifest, receipts: Iterable[Receipt]) -> JobStatus:
    """COMPLETED if anything was installed, or nothing was to be; else SUPERSEDED."""
    cases = [r.case for r in receipts]
    if not cases:
        return JobStatus.SUPERSEDED if manifest.withheld else JobStatus.COMPLETED
    if any(case is not InstallCase.OLDER for case in cases):
        return JobStatus.COMPLETED
    return JobStatus.SUPERSEDED
