"""Small rows that wait in memory until those of other jobs come, and what identifies them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa

from casparian.domain.lineage import JobLineage


@dataclass(frozen=True, slots=True)
class HeldRows:
    """A topic's rows of one job, with lineage. `prefix` begins the names of files that are
    made of them, and is used by nobody else."""

    table: pa.Table
    lineage: JobLineage
    prefix: str


def digest_of_rows(table: pa.Table) -> str:
    """The SHA-256 of rows as Arrow sends them: one batch, without its schema."""
    digest = hashlib.sha256()
    batches = table.to_batches()
    if len(batches) > 1:
        batches = table.combine_chunks().to_batches()
    for batch in batches:
        digest.update(batch.serialize())
    return digest.hexdigest()
