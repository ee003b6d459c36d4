"""json_lines on nasty files: every line is published or rejected, and told where it stands."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casparian.domain.errors import JobError
from tests.support.examples import examples
from tests.support.plugins import Reject, rejects, run

BLOCKS = [8, 64, 4 << 20]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "drop.jsonl"


def outcome(
    file: Path, content: bytes, **settings: Any
) -> tuple[list[dict[str, Any]], list[Reject]]:
    """Rows published, without their NULLs, and rows rejected, which agree with the file."""
    file.write_bytes(content)
    result = run("json_lines", file, settings)
    found = rejects(result)
    for reject in found:
        assert reject.offset is not None
        assert content[reject.offset : reject.offset + len(reject.raw)] == reject.raw
        assert reject.line == content[: reject.offset].count(b"\n") + 1
    assert [r.line for r in found] == sorted(r.line for r in found)
    rows = result.tables["output"].to_pylist() if result.tables else []
    return [{k: v for k, v in row.items() if v is not None} for row in rows], found


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nope", "it is no JSON: Expecting value"),
        (b'{"a":', "it is no JSON: Expecting value"),
        (b'{"a":2} {"a":3}', "it is no JSON: Extra data"),
        (b"null", "it holds a NoneType, not an object"),
        (b"[1]", "it holds a list, not an object"),
        (b'"a"', "it holds a str, not an object"),
        (b'{"a":"\xff"}', "it is no JSON: 'utf-8' codec can't decode"),
        (b"\0\0", "it is no JSON"),
        (b'{"a":[12345678901234567890]}', "'a' holds 12345678901234567890, which 64 bits cannot"),
        (b'{"a":"x"}', "'a' holds a text, in other lines a number"),
        (b'{"a":{"b":1}}', "'a' holds a object, in other lines a number"),
        (b'{"c":1,"c":2}', "Column(/c) was specified twice"),
        (b'{"c":"\\ud800"}', "surrogate pair"),
        (b'{"c":1e999}', "too big"),
    ],
)
def test_a_line_that_is_no_row(file: Path, block: int, line: bytes, reason: str) -> None:
    content = b'{"a":1}\n\n{"a":2,"b":"x"}\r\n' + line + b'\r\n{"a":3}'
    rows, found = outcome(file, content, block_bytes=block)
    assert rows == [{"a": 1}, {"a": 2, "b": "x"}, {"a": 3}]
    assert [(r.line, r.raw) for r in found] == [(4, line)]
    assert reason in found[0].reason


@pytest.mark.parametrize("block", BLOCKS)
def test_values_that_do_not_fit_named_types(file: Path, block: int) -> None:
    types = {"at": "timestamp[us]", "n": "int32", "x": "double", "s": "string"}
    lines = [
        b'{"at":"2013-01-01","n":1,"x":1,"s":"a"}',
        b'{"at":"soon","n":1}',
        b'{"n":4294967296}',
        b'{"n":2.5}',
        b'{"x":"1.5"}',
        b'{"s":5}',
        b'{"at":null,"n":2,"x":2.5,"s":"b","new":true}',
    ]
    rows, found = outcome(file, b"\n".join(lines), block_bytes=block, types=types)
    assert [row["n"] for row in rows] == [1, 2]
    assert rows[1] == {"n": 2, "x": 2.5, "s": "b", "new": True}
    assert [r.line for r in found] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("block", BLOCKS)
def test_kinds_within_lists_and_objects(file: Path, block: int) -> None:
    lines = [b'{"l":[1],"o":{"k":1},"x":1}', b'{"l":["a"]}', b'{"o":{"k":"z"}}', b'{"x":2}']
    rows, found = outcome(file, b"\n".join(lines), block_bytes=block) if block > 8 else ([], [])
    if block > 8:
        assert rows == [{"l": [1], "o": {"k": 1}, "x": 1}, {"x": 2}]
        assert [r.line for r in found] == [2, 3]
        return
    # Types within lists are those of each block, and the target's schema is held against them.
    with pytest.raises(JobError, match="'l' is list"):
        outcome(file, b"\n".join(lines), block_bytes=block)


def test_numbers_of_a_block_are_of_one_type_whatever_is_rejected(file: Path) -> None:
    content = b'{"x":1,"l":[1]}\n{"x":2.5}\n{"l":["a"]}\n{"x":3,"l":[2]}\n'
    rows, found = outcome(file, content)
    assert rows == [{"x": 1.0, "l": [1]}, {"x": 2.5}, {"x": 3.0, "l": [2]}]
    assert [r.line for r in found] == [3]


def test_a_byte_order_mark_is_no_part_of_the_first_line(file: Path) -> None:
    rows, found = outcome(file, b'\xef\xbb\xbf{"a":1}\nx\n')
    assert rows == [{"a": 1}]
    assert [(r.line, r.offset) for r in found] == [(2, 11)]


def test_nothing_but_rejects(file: Path) -> None:
    rows, found = outcome(file, b"x\ny\n")
    assert (rows, len(found)) == ([], 2)


def test_compressed_files_count_in_what_they_hold(tmp_path: Path) -> None:
    file = tmp_path / "drop.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"a":1}\nx\n'))
    assert [r[:3] for r in rejects(run("json_lines", file))] == [(2, 8, b"x")]


@settings(
    max_examples=examples(30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    count=st.integers(2, 31),
    corruptions=st.dictionaries(
        st.integers(1, 30),
        st.tuples(
            st.integers(0, 25),
            st.integers(0, 3),
            st.binary(max_size=3).filter(lambda b: b"\n" not in b),
        ),
        max_size=6,
    ),
    block=st.sampled_from([30, 200, 4096]),
)
def test_each_line_is_published_or_rejected_whatever_is_wrong_with_it(
    file: Path, count: int, corruptions: dict[int, tuple[int, int, bytes]], block: int
) -> None:
    """Lines that were not touched are published as they were."""
    lines = [json.dumps({"n": n, "t": f"t{n}", "l": [n]}).encode() for n in range(count)]
    for number, (where, gone, data) in corruptions.items():
        if number < count:
            line = lines[number]
            lines[number] = (line[:where] + data + line[where + gone :]).strip() or b"?"
    types = {"n": "double", "t": "string"}
    rows, found = outcome(file, b"\n".join(lines), block_bytes=block, types=types)
    assert len(rows) + len(found) == count
    rejected = {reject.line - 1 for reject in found}
    assert rejected <= set(corruptions)
    published = iter(rows)
    for n in range(count):
        if n not in rejected:
            row = next(published)
            assert n in corruptions or row == {"n": n, "t": f"t{n}", "l": [n]}
