"""One of many processes that claim and complete the jobs of a queue; run as a program.

    python -m tests.support.claimer URL WORKER BATCH

Claims until nothing waits or runs, and prints every claim as `job attempt priority due`. Every
seventh claim is put back once.
"""

from __future__ import annotations

import sys
import time

from casparian.adapters.queue import open_url
from casparian.domain.jobs import Claim, JobStatus
from casparian.domain.publish import Completion
from casparian.domain.routing import due_us
from casparian.testing.world import HASH, LEASE_US, PLUGIN, VirtualClock, World

AGEING_US = 60_000_000


def main(url: str, worker: str, batch: int) -> None:
    stores = open_url(url)
    world = World(stores, VirtualClock())
    try:
        while True:
            claims = stores.queue.claim(worker, {PLUGIN: HASH}, batch, 10 * LEASE_US)
            for claim in claims:
                due = due_us(claim.enqueued_at_us, claim.priority, AGEING_US)
                print(claim.job_id, claim.attempt, claim.priority, due)
            if claims:
                _end(world, claims)
            elif not _busy(world):
                return
            else:
                time.sleep(0.01)  # Others may put theirs back.
    finally:
        stores.close()


def _busy(world: World) -> bool:
    counts = world.stores.queue.backlog()
    waiting = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PROMOTING)
    return any(counts.get(status, 0) for status in waiting)


def _end(world: World, claims: list[Claim]) -> None:
    back = {c.job_id: c.token for c in claims if c.attempt == 1 and c.job_id % 7 == 0}
    assert world.stores.queue.release(back) == set(back)
    kept = [c for c in claims if c.job_id not in back]
    states = world.stores.ledger.slots([(c.plugin, c.location_id) for c in kept])
    decisions = [world.decision(c, state=states[c.plugin, c.location_id]) for c in kept]
    assert world.stores.ledger.decide(decisions) == {}
    done = [Completion(c.job_id, c.token, JobStatus.COMPLETED, 5) for c in kept]
    assert world.stores.ledger.complete(done) == {c.job_id for c in kept}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
