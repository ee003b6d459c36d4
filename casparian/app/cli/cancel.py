"""`casparian cancel`: jobs that wait or run are not wanted, and it is known who said so."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._jobs import actor, brief, numbered
from casparian.app.cli._output import count, show_json, show_table
from casparian.app.cli._shared import ConfigOption, Exit, JsonOption, load_settings, open_stores
from casparian.domain.statuses import CANCELLABLE, JobStatus

if TYPE_CHECKING:
    from casparian.app.cli.change_shapes import CancelledDocument, LeftJobDocument
    from casparian.domain.publish import JobFate

WHY_NOT = {
    JobStatus.PROMOTING: "its rows are decided and being published",
    JobStatus.COMPLETED: "its rows are published",
    JobStatus.FAILED: "it has ended",
    JobStatus.BLOCKED: "it has ended; its rows wait for `casparian retry`",
    JobStatus.CANCELLED: "it is cancelled already",
    JobStatus.SUPERSEDED: "a newer version of its file stands, or another job is in its place",
}


def cancel(
    ctx: typer.Context,
    job_ids: Annotated[list[int], typer.Argument(metavar="JOB_ID", help="Jobs by number.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take jobs that are queued, running or skipped out of the queue.

    A running job can publish nothing from that moment on; its engine ends the plugin's run when
    it next renews its leases ([worker] renew_s). `casparian retry` queues a cancelled job again.
    The history of each says who asked.

    Exits with 1 when a job could not be cancelled, and with 2, with nothing changed, when there
    is none of that number.

    Example: casparian cancel 12 13
    """
    with closing(open_stores(load_settings(ctx, config))) as stores:
        chosen = numbered(stores, job_ids, "cancelled")
        ids = [job["id"] for job in chosen if job["status"] in CANCELLABLE]
        done = set(stores.queue.cancel(ids, actor()))
        fates = stores.ledger.fates([job["id"] for job in chosen if job["id"] not in done])
    ended = [brief(job) for job in chosen if job["id"] in done]
    left: list[LeftJobDocument] = [
        {
            **brief(job),
            "status": str(fates[job["id"]].status),
            "reason": _reason(fates[job["id"]]),
        }
        for job in chosen
        if job["id"] not in done
    ]
    if as_json:
        document: CancelledDocument = {"cancelled": ended, "left": left}
        show_json(document)
    else:
        if ended:
            show_table(
                ("id", "was", "plugin", "path"),
                [(job["id"], job["status"], job["plugin"], job["path"]) for job in ended],
                numbers=["id"],
            )
        print(f"{count(len(ended), 'job')} cancelled.")
        for job in left:
            print(f"Job {job['id']} is {job['status']} and was left: {job['reason']}.")
    if left:
        raise typer.Exit(Exit.FAILURES)


def _reason(fate: JobFate) -> str:
    # One that could be cancelled and was not is another's work of this very moment.
    return WHY_NOT.get(fate.status, "it has changed since; look at it again")
