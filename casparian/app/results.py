"""What an engine returns to the code that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A FAILED or BLOCKED job of the current version of a file.

    `path` is below its source root. `error_class` and `message` are of its last attempt;
    `document` is the whole of what `casparian jobs --json` says of it.
    """

    id: int
    status: str
    plugin: str
    path: str
    error_class: str
    message: str
    document: Mapping[str, Any]

    @staticmethod
    def of(document: Mapping[str, Any]) -> FailedJob:
        error = document.get("error") or {}
        return FailedJob(
            id=document["id"],
            status=document["status"],
            plugin=document["plugin"],
            path=document["path"],
            error_class=error.get("class") or "",
            message=error.get("message") or "",
            document=document,
        )


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run left: how many jobs ended while it ran, by status."""

    jobs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DrainResult(RunResult):
    """What a drain left: also the failures of current versions of files, files that never
    settled, with the reason, by path, and plugins that could not be run, with the reason, by
    name."""

    failures: Sequence[FailedJob] = ()
    unsettled: Mapping[str, str] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not (self.failures or self.unsettled or self.not_run)
