"""Expected files, by the real programs: `status`, the log, the metrics."""

from __future__ import annotations

import json
import re
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

from tests.support.project import Project, documents, wait_for

# Due in the first minute of the day: at any later time of the day the file is late or missing.
EXPECT = """
[[expect]]
pattern = "orders/*.csv"
by = "00:01"
time_zone = "{zone}"
[[expect]]
pattern = "never.csv"
by = "23:59"
time_zone = "{zone}"
"""


def zone_past_its_first_minute() -> str:
    """A zone in which it is past one o'clock, and not the day's last hour, whatever the time is."""
    hour = datetime.now(UTC).hour
    return "UTC" if 1 <= hour < 22 else "Etc/GMT-6"


def status(project: Project) -> list[dict[str, object]]:
    done = project.casparian("status", "--json")
    expected: list[dict[str, object]] = json.loads(done.stdout)["expected"]
    return expected


def test_missing_then_late(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    metrics = '[metrics]\nlisten = "127.0.0.1:0"\n'
    expect = EXPECT.format(zone=zone_past_its_first_minute())
    project.csv_to("parquet://./output", metrics + expect)
    with project.running("--log-json"):
        told = list(wait_for(lambda: _told(project, "expected file missing")))
        assert [d["pattern"] for d in told] == ["orders/*.csv"]
        assert _missing(project) == {"orders/*.csv": 1.0, "never.csv": 0.0}
        assert [e["state"] for e in status(project)] == ["missing", "expected"]
        project.drop("orders/today.csv", "n\n1\n")
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        first, second = status(project)
        assert (first["state"], first["late"], first["path"]) == (
            "arrived", True, "orders/today.csv",
        )  # fmt: skip
        assert second["state"] == "expected"
        wait_for(lambda: _missing(project)["orders/*.csv"] == 0)
        (late,) = _told(project, "expected file came late")
        assert late["path"] == "orders/today.csv"
    table = project.casparian("status")
    assert re.search(r"orders/\*\.csv\t00:01 \S+\tarrived late\torders/today\.csv\t", table.stdout)


def test_a_drain_tells_too(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.csv_to("parquet://./output", EXPECT.format(zone=zone_past_its_first_minute()))
    # It is no failure of the engine's.
    assert project.drain("--log-json") == 0
    assert len(_told(project, "expected file missing")) == 1


def _told(project: Project, event: str) -> list[dict[str, str]]:
    return [d for d in documents(project.log()) if d["event"] == event]


def _missing(project: Project) -> dict[str, float]:
    (address,) = [d["url"] for d in documents(project.log()) if d["event"] == "metrics"]
    with urllib.request.urlopen(address, timeout=30) as answer:
        text = answer.read().decode()
    found = re.findall(r'casparian_expected_file_missing\{by=".*",pattern="(.*)"\} (\S+)', text)
    return {pattern: float(value) for pattern, value in found}
