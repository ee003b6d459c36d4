"""Lineage: what every published row carries, and what every output file says of its rows."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "_casparian_"
JOB_ID = "_casparian_job_id"
FILE_VERSION_ID = "_casparian_file_version_id"
ROW = "_casparian_row"
COLUMNS = (JOB_ID, FILE_VERSION_ID, ROW)
METADATA_KEY = "casparian.jobs"


@dataclass(frozen=True, slots=True)
class JobLineage:
    """Where the rows of one job come from. `source_path` lies below its source root."""

    job_id: int
    file_version_id: int
    source_path: str
    content_hash: str
    plugin: str
    plugin_hash: str

    def entry(self, first_row: int, rows: int) -> dict[str, object]:
        """This job's element of the `casparian.jobs` metadata of an output file."""
        return {
            "job_id": self.job_id,
            "file_version_id": self.file_version_id,
            "source_path": self.source_path,
            "content_hash": self.content_hash,
            "plugin": self.plugin,
            "plugin_hash": self.plugin_hash,
            "first_row": first_row,
            "rows": rows,
        }
