"""Shadow runs: what new code would change of the rows that are published, with nothing written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from casparian import Settings
from casparian.adapters.queue import open_sqlite, wall_clock_us
from casparian.adapters.sink.parquet import ParquetSink
from casparian.app.cli._shadow import shadow_document
from casparian.app.cli.shadow_shapes import ShadowDocument
from casparian.app.shadow import Shadow, shadow_run
from casparian.domain.errors import ConfigurationError
from tests.support import postgresql_sink
from tests.support.project import Project, wait_for

pytestmark = pytest.mark.slow

OLD = """
import pyarrow as pa
from casparian.sdk import BasePlugin

COLUMNS = pa.schema([
    ("n", pa.int64()), ("line", pa.int64()), ("even", pa.bool_()), ("price", pa.decimal128(9, 2)),
    ("at", pa.timestamp("us", "UTC")), ("note", pa.string()), ("ratio", pa.float64()),
    ("parts", pa.list_(pa.int64())),
])

class Handler(BasePlugin):
    def execute(self, file_path):
        with open(file_path) as lines:
            for number, line in enumerate(lines):
                word = line.strip()
                if word == "bad":
                    self.reject(line, "It is bad.", line=number + 1)
                    continue
                rows = {
                    "n": [int(word)],
                    "line": [number],
                    "even": [int(word) % 2 == 0],
                    "price": pa.array([str(int(word) / 4)]).cast(pa.decimal128(9, 2)),
                    "at": [int(word)],
                    "note": [{0: "", 1: None}.get(int(word) % 3, "a note")],
                    "ratio": [-0.0 if word == "1" else int(word) / 3],
                    "parts": [[int(word), None]],
                }
                self.publish("output", pa.table(rows, schema=COLUMNS))
