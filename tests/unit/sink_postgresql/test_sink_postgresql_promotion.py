"""A promotion to PostgreSQL that is cut off, held up, or one of many: rows are published once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from casparian.adapters.sink import _postgresql_promotion as promotion
from casparian.adapters.sink import _sql_staging as stagings
from casparian.adapters.sink._postgresql_session import PostgresqlSession
from casparian.adapters.sink._sql_errors import PassingError
from casparian.adapters.sink.postgresql import PostgresqlSink
from casparian.domain.errors import ErrorClass, JobError, UnavailableError
from casparian.domain.publish import InstallCase, Target
from casparian.testing.sink import Job, batch, numbered, outcomes, rows_of, values
from casparian.testing.sink_jobs import replace_key
from tests.support import postgresql_sink
from tests.unit.sink_postgresql.place import PUBLISHED, Query, opened, wait_until_blocked


def test_a_server_that_is_away_consumes_no_attempt(
    sink: PostgresqlSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step says so in the class of its error, and works again by itself."""
    job = Job(sink, target, 1)
    job.stage(batch(values(2), 1))
    job.plan()

    def away() -> PostgresqlSession:
        raise PassingError("connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(sink._pool, "_connect", away)
        patched.setattr(sink._pool, "_idle", [])
        for step in (sink.check, sink.stagings, lambda: list(sink.markers())):
            with pytest.raises(UnavailableError, match="connection refused"):
                step()
        for other in (sink.rekey, sink.discard):
            with pytest.raises(UnavailableError):
                other(job.key)
        with pytest.raises(JobError) as caught:
            Job(sink, target._replace(name="new"), 2).stage(batch(values(1), 2))
        assert caught.value.error_class is ErrorClass.INFRASTRUCTURE
        (receipt,) = job.promote()
        assert (receipt.case, receipt.transient) == (None, True)
    assert outcomes(job.promote()) == [InstallCase.INSTALLED]


@pytest.mark.parametrize(
    ("name", "installed"),
    [
        ("mark", False),
        ("staged_rows", False),
        ("fit", False),
        ("delete", False),
        ("insert", False),
        ("commit", False),
        ("commit", True),
    ],
)
def test_a_connection_lost_at_any_step_is_cleared_up_by_the_marker(
    postgresql_url: str,
    sink: PostgresqlSink,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    installed: bool,
) -> None:
    """The backend is ended before the step, or (`installed`) after a commit whose answer is
    lost: rows are published once, and no error reaches the promoter."""
    Job(sink, target, 1).publish(batch(values(2), 1))
    job = Job(sink, target, 2, ordinal=2)
    job.stage(batch(values(3) | {"more": ["x"] * 3}, 2))
    job.plan()
    step = getattr(promotion.PostgresqlPromotion, name)
    ended: list[int] = []

    def end(session: PostgresqlSession) -> None:
        ((pid,),) = session.rows("SELECT pg_backend_pid()")
        ended.append(pid)
        with postgresql_sink.connected(postgresql_url) as other:
            other.rows(f"SELECT pg_terminate_backend({pid}, 10000)")

    def interrupted(self: Any, *arguments: Any) -> Any:
        if ended:
            return step(self, *arguments)
        if installed:
            step(self, *arguments)
            end(self._session)
            raise PassingError("the server closed the connection")
        end(self._session)
        return step(self, *arguments)

    monkeypatch.setattr(promotion.PostgresqlPromotion, name, interrupted)
    (receipt,) = job.promote()
    assert ended
    assert receipt.case is (InstallCase.ALREADY if installed else InstallCase.INSTALLED)
    assert rows_of(postgresql_sink.read(postgresql_url, target)) == numbered(2, 3)


def test_a_stale_transaction_that_was_held_up_brings_nothing_back(
    postgresql_url: str,
    sink: PostgresqlSink,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A promoter stops after its marker was written; a newer one waits for its end, and wins."""
    older, newer = Job(sink, target, 1), Job(sink, target, 2, ordinal=2)
    for job in (older, newer):
        job.stage(batch(values(job.job_id), job.job_id))
        job.plan()
    newer.sink = opened(postgresql_url, target.location)
    at_commit, go_on = threading.Event(), threading.Event()
    commit = promotion.PostgresqlPromotion.commit

    def held_up(self: Any) -> None:
        if not at_commit.is_set():
            at_commit.set()
            assert go_on.wait(30)
        commit(self)

    monkeypatch.setattr(promotion.PostgresqlPromotion, "commit", held_up)
    done: list[Any] = []
    threads = [
        threading.Thread(target=lambda j=job: done.append(j.promote())) for job in (older, newer)
    ]
    threads[0].start()
    assert at_commit.wait(30)
    threads[1].start()
    wait_until_blocked(postgresql_url)
    go_on.set()
    for thread in threads:
        thread.join()
    assert [outcomes(receipts) for receipts in done] == [[InstallCase.INSTALLED]] * 2
    assert rows_of(postgresql_sink.read(postgresql_url, target)) == numbered(2, 2)
    assert outcomes(older.promote()) == [InstallCase.OLDER]


def test_who_takes_over_waits_for_a_promoter_that_goes_on(
    postgresql_url: str, sink: PostgresqlSink, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = Job(sink, target, 1)
    stale.stage(batch(values(3), 1))
    stale.plan()
    holder = replace_key(stale, opened(postgresql_url, target.location))
    taking: list[threading.Thread] = []
    commit = promotion.PostgresqlPromotion.commit

    def held_up(self: Any) -> None:
        if not taking:
            taking.append(threading.Thread(target=holder.sink.rekey, args=[holder.key]))
            taking[0].start()
            wait_until_blocked(postgresql_url)
        commit(self)

    monkeypatch.setattr(promotion.PostgresqlPromotion, "commit", held_up)
    assert outcomes(stale.promote()) == [InstallCase.INSTALLED]
    taking[0].join()
    assert outcomes(holder.promote()) == [InstallCase.ALREADY]
    assert rows_of(postgresql_sink.read(postgresql_url, target)) == numbered(1, 3)


def test_many_engines_publish_and_correct_at_the_same_time(
    postgresql_url: str, schema: str, target: Target
) -> None:
    """One table, made, widened and corrected by four sinks at once: no error, no lost row."""
    wrong: list[Any] = []

    def work(number: int) -> None:
        sink = opened(postgresql_url, schema)
        for turn in (1, 2, 3):
            jobs = []
            for place in range(6):
                location = number * 100 + place
                job = Job(sink, target, turn * 10_000 + location, location, ordinal=turn)
                job.stage(batch(values(3) | {f"c{turn}": [number] * 3}, job.job_id))
                job.plan()
                jobs.append(job)
            receipts = sink.promote([item for job in jobs for item in job.to_promote()])
            wrong.extend(r.error for r in receipts if r.case is not InstallCase.INSTALLED)

    threads = [threading.Thread(target=work, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    expected = [(30_000 + n * 100 + p, row) for n in range(4) for p in range(6) for row in range(3)]
    assert rows_of(postgresql_sink.read(postgresql_url, target)) == sorted(expected)


def test_a_later_commit_makes_the_chunks_before_it_durable(
    sink: PostgresqlSink, target: Target, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A staging of several chunks comes back in their order, with what a later one widened."""
    monkeypatch.setattr(stagings, "CHUNK_BYTES", 2_000)
    job = Job(sink, target, 1)
    job.stage(batch(values(500), 1), batch(values(300) | {"w": [1.5] * 300}, 1, first=500))
    ((chunks,),) = query("SELECT count(*) FROM _casparian_staging")
    assert chunks > 3
    job.plan()
    monkeypatch.setattr(stagings, "READ_BYTES", 3_000)
    assert outcomes(job.promote()) == [InstallCase.INSTALLED]
    assert query("SELECT count(*), count(w), min(id), max(_casparian_row) FROM orders") == [
        (800, 300, 0, 799)
    ]


def test_the_index_of_jobs_is_made_by_the_first_correction(
    sink: PostgresqlSink, target: Target, query: Query
) -> None:
    indexes = "SELECT count(*) FROM pg_index WHERE indrelid = 'orders'::regclass"
    for location in (1, 2):
        Job(sink, target, location, location).publish(batch(values(2), location))
    assert query(indexes) == [(0,)]
    for job_id in (3, 4):
        Job(sink, target, job_id, 1, ordinal=job_id).publish(batch(values(1), job_id))
    assert query(indexes) == [(1,)]
    assert query(PUBLISHED) == [(2, 0), (2, 1), (4, 0)]
