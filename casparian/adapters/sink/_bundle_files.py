"""The files of a bundle: the rows of several jobs in one Parquet file, and what is left of it
when some of them are replaced."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from casparian._fastpath import NewFile
from casparian.adapters.sink._parquet_staging import SMALL_BYTES, shared_file
from casparian.adapters.sink._rows import HeldRows
from casparian.domain import lineage
from casparian.domain.bundles import BundleFile, BundleMarker
from casparian.domain.errors import ErrorClass, JobError


@dataclass(slots=True)
class BundleContent:
    """What a bundle will hold: rows to be written together, and files taken as they are.
    `files_of`: where the rows of each job were written."""

    rows: list[tuple[pa.Table, dict[str, Any]]] = field(default_factory=list)
    links: list[tuple[str, BundleFile]] = field(default_factory=list)
    files_of: dict[int, str] = field(default_factory=dict)

    def add(self, held: HeldRows) -> None:
        table = held.table
        self.rows.append((table, held.lineage.entry(0, table.num_rows)))

    def link(self, path: str, sha256: str) -> None:
        self.links.append((path, BundleFile(os.path.basename(path), sha256)))

    def encode(self, prefix: str) -> list[NewFile]:
        """The rows as files, one for each schema among them."""
        files: list[NewFile] = []
        for schema in _schemas(table for table, _ in self.rows):
            tables: list[pa.Table] = []
            jobs: list[dict[str, Any]] = []
            first = 0
            for table, entry in self.rows:
                if table.schema.equals(schema, check_metadata=True):
                    tables.append(table)
                    jobs.append(entry | {"first_row": first, "rows": table.num_rows})
                    first += table.num_rows
            name = f"{prefix}-{len(files):05d}.parquet"
            files.append((name, shared_file(pa.concat_tables(tables), jobs)))
            self.files_of.update((job["job_id"], name) for job in jobs)
        return files


def _schemas(tables: Iterable[pa.Table]) -> list[pa.Schema]:
    found: list[pa.Schema] = []
    for table in tables:
        if not any(table.schema.equals(schema, check_metadata=True) for schema in found):
            found.append(table.schema)
    return found


def keep(directory: str, standing: BundleMarker, without: Collection[int]) -> BundleContent:
    """What stays of a bundle when the rows of some jobs go. Files that are large, or another
    job's alone, are taken as they are; the rest is to be written anew.

    Raises JobError (FOREIGN_ROWS) for a file that is not what was published, OSError.
    """
    content = BundleContent()
    for file in standing.files:
        path = os.path.join(directory, file.name)
        if os.path.getsize(path) >= SMALL_BYTES:
            jobs = jobs_in(path)
            ids = {job["job_id"] for job in jobs}
            if not ids & set(without):
                content.link(path, file.sha256)
                continue
            if ids <= set(without):
                continue
        for rows in _read(path, file):
            if rows[1]["job_id"] not in without:
                content.rows.append(rows)
    return content


def jobs_in(source: Any) -> list[dict[str, Any]]:
    """The `casparian.jobs` of a Parquet file."""
    metadata = pq.read_metadata(source).metadata or {}
    jobs: list[dict[str, Any]] = json.loads(metadata[lineage.METADATA_KEY.encode()])
    return jobs


def _read(path: str, file: BundleFile) -> Iterator[tuple[pa.Table, dict[str, Any]]]:
    """The rows of each job in a file, held against the digest it was published with."""
    with open(path, "rb") as opened:
        content = opened.read()
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise JobError(
            ErrorClass.FOREIGN_ROWS,
            f"The file {path} is not what was published: somebody changed it. It holds rows of "
            "other files too, so nothing was changed. Restore it, or remove its directory and "
            "retry the jobs of the files whose rows it held.",
        )
    table = pq.ParquetFile(io.BytesIO(content)).read()
    table = pa.Table.from_arrays(table.columns, schema=as_staged(table.schema))
    for job in jobs_in(io.BytesIO(content)):
        yield table.slice(job["first_row"], job["rows"]), job


def as_staged(schema: pa.Schema) -> pa.Schema:
    """A schema without what Parquet adds to it when it is read."""
    fields = []
    for column in schema:
        metadata = column.metadata or {}
        own = {k: v for k, v in metadata.items() if not k.startswith(b"PARQUET:")}
        fields.append(column.with_metadata(own or None))
    return pa.schema(fields)


def described(files: Iterable[NewFile]) -> list[BundleFile]:
    return [BundleFile(name, hashlib.sha256(content).hexdigest()) for name, content in files]
