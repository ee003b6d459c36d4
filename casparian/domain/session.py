"""The sidecar's side of a session: its jobs, its credit, and the totals it vouches for.

Pure like the router: the process around it does the I/O and the waiting.
"""

from __future__ import annotations

import json
from collections import deque

from casparian.domain.errors import ErrorClass, IllegalTransitionError
from casparian.domain.messages import (
    MOST_TOPICS,
    Control,
    Data,
    Deployed,
    DeployRefused,
    Done,
    Execute,
    Failed,
    FromRouter,
    TopicTotals,
)
from casparian.domain.wire import Flag, LocalProtocolError, credit_for

# In DONE a topic is its name, and three counts of up to 19 digits, within the metadata's limit.
COUNTS_SIZE = len(":[,,],") + 3 * 19
LARGEST_TOTALS = 60_000


class Session:
    """One sidecar's session with a router.

    `credit` is what may still be sent, in bytes as `credit_for` counts them; `window` is all that
    was granted at first.
    """

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.jobs: deque[Execute] = deque()
        self.current: Execute | None = None
        self.abandoned = False
        self.stopping = False
        self.credit = 0
        self.window = 0
        self._sequence = 0
        self._totals: dict[str, TopicTotals] = {}
        self._totals_size = 0

    def handle(self, message: FromRouter) -> None:
        """A message of the router."""
        match message:
            case Execute():
                self.jobs.append(message)
            case Control(credit, abandon, stop):
                self.window = self.window or credit
                self.credit += credit
                self.stopping = self.stopping or stop
                if abandon and self.current is not None and self.current.job_id == abandon:
                    self.abandoned = True
            case Deployed() | DeployRefused():
                # No answer to anything that a sidecar may send.
                self.stopping = True

    def begin(self) -> Execute | None:
        """Take the next job, None when there is none."""
        if self.current is not None:
            raise IllegalTransitionError("session", f"at job {self.current.job_id}", "begin")
        if not self.jobs:
            return None
        self.current = self.jobs.popleft()
        self._sequence = 0
        self._totals, self._totals_size = {}, 0
        return self.current

    def data(self, topic: str, flags: Flag, rows: int, size: int) -> Data:
        """The message for a payload of `size` bytes; the caller has waited for its credit.

        Raises LocalProtocolError for a topic beyond those that DONE has room for.
        """
        job = self._job("send DATA")
        used = credit_for(size)
        if used > self.credit:
            raise IllegalTransitionError("session", f"{self.credit} bytes of credit", f"use {used}")
        if topic not in self._totals:
            self._begin_topic(topic)
        self.credit -= used
        message = Data(self.secret, job.job_id, job.attempt, topic, self._sequence, flags)
        self._sequence += 1
        known = self._totals.get(topic, TopicTotals())
        batches = known.batches + (0 if flags & Flag.SCHEMA else 1)
        self._totals[topic] = TopicTotals(batches, known.rows + rows, known.bytes + size)
        return message

    def _begin_topic(self, topic: str) -> None:
        size = self._totals_size + len(json.dumps(topic)) + COUNTS_SIZE
        if len(self._totals) >= MOST_TOPICS or size > LARGEST_TOTALS:
            raise LocalProtocolError(
                f"topic {topic!r} is one too many for one file: after {len(self._totals)} topics "
                f"there is no room for its totals; at most {MOST_TOPICS} are possible, fewer "
                "where their names are long"
            )
        self._totals_size = size

    def done(self) -> Done:
        job = self._end_job("send DONE")
        return Done(self.secret, job.job_id, job.attempt, self._totals)

    def failed(self, error_class: ErrorClass, message: str, detail: str) -> Failed:
        job = self._end_job("send ERR")
        return Failed(self.secret, job.job_id, job.attempt, error_class, message, detail)

    def _end_job(self, event: str) -> Execute:
        job = self._job(event)
        self.current, self.abandoned = None, False
        return job

    def _job(self, event: str) -> Execute:
        if self.current is None:
            raise IllegalTransitionError("session", "idle", event)
        return self.current