"""
# 2 becomes 3, and 4 is rejected for another reason.
NEW = OLD.replace('"n": [int(word)]', '"n": [int(word) + (word == "2")]').replace(
    'if word == "bad"',
    'if word == "4":\n                    self.reject(line, "It is 4.")\n'
    '                    continue\n                if word == "bad"',
)
FLOATS = OLD.replace('"n", pa.int64()', '"n", pa.float64()')


class Published(Project):
    """Two files; one of them has a reject, and a row twice but for its line."""

    def __init__(self, directory: Path, sink: str, mode: str = "replace", more: str = "") -> None:
        super().__init__(directory)
        self.csv_to(sink, more, mode)
        self.plugin("csv_table", OLD)
        toml = directory / "casparian.toml"
        tags = 'tags = ["csv"]'
        toml.write_text(toml.read_text().replace(tags, f"{tags}\nmax_rejects = 5"))

    def publish(self, twice: bool = False) -> None:
        """With `twice` b.csv has a version before."""
        if twice:
            self.drop("b.csv", "4\n")
            assert self.drain() == 0, self.log()
        self.drop("a.csv", "1\n2\n3\n")
        self.drop("b.csv", "4\nbad\n5\n5\n")
        assert self.drain() == 0, self.log()

    def shadow(self, code: str, limit: int = 10) -> Shadow:
        settings = Settings.load(self.directory / "casparian.toml")
        with closing(open_sqlite(str(self.database), wall_clock_us, create=False)) as stores:
            return shadow_run(settings, stores, "csv_table", code.encode(), limit)

    def found(self, code: str, limit: int = 10) -> ShadowDocument:
        return shadow_document(self.shadow(code, limit))

    def written(self) -> tuple[Any, ...]:
        """All that is published and queued, to be compared with what it is later."""
        files = sorted(p for p in self.directory.glob("output*/**/*") if p.is_file())
        files += sorted(self.directory.glob("*.db"))
        queue = sqlite3.connect(self.database)
        with closing(queue):
            rows = list(queue.iterdump())
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}, rows


def cases(document: ShadowDocument) -> dict[str, str]:
    return {file["path"]: file["case"] for file in document["files"]}


def reason(document: ShadowDocument, path: str) -> str:
    return next(f["reason"] or "" for f in document["files"] if f["path"] == path)


def topic(document: ShadowDocument, name: str = "output") -> Any:
    return next(t for t in document["topics"] if t["topic"] == name)


def counts(document: ShadowDocument, name: str = "output") -> tuple[int, ...]:
    found = topic(document, name)
    return tuple(found[n] for n in ("rows_before", "rows_now", "only_before", "only_now"))


# --- by hand, as an operator who should not ----------------------------------------------------


def change_parquet(project: Published) -> None:
    """The row of 3 in every file that has it."""
    for path in project.directory.glob("output/output/**/*.parquet"):
        table = pq.ParquetFile(path).read()
        numbers = [30 if n == 3 else n for n in table["n"].to_pylist()]
        at = table.schema.get_field_index("n")
        pq.write_table(table.set_column(at, table.schema.field(at), [numbers]), path)


def change_sqlite(project: Published) -> None:
    with closing(sqlite3.connect(project.directory / "out.db")) as db, db:
        assert db.execute("UPDATE output SET n = 30 WHERE n = 3").rowcount == 1


@contextlib.contextmanager
def in_parquet(directory: Path, mode: str) -> Iterator[tuple[Published, Any]]:
    yield Published(directory, "parquet://./output", mode), change_parquet


@contextlib.contextmanager
def in_sqlite(directory: Path, mode: str) -> Iterator[tuple[Published, Any]]:
    yield Published(directory, "sqlite://out.db/{topic}", mode), change_sqlite


def see_all_differences(project: Published, change: Any) -> None:
    """The same code first. Then other code, with a row that somebody has changed in the target."""
    project.publish(twice=True)
    before = project.written()
    same = project.found(OLD + "# The same.\n")
    assert same["same"], json.dumps(same, indent=1)
    assert cases(same) == {"a.csv": "compared", "b.csv": "compared"}
    assert [file["altered"] for file in same["files"]] == [[], []]
    assert counts(same) == (6, 6, 0, 0)
    assert counts(same, "_rejects") == (1, 1, 0, 0)
    assert project.written() == before

    change(project)
    other = project.found(NEW)
    assert not other["same"]
    assert topic(other)["columns"] == []
    assert counts(other) == (6, 5, 3, 2)
    examples = topic(other)["examples"]
    gone = examples.pop(0 if examples[0]["path"] == "b.csv" else -1)
    where = {"path": "a.csv", "source_root": str(project.inbox)}
    made, altered = examples
    values = [{"column": "n", "before": "2", "now": "3"}]
    assert made == {**where, "row_before": 1, "row_now": 1, "values": values}
    values = [{"column": "n", "before": "30", "now": "3"}]
    assert altered == {**where, "row_before": 2, "row_now": 2, "values": values}
    assert (gone["path"], gone["row_before"], gone["row_now"]) == ("b.csv", 0, None)
    assert {"column": "price", "before": "1.00", "now": None} in gone["values"]
    assert (
        topic(other)["target"] in next(f for f in other["files"] if f["path"] == "a.csv")["altered"]
    )
    assert counts(other, "_rejects") == (1, 2, 0, 1)
    assert topic(other, "_rejects")["reasons"] == [
        {"reason": "It is 4.", "before": 0, "now": 1},
        {"reason": "It is bad.", "before": 1, "now": 1},
    ]


@pytest.mark.parametrize("mode", ["replace", "append"])
@pytest.mark.parametrize("published", [in_parquet, in_sqlite])
def test_new_code_is_held_against_what_the_target_holds(
    tmp_path: Path, published: Any, mode: str
) -> None:
    with published(tmp_path / "flow", mode) as (project, change):
        see_all_differences(project, change)


def test_new_code_is_held_against_what_postgresql_holds(
    tmp_path: Path, postgresql_url: str
) -> None:
    with postgresql_sink.random_schema(postgresql_url) as schema:
        sink, more = (
            f"postgresql://{schema}.{{topic}}",
            f'[sinks.postgresql]\nurl = "{postgresql_url}"',
        )

        def change(_: Published) -> None:
            statement = f"UPDATE {schema}.output SET n = 30 WHERE n = 3"
            postgresql_sink.execute(postgresql_url, statement)

        project = Published(tmp_path / "flow", sink, "append", more)
        see_all_differences(project, change)
        toml = project.directory / "casparian.toml"
        away = "postgresql+psycopg://nobody@127.0.0.1:1/none"
        toml.write_text(toml.read_text().replace(postgresql_url, away))
        found = project.found(OLD)
        assert cases(found) == {"a.csv": "uncompared", "b.csv": "uncompared"}
        assert "refused" in reason(found, "b.csv")


# --- what is not there ------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Published:
    return Published(tmp_path / "flow", "parquet://./output")


def test_what_is_not_published_is_said_and_shown(project: Published) -> None:
    """A failed job beside rows of the version before, a purge, a file that is gone."""
    project.publish()
    project.drop("b.csv", "x\n4\n")
    project.drop("c.csv", "1\n")
    project.drop("d.csv", "2\n")
    assert project.drain() == 1
    (project.inbox / "d.csv").unlink()
    for _ in range(2):
        project.casparian("scan")
    project.casparian("purge", "--path", "a.csv", "--yes")
    found = project.found(OLD.replace("int(word)", "int(word if word != 'x' else 7)"))
    assert cases(found) == {"a.csv": "unpublished", "b.csv": "unpublished", "c.csv": "compared"}
    assert "were removed by job" in reason(found, "a.csv")
    assert "FAILED: " in reason(found, "b.csv")
    assert "rows of an earlier version stand" in reason(found, "b.csv")
    assert counts(found) == (1, 6, 0, 5)
    assert found["passed_over"] == 1
    still = project.found(OLD, limit=2)
    assert cases(still) == {"b.csv": "failed", "c.csv": "compared"}
    assert "ValueError" in reason(still, "b.csv")


def test_rows_that_were_changed_beyond_comparing_are_told(tmp_path: Path) -> None:
    """A column of one's own in a Parquet file; text in a column of numbers; a file that is none."""
    project = Published(tmp_path / "sqlite", "sqlite://out.db/{topic}")
    project.publish()
    with closing(sqlite3.connect(project.directory / "out.db")) as db, db:
        db.execute("UPDATE output SET n = 'three' WHERE n = 3")
    found = project.found(OLD)
    assert cases(found) == {"a.csv": "uncompared", "b.csv": "compared"}
    assert "not as they were published" in reason(found, "a.csv")
    (project.directory / "out.db").write_bytes(b"This is no database." * 50)
    found = project.found(OLD)
    assert "not a database" in reason(found, "b.csv")


