"""Shadow runs: what new code would change, shown before it is deployed, with nothing published."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from casparian import Settings
from casparian.adapters.queue import open_sqlite, wall_clock_us
from casparian.app.shadow import Shadow, shadow_run
from casparian.domain.errors import ConfigurationError
from tests.support.project import Project

pytestmark = pytest.mark.slow

OLD = """
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        with open(file_path) as lines:
            for number, line in enumerate(lines):
                if line.strip() == "bad":
                    self.reject(line, "It is bad.")
                else:
                    self.publish("output", [{"n": int(line), "line": number}])
"""
NEW = OLD.replace('"n": int(line)', '"n": float(line) + (line.strip() == "2")').replace(
    '== "bad"', 'in ("bad", "4")'
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "flow")
    project.csv_to("parquet://./output")
    project.plugin("csv_table", OLD)
    toml = project.directory / "casparian.toml"
    toml.write_text(toml.read_text().replace('tags = ["csv"]', 'tags = ["csv"]\nmax_rejects = 5'))
    project.drop("a.csv", "1\n2\n3\n")
    project.drop("b.csv", "4\nbad\n5\n")
    assert project.drain() == 0
    return project


def run(project: Project, code: str, limit: int = 10) -> Shadow:
    settings = Settings.load(project.directory / "casparian.toml")
    with closing(open_sqlite(str(project.database), wall_clock_us, create=False)) as stores:
        return shadow_run(settings, stores, "csv_table", code.encode(), limit)


def test_what_would_change_is_told_and_nothing_is_published(project: Project) -> None:
    published = sorted(str(p) for p in (project.directory / "output").glob("**/*"))
    found = run(project, NEW)
    assert not found.same
    assert [s.sighting.path for s in found.samples] == [b"b.csv", b"a.csv"]
    topic = found.topics["output"]
    assert topic.columns == {"n": ("int64", "double")}
    assert (topic.rows_before, topic.rows_now) == (5, 4)
    # 1, 3 and 5 are the same rows; 2 became 3, and 4 is rejected now.
    assert (topic.only_before, topic.only_now) == (2, 1)
    assert ("-", {"n": 4, "line": 0}) in topic.examples
    assert ("+", {"n": 3.0, "line": 1}) in topic.examples
    assert ([m.rejects for m in found.before], [m.rejects for m in found.now]) == ([1, 0], [2, 0])
    assert found.drifted == []
    assert sorted(str(p) for p in (project.directory / "output").glob("**/*")) == published
    assert project.statuses() == {"COMPLETED": 2}
    assert project.query("select count(*) from plugin_manifest") == [(1,)]


def test_the_same_rows_are_no_difference_and_code_that_fails_is_told_by_file(
    project: Project,
) -> None:
    same = run(project, OLD + "# better\n", limit=1)
    assert same.same
    assert [s.sighting.path for s in same.samples] == [b"b.csv"]
    found = run(project, OLD.replace("int(line)", "1 // (int(line) - 2)"))
    assert [m.error.partition(":")[0] for m in found.now] == ["", "DATA"]
    assert "ZeroDivisionError" in found.now[1].error


def test_without_a_file_to_run_on(project: Project) -> None:
    for name in ("a.csv", "b.csv"):
        (project.inbox / name).unlink()
    for _ in range(2):
        project.casparian("scan")
    with pytest.raises(ConfigurationError, match="nothing to run new code on"):
        run(project, NEW)


def test_deploy_shows_it_and_deploys_nothing_unasked(project: Project, tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text(NEW)
    project.casparian("keys", "new", "office")
    command = ["deploy", str(tmp_path / "new.py"), "--plugin", "csv_table", "--key-id", "office"]
    done = project.casparian(*command, "--shadow", "5", "--json")
    document = json.loads(done.stdout)
    assert (document["version"], document["engine"]) == (None, None)
    shadow = document["shadow"]
    assert (shadow["same"], [f["path"] for f in shadow["files"]]) == (False, ["b.csv", "a.csv"])
    (topic,) = shadow["topics"]
    assert (topic["only_before"], topic["only_now"]) == (2, 1)
    assert topic["columns"] == [{"name": "n", "before": "int64", "now": "double"}]
    text = project.casparian(*command, "--shadow", "1").stdout
    assert "output: column n was int64, and is double" in text
    assert "b.csv: 1 rejects before, 2 now" in text
    assert "Other rows of 1 file; none published.\nNothing was deployed." in text
    assert project.query("select count(*) from plugin_manifest") == [(1,)]
