"""Duplicate content: of files with the same bytes, one job of a plugin publishes their rows.

For each plugin that skips duplicates and each content, one job is the doer: it waits, runs, is
decided, or has published rows that stand. Every other version of that content gets a job that is
SKIPPED. When the doer ends otherwise, or its rows are replaced or removed, one of the skipped
files gets a job that runs, in the same transaction, and that is the doer from then on.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from casparian.domain.jobs import JobStatus
from casparian.domain.publish import Manifest, SlotKey, Target


class Wanted(NamedTuple):
    """A version that a plugin wants, and that has no job of it yet.

    `ordinal` is that of the version. `forgotten`: the operator wants this file's rows anew.
    """

    plugin: str
    content_hash: str
    version_id: int
    location_id: int
    ordinal: int
    priority: int
    forgotten: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What has one doer."""
        return self.plugin, self.content_hash


class Part(StrEnum):
    """What a version's job is to the others of its content."""

    DOER = "doer"
    AGAIN = "again"
    """It runs beside the doer, in whose place it publishes."""
    SKIPPED = "skipped"


def part_of(wanted: Wanted, doer_location: int | None) -> Part:
    """`doer_location`: where the doer's file is, None where the content has no doer.

    A forgotten file is published again in its own place, as was asked for; elsewhere its rows
    would stand twice.
    """
    if doer_location is None:
        return Part.DOER
    if wanted.forgotten and doer_location == wanted.location_id:
        return Part.AGAIN
    return Part.SKIPPED


def still_does(status: JobStatus, mine: Manifest | None, later: Manifest | None) -> bool:
    """Whether a doer of this status and manifest is still one when a later job of its plugin and
    file, of the manifest `later`, is COMPLETED."""
    if status in (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.SUPERSEDED):
        return False
    if status is not JobStatus.COMPLETED or mine is None or later is None:
        return True
    touched = _places(later)
    return not any((i.target, i.slot) in touched for i in mine.items if i.staged)


def _places(manifest: Manifest) -> set[tuple[Target, SlotKey]]:
    return {(item.target, item.slot) for item in manifest.items}
