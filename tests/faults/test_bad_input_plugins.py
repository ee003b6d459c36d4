"""Plugins that are none, and rows of every strange kind: the reason on the job, all else untouched.

What a plugin does to its process is in test_misbehaving_plugins.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pyarrow as pa
import pytest

from tests.support.project import Project, documents

HEAD = """
[scout]
settle_s = 0
[worker]
backoff_s = 0.1
max_crashes = 1
[[source_root]]
path = "inbox"
[[rule]]
pattern = "*.csv"
tag = "csv"
"""


def table(plugin: str, topics: dict[str, str], more: str = "") -> str:
    lines = [f'[plugin.{plugin}]\ntags = ["csv"]\n{more}']
    for topic, sink in topics.items():
        lines.append(f'[plugin.{plugin}.topics."{topic}"]\nsink = "{sink}"')
    return "\n".join(lines) + "\n"


BROKEN = {
    "no_handler": ("x = 1", "defines no class named Handler"),
    "no_class": ("def Handler(): pass", "defines no class named Handler"),
    "no_execute": ("class Handler:\n    def configure(self, ctx, config): pass", "must have"),
    "syntax": ("class Handler(:\n    pass", "SyntaxError"),
    "binary": ("\0\1", "cannot be imported"),
    "at_import": ("raise OSError('no licence file')", "OSError: no licence file"),
    "exits_at_import": ("import sys\nsys.exit('goodbye')", "goodbye"),
    "in_init": (
        "class Handler:\n"
        "    def __init__(self): raise ValueError('half made')\n"
        "    def configure(self, ctx, config): pass\n"
        "    def execute(self, file_path): pass",
        "Handler() of plugin in_init failed: ValueError: half made",
    ),
    "in_configure": (
        "class Handler:\n"
        "    def configure(self, ctx, config): config['no such key']\n"
        "    def execute(self, file_path): pass",
        "configure() of plugin in_configure failed: KeyError: 'no such key'",
    ),
    "exits_in_configure": (
        "class Handler:\n"
        "    def configure(self, ctx, config): raise SystemExit(0)\n"
        "    def execute(self, file_path): pass",
        "configure() of plugin exits_in_configure failed: SystemExit: 0",
    ),
    "publishes_in_configure": (
        "class Handler:\n"
        "    def configure(self, ctx, config): ctx.publish('output', [{'a': 1}])\n"
        "    def execute(self, file_path): pass",
        "publish() works only inside execute()",
    ),
}


@pytest.mark.slow
def test_what_cannot_be_a_plugin_fails_its_jobs_and_those_of_no_other(project: Project) -> None:
    project.csv_to("parquet://./output")
    text = (project.directory / "casparian.toml").read_text()
    for name, (code, _) in BROKEN.items():
        project.plugin(name, code)
        text += table(name, {"output": f"parquet://./{name}"})
    project.configure(text)
    project.drop("a.csv", "a\n1\n")

    assert project.drain() == 1, project.log()

    rows = project.query(
        "select plugin_name, status, error_class, error_message from processing_job"
    )
    told = {plugin: (status, kind, message) for plugin, status, kind, message in rows}
    assert told.pop("csv_table") == ("COMPLETED", None, None)
    assert set(told) == set(BROKEN)
    for name, (_, said) in BROKEN.items():
        status, kind, message = told[name]
        assert (status, kind) == ("FAILED", "PLUGIN"), (name, told[name])
        assert said in message, (name, message)
    assert project.parquet()["a"].to_pylist() == [1]
    assert project.stagings() == []


STRANGE = """
import os, pathlib
import pyarrow as pa
from casparian.sdk import BasePlugin

NAMES = __NAMES__

