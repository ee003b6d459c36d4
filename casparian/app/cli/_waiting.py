"""What the engines wait for: what they said with their heartbeats, and what keeps those away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from casparian.app.cli._output import moment, show_table

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.domain.documents.status import StatusDocument, WaitDocument, WorkerDocument

BEATS_MISSED, AND_S = 2, 2.0
"""A process is asked after when it has missed so many heartbeats, and so long."""


def waits_for(document: StatusDocument, stores: QueueStores, beat_s: float) -> list[WaitDocument]:
    """What is waited for. Whether the queue's database can be written to is asked only where an
    engine was not heard of, which reports in every `beat_s`; if it cannot, that is an entry
    without a worker."""
    heard_since = time.time() - BEATS_MISSED * beat_s - AND_S
    found: list[WaitDocument] = [
        {**wait, "worker": worker["id"]}
        for worker in document["workers"]
        if worker["alive"]
        for wait in worker["load"].get("waits_for", [])
    ]
    silent = [worker for worker in document["workers"] if _is_silent(worker, heard_since)]
    obstacle = stores.obstacle() if silent and stores.obstacle is not None else ""
    if obstacle:
        since = min(worker["heartbeat_at"] for worker in silent)
        return [*found, _wait(None, "database", obstacle, since)]
    found += [
        _wait(worker["id"], "unknown", _stands_still(worker), worker["heartbeat_at"])
        for worker in silent
        if _runs_here(worker)
    ]
    return found


def show_waits(waits: list[WaitDocument]) -> None:
    if waits:
        show_table(
            ("waits_for", "since", "jobs", "worker", "reason"),
            [(w["what"], moment(w["since"]), w["jobs"], w["worker"], w["reason"]) for w in waits],
            title="Waited for",
            numbers=["jobs"],
        )


def _wait(worker: str | None, what: str, reason: str, since: str) -> WaitDocument:
    return {"what": what, "reason": reason, "since": since, "jobs": 0, "worker": worker}


def _is_silent(worker: WorkerDocument, since: float) -> bool:
    from datetime import datetime

    heard = datetime.fromisoformat(worker["heartbeat_at"]).timestamp()
    return not worker["stopped"] and heard < since


def _runs_here(worker: WorkerDocument) -> bool:
    """It is a process of this host that has not ended."""
    import socket

    from casparian.app.context import host_key, process_start

    here = host_key(socket.gethostname())
    return worker["host_key"] == here and process_start(worker["pid"]) == worker["pid_started"]


def _stands_still(worker: WorkerDocument) -> str:
    return (
        f"Process {worker['pid']} runs on this host, and has not been heard of since then: it "
        "stands still, or meets a limit of its own, as of open files. Its log says more."
    )
