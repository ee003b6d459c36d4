"""The private places of attempts, and which of them belong to nobody any more."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from casparian.domain.jobs import JobStatus

SHORT = 12
_STAGING_NAME = re.compile(
    rf"([0-9a-f]{{{SHORT}}})\.([0-9]{{1,19}})\.([0-9]{{1,10}})\.([0-9a-f]{{{SHORT}}})"
)


class StagingKey(NamedTuple):
    """The private place of one attempt: `<installation>.<job>.<attempt>.<token>`."""

    installation: str
    job_id: int
    attempt: int
    token: str

    @property
    def name(self) -> str:
        return f"{self.installation[:SHORT]}.{self.job_id}.{self.attempt}.{self.token[:SHORT]}"

    @staticmethod
    def parse(name: str) -> StagingKey | None:
        """The key in a staging's name, with shortened installation and token; None if foreign."""
        match = _STAGING_NAME.fullmatch(name)
        if match is None:
            return None
        return StagingKey(match[1], int(match[2]), int(match[3]), match[4])

    def same_attempt(self, other: StagingKey) -> bool:
        """True whatever the token: a takeover changes it and inherits the staging."""
        return (
            self.installation[:SHORT] == other.installation[:SHORT]
            and self.job_id == other.job_id
            and self.attempt == other.attempt
        )


@dataclass(frozen=True, slots=True)
class JobFate:
    """What the sweep needs to know of a job: its status, attempt and current token."""

    status: JobStatus
    attempt: int
    token: str | None


def is_orphan(staging: StagingKey, fate: JobFate | None) -> bool:
    """True when a staging of this installation belongs to nobody any more.

    `fate` is asked for after the stagings were listed. PROMOTING and BLOCKED keep theirs
    whatever the token in the name: a takeover changes the token.
    """
    if fate is None:
        return True
    if fate.status in (JobStatus.PROMOTING, JobStatus.BLOCKED):
        return staging.attempt != fate.attempt
    if fate.status is JobStatus.RUNNING:
        return fate.token is None or fate.token[:SHORT] != staging.token[:SHORT]
    return True