class Handler(BasePlugin):
    def execute(self, file_path):
        getattr(self, pathlib.Path(file_path).stem)()

    def half(self):
        def rows():
            for number in range(25_000):
                yield {"n": number}
            raise ValueError("line 25001 has no end")
        self.publish("half", rows())

    def two_schemas(self):
        self.publish("two", pa.table({"n": [1, 2]}))
        self.publish("two", pa.table({"n": ["x"]}))

    def wider(self):
        self.publish("wider", pa.table({"n": pa.array([1, 2], pa.int8())}))
        self.publish("wider", pa.table({"n": [2**40], "more": ["x"]}))

    def nothing(self):
        pass

    def no_rows(self):
        self.publish("no_rows", pa.table({"n": pa.array([], pa.int16())}))

    def no_columns(self):
        batch = pa.record_batch({"x": [1, 2, 3]}).select([])
        assert batch.num_rows == 3
        self.publish("no_columns", batch)

    def no_columns_dicts(self):
        self.publish("no_columns_dicts", [{}, {}])

    def nothing_at_all(self):
        self.publish("nothing_at_all", pa.table({}))

    def twice(self):
        one, two = pa.array([1]), pa.array([2])
        self.publish("twice", pa.Table.from_arrays([one, two], ["a", "a"]))

    def lineage(self):
        self.publish("lineage", pa.table({"_casparian_row": [1]}))

    def lineage_like(self):
        self.publish("lineage_like", pa.table({"_casparian_else": [1]}))

    def names(self):
        self.publish("names", pa.table([[n] for n in range(len(NAMES))], NAMES))

    def no_name(self):
        self.publish("no_name", pa.table([[1]], [""]))

    def many_columns(self):
        self.publish("many_columns", pa.table([[1]] * 10_001, [f"c{n}" for n in range(10_001)]))

    def cased(self):
        self.publish("cased", pa.table({"Name": [1], "nAME": [2]}))

    def topic_outside(self):
        self.publish("../../x", pa.table({"n": [1]}))

    def topic_root(self):
        self.publish("/etc/x", pa.table({"n": [1]}))

    def topic_odd(self):
        self.publish("Stra\\u00dfe \\u2603 'x' \\U0001f600", pa.table({"n": [1]}))

    def topic_long(self):
        self.publish("x" * 300, pa.table({"n": [1]}))

    def topic_none(self):
        self.publish(None, pa.table({"n": [1]}))

    def no_table(self):
        self.publish("no_table", 42)

    def mixed(self):
        self.publish("mixed", [{"n": 1}, {"n": "x"}])

    def long_error(self):
        raise ValueError("x" * 5_000_000)

    def odd_error(self):
        raise ValueError("\\ud800\\0 not to be encoded \\U0001f600")

    def base_error(self):
        raise BaseException("below every Exception")

    def tiny(self):
        batch = pa.record_batch({"n": [7]})
        for _ in range(5_000):
            self.publish("tiny", batch)

    def talks(self):
        print("on standard output", flush=True)
        os.write(1, b"\\xff\\0 no text\\n")
        self.publish("talks", pa.table({"n": [1]}))
"""

NAMES = [
    "plain", "with space", "it's", 'say "so"', "a.b", "a/b", "a\\b", "../up", "semi;colon", "*",
    "%", "select", "rowid", "\u2603", "\U0001f600", "tab\there", "new\nline", "-- comment", "[x]",
    "`x`", "{topic}", "n\u0303", "\u00f1", " ", "x" * 500,
]  # fmt: skip

SINKS = {"to_parquet": "parquet://./output", "to_sqlite": "sqlite://out.db/{topic}"}

# What each file ends with: the rows that are published, or the class and words of the error.
PUBLISHED = {
    "wider": 3, "nothing": None, "no_rows": 0, "no_columns": 3, "no_columns_dicts": 2,
    "nothing_at_all": 0, "names": 1, "tiny": 5_000, "talks": 1, "topic_odd": 1, "cased": 1,
    "no_name": 1,
}  # fmt: skip
FAILED = {
    "half": ("DATA", "ValueError: line 25001 has no end"),
    "two_schemas": ("SCHEMA_DRIFT", "(n: string)"),
    "twice": ("DATA", "several columns named 'a'"),
    "lineage": ("DATA", "'_casparian_row'"),
    "lineage_like": ("DATA", "'_casparian_else'"),
    "many_columns": ("DATA", "10,000"),
    "topic_outside": ("DATA", "../../x"),
    "topic_root": ("DATA", "/etc/x"),
    "topic_long": ("DATA", "topic"),
    "topic_none": ("DATA", "topic"),
    "no_table": ("DATA", "cannot take a int"),
    "mixed": ("DATA", "column 'n' of rows 0 to 1 has no one type"),
    "long_error": ("DATA", "ValueError: xxxx"),
    "odd_error": ("DATA", "not to be encoded \U0001f600"),
    "base_error": ("DATA", "below every Exception"),
}


# What a sink cannot hold, although another one can.
REFUSED_BY = {
    "to_parquet": {},
    "to_sqlite": {
        "cased": ("DATA", "'Name' and 'nAME' differ in case only"),
        "no_name": ("DATA", "cannot be a column's name"),
    },
}
ODD = "Straße ☃ 'x' \U0001f600"


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Every kind of rows, once into each sink, in one drain."""
    project = Project(tmp_path_factory.mktemp("t") / "project")
    text = HEAD
    for plugin, sink in SINKS.items():
        project.plugin(plugin, STRANGE.replace("__NAMES__", ascii(NAMES)))
        text += table(plugin, {"*": sink})
    project.configure(text)
    for name in [*PUBLISHED, *FAILED]:
        project.drop(f"{name}.csv", name)
    assert project.drain() == 1, project.log()
    return project


