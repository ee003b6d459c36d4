"""csv_table on nasty files: every line is published or rejected, and told where it stands."""

from __future__ import annotations

import gzip
import random
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import csv

from tests.support.examples import examples
from tests.support.plugins import Reject, handler, rejects, run

BLOCKS = [16, 64, 4 << 20]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "drop.csv"


def outcome(
    file: Path, content: bytes, **settings: Any
) -> tuple[list[dict[str, Any]], list[Reject]]:
    """Rows published and rows rejected; of these, line, offset and bytes agree with the file."""
    file.write_bytes(content)
    result = run("csv_table", file, settings)
    found = rejects(result)
    for reject in found:
        assert reject.offset is not None
        assert content[reject.offset : reject.offset + len(reject.raw)] == reject.raw
        before = content[: reject.offset].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        assert reject.line == before.count(b"\n") + 1
    assert [r.line for r in found] == sorted(r.line for r in found)
    return result.tables["output"].to_pylist(), found


def bad(found: list[Reject]) -> list[tuple[int, bytes]]:
    return [(reject.line, reject.raw) for reject in found]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_too_few_and_too_many_values(file: Path, block: int, end: bytes) -> None:
    lines = [b"a,b", b"1,x", b"2", b"3,y,z", b"", b"4,w", b",,,", b"5,v"]
    rows, found = outcome(file, end.join(lines), block_bytes=block)
    assert rows == [{"a": 1, "b": "x"}, {"a": 4, "b": "w"}, {"a": 5, "b": "v"}]
    assert bad(found) == [(3, b"2"), (4, b"3,y,z"), (7, b",,,")]
    assert found[0].reason == "expected 2 columns, got 1"
    assert found[1].reason == "expected 2 columns, got 3"


@pytest.mark.parametrize("block", BLOCKS)
def test_values_of_another_type(file: Path, block: int) -> None:
    content = b"id,day,n\n1,2013-01-01,5\n2,yesterday,6\n3,2013-01-03,x\nx,x,x\n4,2013-01-04,\n"
    types = {"id": "int64", "day": "date32", "n": "int32"}
    rows, found = outcome(file, content, block_bytes=block, types=types)
    assert [(row["id"], row["n"]) for row in rows] == [(1, 5), (4, None)]
    assert bad(found) == [(3, b"2,yesterday,6"), (4, b"3,2013-01-03,x"), (5, b"x,x,x")]
    assert found[0].reason == (
        "column 'day': CSV conversion error to date32[day]: invalid value 'yesterday'"
    )
    assert found[1].reason == "column 'n': CSV conversion error to int32: invalid value 'x'"


def test_many_values_of_another_type(file: Path) -> None:
    chance = random.Random(3)
    wrong = {n for n in range(5000) if chance.random() < 0.1} | set(range(2000, 2700))
    lines = [b"%d,%s" % (n, b"x" if n in wrong else b"1") for n in range(5000)]
    rows, found = outcome(file, b"a,b\n" + b"\n".join(lines), types={"b": "double"})
    assert [row["a"] for row in rows] == [n for n in range(5000) if n not in wrong]
    assert bad(found) == [(n + 2, lines[n]) for n in sorted(wrong)]


