"""Engines on one SQL Server database: shared work, and a kill. Run by `make test-mssql`."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.mssql_server import of_schema
from tests.support.project import Project, read_parquet, wait_for

ROWS = 5


class Shared(Project):
    """A project whose queue is in SQL Server."""

    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(directory)
        self.url = url
        self.csv_to("parquet://out", f'[database]\nurl = "{url}"')

    def statuses(self) -> dict[str, int]:
        """Nothing before the tables are made."""
        engine, sql = of_schema(self.url, "select status, count(*) from processing_job")
        try:
            with engine.connect() as connection:
                rows = connection.exec_driver_sql(f"{sql} group by status").all()
        finally:
            engine.dispose()
        return {str(row[0]): int(row[1]) for row in rows}

    def drop_some(self, first: int, count: int) -> None:
        for n in range(first, first + count):
            self.drop(f"{n:04d}.csv", "a,b\n" + "".join(f"{n},{i}\n" for i in range(ROWS)))

    def rows(self) -> Counter[tuple[int, int]]:
        table = read_parquet(self.directory / "out" / "output")
        return Counter(zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_share_the_work_whatever_is_killed(tmp_path: Path, mssql_schema: str) -> None:
    project = Shared(tmp_path / "project", mssql_schema)
    project.drop_some(0, 60)
    project.casparian("scan")
    with project.running("--role", "worker"):
        victim = project.start("--role", "worker")
        wait_for(lambda: project.statuses().get("COMPLETED", 0) > 0)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        project.drop_some(60, 20)
        with project.running("--role", "scout"):
            wait_for(lambda: project.statuses() == {"COMPLETED": 80})
    assert project.rows() == Counter((n, i) for n in range(80) for i in range(ROWS))
    assert project.stagings() == []
