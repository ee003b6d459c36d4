"""Tables that others made or changed: they are left alone, told, and seen by the audit."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from casparian.adapters.sink import _postgresql_promotion as promotion
from casparian.adapters.sink.postgresql import PostgresqlSink
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.publish import InstallCase, Target
from casparian.testing.sink import (
    INSTALLATION,
    OTHER_INSTALLATION,
    Job,
    batch,
    numbered,
    outcomes,
    rows_of,
    values,
)
from tests.support import postgresql_sink
from tests.unit.sink_postgresql.place import PUBLISHED, Query, opened, wait_until_blocked


@pytest.mark.parametrize("made", ["CREATE TABLE orders (x int)", "CREATE VIEW orders AS SELECT 1"])
def test_a_table_that_was_not_made_here_is_left_alone(
    sink: PostgresqlSink, target: Target, query: Query, made: str
) -> None:
    early = Job(sink, target, 1)
    early.stage(batch(values(1), 1))
    early.plan()
    query(made)
    with pytest.raises(JobError, match="did not make") as caught:
        Job(sink, target, 2).stage(batch(values(1), 2))
    assert caught.value.error_class is ErrorClass.FOREIGN_ROWS
    (receipt,) = early.promote()
    assert "did not make" in (receipt.error or "")
    assert not receipt.transient
    ((columns,),) = query(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0"
    )
    assert columns == 1


def test_rows_of_another_installation_in_any_slot_are_refused(
    sink: PostgresqlSink, target: Target, query: Query
) -> None:
    Job(sink, target, 3, location_id=9, installation=OTHER_INSTALLATION).publish(
        batch(values(2), 3)
    )
    mine = Job(sink, target, 3, installation=INSTALLATION)
    mine.stage(batch(values(1), 3))
    mine.plan()
    assert "another installation" in (mine.promote()[0].error or "")
    assert query(PUBLISHED) == numbered(3, 2)


def test_two_installations_that_come_first_at_once(
    postgresql_url: str, sink: PostgresqlSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is one's: who waited for it to be made sees whose it is."""
    one = Job(sink, target, 1)
    other = Job(opened(postgresql_url, target.location), target, 2, 9, 1, 1)
    other.installation = OTHER_INSTALLATION
    other.key = other.key._replace(installation=OTHER_INSTALLATION)
    for job in (one, other):
        job.stage(batch(values(2), job.job_id))
        job.plan()
    second: list[Any] = []
    waiting: list[threading.Thread] = []
    commit = promotion.PostgresqlPromotion.commit

    def held_up(self: Any) -> None:
        if not waiting:
            waiting.append(threading.Thread(target=lambda: second.extend(other.promote())))
            waiting[0].start()
            wait_until_blocked(postgresql_url)
        commit(self)

    monkeypatch.setattr(promotion.PostgresqlPromotion, "commit", held_up)
    assert outcomes(one.promote()) == [InstallCase.INSTALLED]
    waiting[0].join()
    assert INSTALLATION in (second[0].error or "")
    assert rows_of(postgresql_sink.read(postgresql_url, target)) == numbered(1, 2)


def test_an_audit_counts_and_digests_what_the_tables_hold(
    sink: PostgresqlSink, target: Target, query: Query
) -> None:
    jobs = [Job(sink, target, n, location_id=n).publish(batch(values(4), n)) for n in (1, 2, 3)]
    Job(sink, target._replace(name="gone"), 9).publish(batch(values(1), 9))
    query("DELETE FROM orders WHERE _casparian_job_id = 2 AND _casparian_row = 1")
    query("INSERT INTO orders SELECT * FROM orders WHERE _casparian_job_id = 2 AND id = 3")
    query("UPDATE orders SET name = 'x' WHERE _casparian_job_id = 3 AND id = 0")
    query("DROP TABLE gone")
    gone, orders = sink.holdings()
    assert "The table is gone" in gone.faults[0]
    assert [marker.job_id for marker in orders.markers] == [1, 2, 3]
    digests = [job.items[0].digest for job in jobs]
    sound, torn, changed = (orders.rows[n] for n in (1, 2, 3))
    assert (sound.rows, sound.digest, sound.version_ids) == (4, digests[0], (1,))
    assert (torn.rows, torn.digest, torn.doubled, torn.missing) == (4, None, (3,), (1,))
    assert changed.digest not in (None, digests[2])


def test_a_table_that_somebody_changed_blocks_its_jobs_alone(
    sink: PostgresqlSink, schema: str, target: Target, query: Query
) -> None:
    """A group goes on without those whose table does not take them."""
    other = target._replace(name="sound")
    jobs = []
    for number, place in ((1, target), (2, other)):
        Job(sink, place, number, location_id=number).publish(batch(values(1), number))
        job = Job(sink, place, number + 10, location_id=number + 10)
        job.stage(batch(values(2), number + 10))
        job.plan()
        jobs.append(job)
    query("ALTER TABLE orders DROP COLUMN name")
    receipts = sink.promote([item for job in jobs for item in job.to_promote()])
    assert [r.case for r in receipts] == [None, InstallCase.INSTALLED]
    assert '"name"' in (receipts[0].error or "")
    assert not receipts[0].transient
