"""What the tables of an SQLite file hold: each job's rows counted and digested anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pyarrow as pa

from casparian.adapters.sink import _sqlite_target as tables
from casparian.adapters.sink._sqlite_staging import quote
from casparian.domain import lineage
from casparian.domain.audit import Holding, RowsFound, account
from casparian.domain.publish import Marker, Target


def holdings(db: sqlite3.Connection, scheme: str, location: str) -> Iterator[Holding]:
    """Every table that was made here, in one transaction of the caller's."""
    markers: dict[str, list[Marker]] = {}
    for table, marker in tables.all_markers(db):
        markers.setdefault(table, []).append(marker)
    made = db.execute(f"SELECT DISTINCT target FROM {tables.COLUMNS}").fetchall()
    for table in sorted({*(row[0] for row in made), *markers}):
        target = Target(scheme, location, table)
        mine = tuple(markers.get(table, ()))
        exists = db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        if exists is None:
            filled = any(marker.rows for marker in mine)
            faults = ("The table is gone, and its markers are not.",) if filled else ()
            yield Holding(target, str(target), mine, faults=faults)
            continue
        yield _of_table(db, target, mine)


def _of_table(db: sqlite3.Connection, target: Target, markers: tuple[Marker, ...]) -> Holding:
    expected = {marker.job_id: marker.rows for marker in markers if marker.rows}
    faults: list[str] = []
    rows: dict[int, RowsFound] = {}
    counted = db.execute(
        f"SELECT {lineage.JOB_ID}, count(*), count(DISTINCT {lineage.ROW}), max({lineage.ROW}) "
        f"FROM {quote(target.name)} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    for job_id, count, distinct, highest in counted:
        due = expected.get(job_id, 0)
        whole = count == distinct == due == highest + 1
        digest: str | None = None
        doubled: tuple[int, ...] = ()
        missing: tuple[int, ...] = ()
        if whole:
            try:
                digest = tables.digest_of_rows(db, target.name, job_id)
            except (pa.ArrowException, LookupError) as error:
                faults.append(f"The rows of job {job_id} are not as they were published: {error}.")
        else:
            numbers = db.execute(
                f"SELECT {lineage.ROW} FROM {quote(target.name)} WHERE {lineage.JOB_ID} = ? "
                "ORDER BY 1",
                (job_id,),
            )
            doubled, missing = account((row[0] for row in numbers), due)
        versions = db.execute(
            f"SELECT DISTINCT {lineage.FILE_VERSION_ID} FROM {quote(target.name)} "
            f"WHERE {lineage.JOB_ID} = ? ORDER BY 1",
            (job_id,),
        )
        found = tuple(row[0] for row in versions)
        rows[job_id] = RowsFound(count, digest, doubled, missing, found)
    return Holding(target, str(target), markers, rows, tuple(faults))
