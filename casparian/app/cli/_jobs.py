"""What the commands that change jobs share: who asks, and which jobs and times are meant."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.domain.documents.jobs import BriefJobDocument, JobDocument


def actor() -> str:
    """Who asks, for the history: user@host."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A user without a name, as in many containers.
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def moment_of(option: str, text: str) -> int:
    """Microseconds since the epoch. Raises ConfigurationError for what is no date."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"{option} {text!r} is no date: write 2026-01-31 or 2026-01-31T10:00:00."
        ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 1_000_000


def numbered(stores: QueueStores, ids: Sequence[int], what: str) -> list[JobDocument]:
    """The jobs of these ids, each once; `what` is what would be done to them.

    Raises ConfigurationError, which names those that are none.
    """
    wanted = list(dict.fromkeys(ids))
    known = {job["id"]: job for job in stores.reports.jobs(ids=wanted)}
    unknown = [str(i) for i in wanted if i not in known]
    if unknown:
        raise ConfigurationError(
            f"There is no job {', '.join(unknown)}; nothing was {what}. `casparian jobs` "
            "lists the jobs with their numbers."
        )
    return [known[i] for i in wanted]


def brief(job: JobDocument) -> BriefJobDocument:
    """A job with the status that it was found in."""
    return {
        "id": job["id"],
        "status": job["status"],
        "plugin": job["plugin"],
        "path": job["path"],
        "file_version_id": job["file_version_id"],
    }
