"""The port to what an operator is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from casparian.domain.documents.files import FileDocument, FileStoryDocument, JobOriginDocument
    from casparian.domain.documents.jobs import JobDocument, PublishedDocument
    from casparian.domain.documents.status import QueueDocument, StatusDocument


class Reports(Protocol):
    """Read-only views for the operator's tool: each returns plain data for JSON."""

    def status(self) -> StatusDocument: ...

    def files(self) -> list[FileDocument]: ...

    def jobs(
        self,
        status: str | None = None,
        plugin: str | None = None,
        ids: Sequence[int] | None = None,
    ) -> list[JobDocument]:
        """By id; of several conditions, a job satisfies all. Unknown ids are absent."""
        ...

    def why(self, path: bytes) -> list[FileStoryDocument]:
        """One document per source root that knows the path; empty when none does."""
        ...

    def trace(self, job_id: int) -> JobOriginDocument | None:
        """A job with its events and outputs, and the version it read; None for an unknown id."""
        ...

    def published(self, matches: Callable[[str], bool]) -> list[PublishedDocument]:
        """One for each plugin with standing slots of a file whose path `matches`."""
        ...

    def current_failures(self) -> list[JobDocument]:
        """FAILED and BLOCKED jobs that belong to the current version of their file; not purges
        that were given up, for which nothing was decided."""
        ...

    def arrived_since(self, since_us: int) -> Iterator[tuple[bytes, int]]:
        """Path below its root, and time, of each version first seen at or after a time, in no
        particular order; of deleted files too."""
        ...

    def queue(self) -> list[QueueDocument]:
        """One for each plugin and status that has jobs; `age_s` is how long the oldest
        of QUEUED jobs has been waiting, null for others."""
        ...
