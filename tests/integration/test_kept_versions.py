"""Jobs of versions whose files are gone, by a real engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project import CSV_PLUGIN, Project


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_old_versions_are_replayed_when_the_plugin_was_mended(tmp_path: Path, mode: str) -> None:
    project = Project(tmp_path / "project")
    project.csv_to("parquet://./output", '[archive]\ndirectory = "kept"\n', mode)
    project.plugin("csv_table", "raise ValueError('broken')")
    for content in ("n\n1\n", "n\n2\n"):
        project.drop("a.csv", content)
        project.casparian("scan")
    assert project.drain() == 1
    (project.inbox / "a.csv").unlink()
    project.plugin("csv_table", CSV_PLUGIN)
    # The mended code is applied with the start; then the failed jobs are tried again.
    project.drain()
    project.casparian("retry", "--failed")
    assert project.drain() == 0, project.log()
    rows = sorted(project.parquet()["n"].to_pylist())
    assert rows == ([2] if mode == "replace" else [1, 2])
    assert "reading the archived bytes" in project.log()