def ended(project: Project, plugin: str) -> dict[str, tuple[str, str, str]]:
    """Status, error class and message of each file's job."""
    rows = project.query(
        "select l.path, j.status, j.error_class, j.error_message from processing_job j "
        "join file_version v on v.id = j.file_version_id "
        "join file_location l on l.id = v.location_id where j.plugin_name = ?",
        plugin,
    )
    return {bytes(path).decode().removesuffix(".csv"): tuple(told) for path, *told in rows}


def read(project: Project, plugin: str, topic: str) -> pa.Table:
    if plugin == "to_parquet":
        return project.parquet(topic)
    with closing(sqlite3.connect(project.directory / "out.db")) as db:
        cursor = db.execute(f'select * from "{topic}" order by _casparian_row')
        names = [column[0] for column in cursor.description]
        values = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(names)
        return pa.table([pa.array(v) for v in values], names)


@pytest.mark.slow
@pytest.mark.parametrize("plugin", SINKS)
def test_what_cannot_be_published_fails_with_the_reason(strange: Project, plugin: str) -> None:
    jobs = ended(strange, plugin)
    expected = FAILED | REFUSED_BY[plugin]
    assert {name for name, job in jobs.items() if job[0] != "COMPLETED"} == set(expected)
    for name, (kind, said) in expected.items():
        status, error_class, message = jobs[name]
        assert (status, error_class) == ("FAILED", kind), (name, jobs[name])
        assert said in message, (name, message)
        assert len(message) < 70_000, name


@pytest.mark.slow
@pytest.mark.parametrize("plugin", SINKS)
def test_what_can_be_published_is_there_whole(strange: Project, plugin: str) -> None:
    for name in set(PUBLISHED) - set(REFUSED_BY[plugin]):
        rows = PUBLISHED[name]
        topic = ODD if name == "topic_odd" else name
        if rows is not None:
            table = read(strange, plugin, topic)
            assert table.num_rows == rows, name
            assert table["_casparian_row"].to_pylist() == list(range(rows)), name
    assert read(strange, plugin, "names").column_names[: len(NAMES)] == NAMES
    values = read(strange, plugin, "names").slice(0, 1).to_pylist()[0]
    assert [values[name] for name in NAMES] == list(range(len(NAMES)))
    assert set(read(strange, plugin, "tiny")["n"].to_pylist()) == {7}
    assert read(strange, plugin, "wider")["n"].to_pylist() == [1, 2, 2**40]


@pytest.mark.slow
def test_what_failed_left_nothing(strange: Project) -> None:
    published = {ODD if name == "topic_odd" else name for name in PUBLISHED} - {"nothing"}
    assert {path.name for path in (strange.directory / "output").iterdir()} == published
    with closing(sqlite3.connect(strange.directory / "out.db")) as db:
        found = db.execute("select name from sqlite_master where type = 'table'").fetchall()
    refused = set(REFUSED_BY["to_sqlite"])
    assert {name for (name,) in found if not name.startswith("_casparian")} == published - refused
    assert strange.stagings() == []
    # Nobody climbed out of the output.
    assert {path.name for path in strange.directory.iterdir()} <= {
        "casparian.toml", "casparian_flow.sqlite3", "casparian_flow.sqlite3-shm",
        "casparian_flow.sqlite3-wal", "engine.log", "inbox", "out.db", "out.db-shm", "out.db-wal",
        "output", ".output.casparian", ".out.db.casparian", "plugins", "run",
    }  # fmt: skip


@pytest.mark.slow
def test_what_a_plugin_prints_is_in_the_log(strange: Project) -> None:
    said = [line["line"] for line in documents(strange.log()) if line["event"] == "plugin output"]
    assert said.count("on standard output") == 2
    assert said.count("\ufffd\0 no text") == 2


@pytest.mark.slow
def test_publishing_nothing_takes_the_rows_of_the_file_before_away(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.plugin(
        "csv_table",
        """
        import pyarrow.csv
        from casparian.sdk import BasePlugin

        class Handler(BasePlugin):
            def execute(self, file_path):
                table = pyarrow.csv.read_csv(file_path)
                if table.num_rows:
                    self.publish("output", table)
        """,
    )
    project.drop("a.csv", "a\n1\n")
    assert project.drain() == 0, project.log()
    assert project.parquet()["a"].to_pylist() == [1]
    project.drop("a.csv", "a\n")
    assert project.drain() == 0, project.log()
    assert project.statuses() == {"COMPLETED": 2}
    assert project.parquet().num_rows == 0