def test_what_is_searched_for_at_once_is_what_arrow_refuses_one_by_one(file: Path) -> None:
    """Values that Arrow takes are published, also among many that it does not."""
    taken = [" 5 ", "-7", "0x1F", "NA", '""', "007", "null", '"9"', "+5"]
    values = [f"word{n}" if n % 2 else taken[n // 2 % len(taken)] for n in range(2000)]
    one_by_one = []
    for value in taken:
        rows, found = outcome(file, f"a,b\n1,{value}\n".encode(), types={"b": "int64"})
        one_by_one.append([row["b"] for row in rows])
    lines = [f"{n},{value}" for n, value in enumerate(values)]
    lines[100:100] = ["ragged", "1,2,3"]
    rows, found = outcome(file, "\n".join(["a,b", *lines]).encode(), types={"b": "int64"})
    kept = [(n, *one_by_one[n // 2 % len(taken)]) for n in range(0, 2000, 2)]
    assert [tuple(row.values()) for row in rows] == [row for row in kept if len(row) == 2]
    assert len(rows) + len(found) == 2002
    assert {r.reason for r in found if b"word" in r.raw} == {
        f"column 'b': CSV conversion error to int64: invalid value 'word{n}'"
        for n in range(1, 2000, 2)
    }


TYPES = ["int64", "int8", "uint32", "double", "float32", "date32", "timestamp[s]", "timestamp[us]"]
WRITTEN = ["1", "-5", "0x1F", "1e5", "inf", "2013-01-02", "2013-01-02 10:00:00", "10:00", " 5 "]


@settings(max_examples=examples(60), deadline=None)
@given(
    kind=st.sampled_from(TYPES),
    value=st.sampled_from(WRITTEN),
    where=st.integers(0, 20),
    more=st.text(st.sampled_from("0123456789+-.eE:TZ xabi/"), max_size=2),
)
def test_no_cast_refuses_what_arrow_reads_in_csv(
    kind: str, value: str, where: int, more: str
) -> None:
    text = value[:where] + more + value[where:]
    may_be = sys.modules[handler("csv_table").__module__].may_be
    if not may_be(text, pa.type_for_alias(kind)):
        options = csv.ConvertOptions(column_types={"a": pa.type_for_alias(kind)})
        with pytest.raises(pa.ArrowInvalid, match="conversion error"):
            csv.read_csv(pa.py_buffer(f'a\n"{text}"\n'.encode()), convert_options=options)


def test_the_first_block_gives_the_types_of_the_others(file: Path) -> None:
    content = b"a,b\n" + b"1,\n" * 400 + b"1,2\nx,3\n2,4\n"
    rows, found = outcome(file, content, block_bytes=512)
    assert len(rows) == 402
    assert rows[-2:] == [{"a": 1, "b": 2}, {"a": 2, "b": 4}]
    assert bad(found) == [(403, b"x,3")]
    assert found[0].reason.endswith("invalid value 'x'; settings.types can name its type")


@pytest.mark.parametrize("block", BLOCKS)
def test_line_ends_within_quotes_are_counted(file: Path, block: int) -> None:
    content = b'a,b\r\n1,"x\r\ny\n\nz"\r\n2\r\n3,"p\rq"\r\nx,4\r\n\r\n5,"""6"""\r\n'
    rows, found = outcome(file, content, block_bytes=block, types={"a": "int64"})
    assert rows == [{"a": 1, "b": "x\r\ny\n\nz"}, {"a": 3, "b": "p\rq"}, {"a": 5, "b": '"6"'}]
    assert bad(found) == [(6, b"2"), (9, b"x,4")]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    ("content", "kept", "lines"),
    [
        (b'a,b\n1,"x\n2,y\n3,z\n', [2, 3], [2]),
        (b'a,b\n1,x\n2,y\n3,"z', [1, 2], [4]),
        (b'a,b\n1,x\n2,y\n3,"z\n\n', [1, 2], [4]),
        (b'a,b\n1,"x\n2,"y"\n3,z\n', [2, 3], [2]),
        (b'a,b\n1,"x"\n2,"y\n3,"z"\n', [1, 3], [3]),
        (b'a,b\n1,"x\n2,""\n3,"z"\n', [2, 3], [2]),
        (b'a,b\n1,"x\ny"w,v\n3,z\n', [3], [2, 3]),
        (b'a,b\n1,"x\ny""w"\n3,"z"w\n', [1, 3], []),
        (b'a,b\n1,5" pipe\n2,"y"z\n3,z\n', [1, 2, 3], []),
    ],
)
def test_a_quote_that_does_not_close_takes_no_other_line(
    file: Path, block: int, content: bytes, kept: list[int], lines: list[int]
) -> None:
    rows, found = outcome(file, content, block_bytes=block, types={"a": "int64"})
    assert [row["a"] for row in rows] == kept
    assert [reject.line for reject in found] == lines


def test_a_row_within_quotes_has_to_fit_a_block(file: Path) -> None:
    content = b'a,b\n1,"' + b"x\n" * 100 + b'"\n2,y\n'
    rows, _ = outcome(file, content)
    assert [row["a"] for row in rows] == [1, 2]
    # Where it does not, its first line is named, and none of the others is taken for a row.
    rows, found = outcome(file, content, block_bytes=50)
    assert rows == [{"a": 2, "b": "y"}]
    assert [reject.line for reject in found] == list(range(2, 103))
    assert "a quote is opened that is not closed" in found[0].reason


@pytest.mark.parametrize("block", BLOCKS)
def test_bytes_that_are_no_text(file: Path, block: int) -> None:
    content = b"a,b\n1,x\n2,\xff\n3,z\0\n4,\xc3\xa9\n\0\0,\n5,y\n"
    rows, found = outcome(file, content, block_bytes=block)
    assert [(row["a"], row["b"]) for row in rows] == [(1, "x"), (4, "é"), (5, "y")]
    assert bad(found) == [(3, b"2,\xff"), (4, b"3,z\0"), (6, b"\0\0,")]
    assert "not text in 'utf8', the file's settings.encoding" in found[0].reason
    assert found[1].reason == "it holds a NUL byte"


def test_quotes_and_nuls_together(file: Path) -> None:
    rows, found = outcome(file, b'a,b\n1,"x\n\0y"\n2,"p\nq"\n')
    assert rows == [{"a": 2, "b": "p\nq"}]
    assert bad(found) == [(2, b'1,"x\n\0y"')]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_byte_order_mark_is_no_part_of_the_header(file: Path, block: int) -> None:
    rows, found = outcome(file, b"\xef\xbb\xbfa,b\r\n1,x\r\n2\r\n", block_bytes=block)
    assert rows == [{"a": 1, "b": "x"}]
    assert [(r.line, r.offset, r.raw) for r in found] == [(3, 13, b"2")]


def test_a_header_of_several_lines(file: Path) -> None:
    rows, found = outcome(file, b'\n\n"a\nb",c\n1,2\n3\n')
    assert rows == [{"a\nb": 1, "c": 2}]
    assert bad(found) == [(6, b"3")]


def test_a_reordered_header_is_bound_by_name(file: Path) -> None:
    rows, _ = outcome(file, b"b,a\nx,1\n", types={"a": "int64", "b": "string"})
    assert rows == [{"b": "x", "a": 1}]


def test_no_row_is_good(file: Path) -> None:
    file.write_bytes(b"a,b\n1\n2\n3,4,5\n")
    result = run("csv_table", file, {"types": {"a": "int64"}})
    assert result.rejected == 3
    table = result.tables["output"]
    assert (table.num_rows, table.schema.field("a").type) == (0, pa.int64())


def test_a_column_of_bytes_may_hold_any(file: Path) -> None:
    types = {"b": "binary"}
    rows, found = outcome(file, b"a,b\n1,\xff\nx\n2,\xfe\n", types=types)
    assert rows == [{"a": 1, "b": b"\xff"}, {"a": 2, "b": b"\xfe"}]
    assert bad(found) == [(3, b"x")]


def test_encodings_of_one_byte_keep_their_offsets(file: Path) -> None:
    rows, found = outcome(file, b"a;b\n1;\xe9\n\xe9\n2;z\x81\n", encoding="cp1252", delimiter=";")
    assert rows == [{"a": 1, "b": "é"}]
    assert bad(found) == [(3, b"\xe9"), (4, b"2;z\x81")]


@pytest.mark.parametrize("block", [16, 4096])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "shift_jis", "gb18030"])
def test_other_encodings_have_lines_and_no_offsets(file: Path, block: int, encoding: str) -> None:
    file.write_bytes("a,b\n1,表\n2\n3,z\n".encode(encoding))
    result = run("csv_table", file, {"encoding": encoding, "block_bytes": block})
    assert result.tables["output"].to_pylist() == [{"a": 1, "b": "表"}, {"a": 3, "b": "z"}]
    assert [r[:3] for r in rejects(result)] == [(3, None, b"2")]


def test_compressed_files_count_in_what_they_hold(tmp_path: Path) -> None:
    file = tmp_path / "drop.csv.gz"
    file.write_bytes(gzip.compress(b"a,b\n1,2\n3\n"))
    assert [r[:3] for r in rejects(run("csv_table", file))] == [(3, 8, b"3")]


# --- properties -------------------------------------------------------------------------

TEXT = st.text(st.sampled_from('ab ,"\né'), max_size=6)
LENIENT = settings(
    max_examples=examples(30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def written(row: tuple[int, str, float]) -> bytes:
    number, text, amount = row
    return b'%d,"%s",%r' % (number, text.replace('"', '""').encode(), amount)


@LENIENT
@given(
    rows=st.lists(st.tuples(st.integers(0, 99), TEXT, st.sampled_from([0.5, 2.0])), min_size=1),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    block=st.sampled_from([40, 100, 4096]),
)
def test_nothing_is_rejected_of_a_valid_file(
    file: Path, rows: list[tuple[int, str, float]], end: bytes, block: int
) -> None:
    content = b"n,t,x" + end + end.join(map(written, rows))
    types = {"n": "int64", "t": "string", "x": "double"}
    published, found = outcome(file, content, block_bytes=block, types=types)
    assert found == []
    assert [tuple(row.values()) for row in published] == rows


@LENIENT
@given(
    count=st.integers(1, 30),
    quoted=st.booleans(),
    corruptions=st.dictionaries(
        st.integers(0, 29),
        st.tuples(
            st.sampled_from(["insert", "delete", "replace"]),
            st.integers(0, 20),
            st.binary(min_size=1, max_size=3).filter(lambda b: not set(b) & set(b"\r\n")),
        ),
        max_size=5,
    ),
    block=st.sampled_from([30, 200, 4096]),
)
def test_each_line_is_published_or_rejected_whatever_is_wrong_with_it(
    file: Path, count: int, quoted: bool, corruptions: Any, block: int
) -> None:
    """Lines that were not touched are published as they were. (Two lines with a quote too few
    or too many can be a valid row together, so of quoted ones a single line is touched.)"""
    lines = [(b'%d,"t%d",%d.5' if quoted else b"%d,t%d,%d.5") % (n, n, n) for n in range(count)]
    touched = set()
    for number, (how, where, data) in corruptions.items():
        if number < count and not (quoted and touched):
            line = lines[number]
            where = min(where, len(line))
            kept = {"insert": 0, "delete": len(data), "replace": len(data)}[how]
            new = b"" if how == "delete" else data
            lines[number] = (line[:where] + new + line[where + kept :]) or b"?"
            touched.add(number)
    content = b"n,t,x\n" + b"\n".join(lines) + b"\n"
    types = {"n": "int64", "t": "string", "x": "double"}
    published, found = outcome(file, content, block_bytes=block, types=types)
    assert len(published) + len(found) == count
    assert {reject.line - 2 for reject in found} <= touched
    numbers = iter(published)
    rejected = {reject.line - 2 for reject in found}
    for n in range(count):
        if n in rejected:
            assert dict(bad(found))[n + 2] == lines[n]
            continue
        row = next(numbers)
        if n not in touched:
            assert row == {"n": n, "t": f"t{n}", "x": n + 0.5}
