"""Every Arrow type that a plugin may publish, through the engine into each sink.

It is published and read back as the same values, or its job fails with class DATA and a sentence
that names the column; the jobs beside it never notice.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from casparian.adapters.sink import _sqlite_target
from casparian.adapters.sink._types import canonical_type
from tests.support.project import Project

PLUGIN = """
import pathlib
import pyarrow as pa
from casparian.sdk import BasePlugin

CODE = {}
exec(CODE, globals())

class Handler(BasePlugin):
    def execute(self, file_path):
        name = pathlib.Path(file_path).stem
        self.publish(name, pa.table({"c": samples()[name]}))
"""

# ruff: noqa: E501

# Run here and in the plugin, so that both have the same arrays.
SAMPLES = '''
import datetime, decimal
import pyarrow as pa


class Celsius(pa.ExtensionType):
    """A type that the engine's process has never heard of."""

    def __init__(self):
        super().__init__(pa.float64(), "test.celsius")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls()


def samples():
    """Name to array; each has a NULL, where its type can."""
    day = datetime.date(2024, 2, 29)
    moment = datetime.datetime(2024, 2, 29, 12, 30, 15)
    numbers = {
        str(kind): pa.array([None, 0, 1, 100], kind)
        for kind in [
            pa.int8(), pa.int16(), pa.int32(), pa.int64(),
            pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
            pa.float16(), pa.float32(), pa.float64(),
        ]
    }
    moments = {
        f"timestamp_{unit}_{zone or 'local'}": pa.array(
            [moment, None], pa.timestamp(unit, zone and zone.replace("_", "/"))
        )
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Asia_Kathmandu")
    }
    durations = {
        f"duration_{unit}": pa.array([None, 5], pa.duration(unit))
        for unit in ("s", "ms", "us", "ns")
    }
    decimals = {
        kind.__name__: pa.array([None, decimal.Decimal("-1.25")], kind(7, 2))
        for kind in (pa.decimal32, pa.decimal64, pa.decimal128, pa.decimal256)
    }
    ints, text = pa.array([1, 2, 3]), pa.array(["a", None, "\\u2603"])
    storage = pa.array([1.5, None])
    return {
        **numbers, **moments, **durations, **decimals,
        "null": pa.nulls(2),
        "bool": pa.array([True, None, False]),
        "string": text,
        "large_string": text.cast(pa.large_string()),
        "string_view": text.cast(pa.string_view()),
        "binary": pa.array([b"\\0\\xff", None]),
        "large_binary": pa.array([b"\\0\\xff", None], pa.large_binary()),
        "binary_view": pa.array([b"\\0\\xff", None], pa.binary_view()),
        "fixed_binary": pa.array([b"\\0\\xff", None], pa.binary(2)),
        "fixed_binary_0": pa.array([b"", None], pa.binary(0)),
        "date32": pa.array([day, None], pa.date32()),
        "date64": pa.array([day, None], pa.date64()),
        "time32_s": pa.array([1, None], pa.time32("s")),
        "time32_ms": pa.array([1, None], pa.time32("ms")),
        "time64_us": pa.array([1, None], pa.time64("us")),
        "time64_ns": pa.array([1, None], pa.time64("ns")),
        "interval": pa.array([None, (1, 2, 3)], pa.month_day_nano_interval()),
        "decimal_negative_scale": pa.array([None, decimal.Decimal(1200)], pa.decimal128(5, -2)),
        "list": pa.array([[1, None], None, []], pa.list_(pa.int32())),
        "large_list": pa.array([[1, None], None, []], pa.large_list(pa.int32())),
        "list_view": pa.array([[1, None], None, []], pa.list_view(pa.int32())),
        "large_list_view": pa.array([[1, None], None, []], pa.large_list_view(pa.int32())),
        "fixed_list": pa.array([[1, 2], None], pa.list_(pa.int32(), 2)),
        "fixed_list_of_null": pa.array([[None, None], None], pa.list_(pa.null(), 2)),
        "struct": pa.array([{"a": 1, "b": None}, None], pa.struct({"a": pa.int8(), "b": pa.string()})),
        "struct_empty": pa.array([{}, None], pa.struct([])),
        "map": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "deep": pa.array([[{"a": [("k", [1])]}], None], pa.list_(pa.struct(
            {"a": pa.map_(pa.string(), pa.list_(pa.int8()))}))),
        "dictionary": text.dictionary_encode(),
        "dictionary_of_ints": ints.dictionary_encode(),
        "list_of_dictionary": pa.ListArray.from_arrays([0, 2, 3], text.dictionary_encode()),
        "run_end": pa.RunEndEncodedArray.from_arrays([2, 3], ["x", None]),
        "union_sparse": pa.UnionArray.from_sparse(pa.array([0, 1, 0], pa.int8()), [ints, text]),
        "union_dense": pa.UnionArray.from_dense(
            pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [ints, text]),
        "list_of_union": pa.ListArray.from_arrays([0, 3], pa.UnionArray.from_sparse(
            pa.array([0, 1, 0], pa.int8()), [ints, text])),
        "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16))),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}', None])),
        "bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8())),
        "opaque": pa.ExtensionArray.from_storage(pa.opaque(pa.int8(), "t", "v"), pa.array([1, None], pa.int8())),
        "tensor": pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int32(), [2]), pa.array([[1, 2], None], pa.list_(pa.int32(), 2))),
        "unknown_extension": pa.ExtensionArray.from_storage(Celsius(), storage),
        "list_of_extension": pa.ListArray.from_arrays([0, 2], pa.ExtensionArray.from_storage(Celsius(), storage)),
    }
