"""The contract of a sink that can be audited: the port `AuditedSink`, beside `SinkContract`.

An adapter's test module derives a class from both.
"""

from __future__ import annotations

from casparian.domain.audit import AuditedSink, Holding
from casparian.domain.ports import Sink
from casparian.domain.publish import InstallCase, Target
from casparian.testing.sink import Job, batch, outcomes, values


class AuditedSinkContract:
    """Subclass together with `SinkContract`, whose fixtures are used."""

    def holdings(self, sink: Sink) -> list[Holding]:
        assert isinstance(sink, AuditedSink)
        return list(sink.holdings())

    def test_holdings_are_what_was_published(self, sink: Sink, target: Target) -> None:
        """Promise 1: every slot with its marker, and the rows that are there."""
        jobs = [
            Job(sink, target, n, location_id=n, version_id=n).publish(batch(values(n), n))
            for n in (1, 2)
        ]
        found = self.holdings(sink)
        assert {h.target for h in found} == {target}
        assert all(h.faults == () for h in found)
        markers = {m.job_id: m for h in found for m in h.markers}
        assert {n: (m.rows, m.digest) for n, m in markers.items()} == {
            job.job_id: (job.items[0].rows, job.items[0].digest) for job in jobs
        }
        rows = {job_id: found for h in found for job_id, found in h.rows.items()}
        assert {n: (r.rows, r.doubled, r.missing) for n, r in rows.items()} == {
            1: (1, (), ()),
            2: (2, (), ()),
        }
        for job_id, counted in rows.items():
            assert counted.digest in (None, markers[job_id].digest)

    def test_what_is_staged_or_emptied_holds_no_rows(self, sink: Sink, target: Target) -> None:
        assert self.holdings(sink) == []
        staged = Job(sink, target, 1)
        staged.stage(batch(values(3), 1))
        staged.plan()
        assert [h.rows for h in self.holdings(sink) if h.rows] == []
        assert outcomes(staged.promote()) == [InstallCase.INSTALLED]
        newer = Job(sink, target, 2, ordinal=2)
        newer.empty(staged)
        newer.plan()
        assert outcomes(newer.promote()) == [InstallCase.INSTALLED]
        (holding,) = self.holdings(sink)
        assert [(m.job_id, m.rows) for m in holding.markers] == [(2, 0)]
        assert sum(found.rows for found in holding.rows.values()) == 0
        for job in (staged, newer):
            sink.discard(job.key)