def test_a_sink_that_tells_nothing_of_its_rows_and_one_whose_disk_is_away(
    project: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.publish()
    with monkeypatch.context() as patched:
        # What a class can do is looked at once for a whole process, so the question is changed.
        patched.setattr("casparian.app.shadow.ReadableSink", Published)
        found = project.found(OLD)
        assert cases(found) == {"a.csv": "uncompared", "b.csv": "uncompared"}
        assert "cannot give its rows back" in reason(found, "b.csv")
    (project.directory / "output").rename(project.directory / "away")
    monkeypatch.setattr(ParquetSink, "missing", lambda sink: f"{sink.location} is not mounted.")
    found = project.found(OLD)
    assert reason(found, "b.csv") == f"{project.directory}/output is not mounted."


def test_code_whose_rows_the_target_would_refuse_fails(project: Published) -> None:
    """As it would when it is deployed; a topic and columns that are new are told."""
    project.publish()
    drift = project.found(FLOATS)
    assert set(cases(drift).values()) == {"failed"}
    assert "column 'n' is double, the target has int64" in reason(drift, "a.csv")
    wider = OLD.replace('"line": [number]', '"twice": [2 * int(word)]')
    wider = wider.replace('"line", pa', '"twice", pa') + (
        '        self.publish("extra", [{"path": self.ctx.path}])\n'
    )
    unknown = project.found(wider)
    assert "UNKNOWN_TOPIC" in reason(unknown, "b.csv")
    toml = project.directory / "casparian.toml"
    text = toml.read_text()
    toml.write_text(f'{text}\n[plugin.csv_table.topics.extra]\nsink = "parquet://./output"\n')
    assert project.drain() == 0
    found = project.found(wider)
    assert topic(found)["columns"] == [
        {"name": "line", "before": "int64", "now": None},
        {"name": "twice", "before": None, "now": "int64"},
    ]
    # But for these columns the rows are the same.
    assert counts(found) == (6, 6, 0, 0)
    assert not found["same"]
    assert counts(found, "extra") == (0, 2, 0, 2)
    silent = project.found(OLD.replace('self.publish("output"', 'self.publish("extra"'))
    assert counts(silent) == (6, 0, 6, 0)
    assert topic(silent)["columns"] == []


def test_the_first_code_of_a_plugin_has_nothing_to_be_held_against(project: Published) -> None:
    text = (project.directory / "casparian.toml").read_text()
    (project.directory / "casparian.toml").write_text(
        f"{text}\n[plugins]\nrequire_signature = true\n"
    )
    project.drop("a.csv", "1\n2\n")
    assert project.drain() == 0
    found = project.found(OLD)
    assert cases(found) == {"a.csv": "unpublished"}
    assert "is QUEUED" in reason(found, "a.csv")
    assert counts(found) == (0, 2, 0, 2)
    assert topic(found)["examples"][0]["values"][0] == {"column": "n", "before": None, "now": "1"}


def test_files_that_are_gone_are_read_from_the_archive_or_not_at_all(tmp_path: Path) -> None:
    more = '[archive]\ndirectory = "kept"\n'
    project = Published(tmp_path / "flow", "parquet://./output", more=more)
    project.publish()
    for name in ("a.csv", "b.csv"):
        (project.inbox / name).unlink()
    for _ in range(2):
        project.casparian("scan")
    assert counts(project.found(NEW)) == (6, 5, 2, 1)
    (project.directory / "kept").rename(project.directory / "lost")
    with pytest.raises(ConfigurationError, match="nothing to run new code on"):
        project.shadow(NEW)


# --- the command ------------------------------------------------------------------------


def test_deploy_shows_it_and_deploys_nothing_unasked(project: Published, tmp_path: Path) -> None:
    project.publish()
    (tmp_path / "new.py").write_text(NEW)
    project.casparian("keys", "new", "office")
    command = ["deploy", str(tmp_path / "new.py"), "--plugin", "csv_table", "--key-id", "office"]
    done = project.casparian(*command, "--shadow", "5", "--json")
    document = json.loads(done.stdout)
    assert (document["version"], document["engine"]) == (None, None)
    assert document["shadow"] == project.found(NEW, limit=5)
    text = project.casparian(*command, "--shadow", "5").stdout
    assert "output: a.csv, row 1: n was 2, is 3" in text
    assert "_rejects: 'It is 4.': 0 published, 1 by the new code." in text
    assert "The new code makes other rows of 2 files.\nNothing was deployed." in text
    assert project.query("select count(*) from plugin_manifest") == [(1,)]


def test_what_could_not_be_compared_is_not_deployed_by_yes_alone(
    project: Published, tmp_path: Path
) -> None:
    project.publish()
    (tmp_path / "new.py").write_text(NEW)
    project.casparian("keys", "new", "office")
    command = ["deploy", str(tmp_path / "new.py"), "--plugin", "csv_table", "--key-id", "office"]
    alone = project.casparian(*command, "--yes", "--uncompared", code=2)
    assert "give both" in alone.stderr
    with project.running():
        alive = "select 1 from worker_node where endpoint <> '' and not stopped"
        wait_for(lambda: project.query(alive))
        (project.directory / "output").rename(project.directory / "away")
        refused = project.casparian(*command, "--shadow", "5", "--yes", code=1)
        assert "a.csv: not compared. " in refused.stdout
        assert "somebody removed it" in refused.stdout
        assert "2 files could not be compared. With --uncompared" in refused.stdout
        as_json = project.casparian(*command, "--shadow", "5", "--yes", "--json", code=1)
        document = json.loads(as_json.stdout)
        assert (document["version"], document["shadow"]["uncompared"]) == (None, 2)
        assert document["shadow"]["topics"] == []
        project.casparian(*command, "--shadow", "5", "--yes", "--uncompared")
        (project.directory / "away").rename(project.directory / "output")
    assert project.query("select count(*) from plugin_manifest") == [(2,)]