'''


@pytest.fixture(scope="module")
def samples() -> dict[str, pa.Array]:
    names: dict[str, Any] = {}
    exec(SAMPLES, names)
    made: dict[str, pa.Array] = names["samples"]()
    return made


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, samples: dict[str, pa.Array]) -> Project:
    project = Project(tmp_path_factory.mktemp("t") / "project")
    text = PLUGIN.replace("{}", repr(SAMPLES))
    tables = ""
    for plugin, sink in [("parquet", "parquet://./output"), ("sqlite", "sqlite://out.db/{topic}")]:
        project.plugin(plugin, text)
        tables += f"""
        [plugin.{plugin}]
        tags = ["any"]
        [plugin.{plugin}.topics."*"]
        sink = "{sink}"
        """
    project.configure(
        """
        [scout]
        settle_s = 0
        [[source_root]]
        path = "inbox"
        [[rule]]
        pattern = "*"
        tag = "any"
        """
        + tables
    )
    for name in samples:
        project.drop(f"{name}.txt", name)
    project.drain()
    return project


def failures(project: Project, plugin: str) -> dict[str, tuple[str, str]]:
    rows = project.query(
        "select l.path, j.error_class, j.error_message from processing_job j "
        "join file_version v on v.id = j.file_version_id "
        "join file_location l on l.id = v.location_id "
        "where j.plugin_name = ? and j.status = 'FAILED'", plugin,
    )  # fmt: skip
    return {Path(bytes(path).decode()).stem: (kind, message) for path, kind, message in rows}


REFUSED = {"union_sparse", "union_dense", "list_of_union", "interval", "fixed_list_of_null"}
REFUSED_BY = {
    "parquet": REFUSED | {"struct_empty", "fixed_binary_0", "decimal_negative_scale"},
    "sqlite": REFUSED,
}


@pytest.mark.parametrize("plugin", ["parquet", "sqlite"])
def test_what_cannot_be_held_fails_with_the_column_and_the_type(
    published: Project, samples: dict[str, pa.Array], plugin: str
) -> None:
    failed = failures(published, plugin)
    assert set(failed) == REFUSED_BY[plugin]
    for name, (kind, message) in failed.items():
        assert kind == "DATA", (name, message)
        assert "olumn 'c'" in message, (name, message)
        assert str(samples[name].type) in message, (name, message)
        assert "Publish" in message, (name, message)


# A type of somebody else's comes back as its storage, to whoever does not know it either.
STRANGE = {"unknown_extension": pa.float64(), "list_of_extension": pa.list_(pa.float64())}


def read_parquet(project: Project, topic: str) -> pa.Table:
    return project.parquet(topic)


def read_sqlite(project: Project, topic: str) -> pa.Table:
    with closing(sqlite3.connect(project.directory / "out.db")) as db:
        schema = _sqlite_target.full_schema(db, topic)
        return pa.Table.from_batches(_sqlite_target.read_rows(db, topic), schema=schema)


@pytest.mark.parametrize(("plugin", "read"), [("parquet", read_parquet), ("sqlite", read_sqlite)])
def test_what_can_be_held_comes_back_as_it_was(
    published: Project, samples: dict[str, pa.Array], plugin: str, read: Any
) -> None:
    for name in set(samples) - REFUSED_BY[plugin]:
        table = read(published, name)
        assert table["_casparian_row"].to_pylist() == list(range(len(samples[name]))), name
        assert str(table["c"].to_pylist()) == str(samples[name].to_pylist()), name
        kind = STRANGE.get(name, samples[name].type)
        assert canonical_type(table.schema.field("c").type) == canonical_type(kind), name


def test_a_refusal_leaves_nothing_and_harms_nobody(
    published: Project, samples: dict[str, pa.Array]
) -> None:
    refused = sum(len(names) for names in REFUSED_BY.values())
    assert published.statuses() == {"FAILED": refused, "COMPLETED": 2 * len(samples) - refused}
    assert published.stagings() == []
    topics = {path.name for path in (published.directory / "output").iterdir()}
    assert topics == set(samples) - REFUSED_BY["parquet"]
    with closing(sqlite3.connect(published.directory / "out.db")) as db:
        tables = {
            name for (name,) in db.execute("select name from sqlite_master where type='table'")
        }
    assert {name for name in tables if "casparian" not in name} == set(samples) - REFUSED
