"""Readers of the soak: they look without pause, and note every state that must never be seen."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.support.project import read_parquet

Rows = dict[tuple[str, int], tuple[int, int]]
"""(name, version) to how many rows there are, and how many different ones."""


def parquet_rows(directory: Path) -> Rows:
    table = read_parquet(directory)
    if not table.num_rows:
        return {}
    counted = table.group_by(["name", "version"]).aggregate(
        [("n", "count"), ("n", "count_distinct")]
    )
    return {
        (row["name"], row["version"]): (row["n_count"], row["n_count_distinct"])
        for row in counted.to_pylist()
    }


def sqlite_rows(path: Path, table: str = "extra") -> Rows:
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
        try:
            found = db.execute(
                f"select name, version, count(*), count(distinct n) from {table} group by 1, 2"
            ).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return {}
            raise
    return {(name, version): (count, distinct) for name, version, count, distinct in found}


class Reader(threading.Thread):
    """`size` is how many rows a name has, in each of its versions. Names of a `lasting` topic
    never go away again."""

    def __init__(self, read: Callable[[], Rows], size: Callable[[str], int], lasting: bool) -> None:
        super().__init__(daemon=True)
        self._read, self._size, self._lasting = read, size, lasting
        self._over = threading.Event()
        self._seen: dict[str, int] = {}
        self.reads = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self._over.is_set():
            try:
                rows = self._read()
            except Exception as error:
                self.wrong.append(f"a read failed: {error!r}")
                return
            self.reads += bool(rows)
            self.look(rows)

    def look(self, rows: Rows) -> None:
        names: dict[str, int] = {}
        for (name, version), (count, distinct) in rows.items():
            if (count, distinct) != (self._size(name), self._size(name)):
                self.wrong.append(f"{name} version {version}: {count} rows, {distinct} different")
            if name in names:
                self.wrong.append(f"{name}: versions {names[name]} and {version} at once")
            if version < self._seen.get(name, 0):
                self.wrong.append(f"{name}: version {version} after {self._seen[name]}")
            names[name] = version
        gone = self._seen.keys() - names.keys() if self._lasting else set()
        self.wrong += [f"{name} is gone" for name in sorted(gone)]
        self._seen.update(names)

    def end(self) -> None:
        self._over.set()
        self.join()
