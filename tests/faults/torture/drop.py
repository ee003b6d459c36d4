"""The hostile drop: an inbox that changes under a real engine, and what must come of it.

A row says whose it is: its key is the kind, the file's tag, the version and a number. A place is
a path below the inbox, as bytes.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

HEADER = "key,n,value"
ROWS = 40

# A kind waits for so many seconds, or until something is true.
Wait = float | Callable[[], object]
Story = Iterator[Wait]


def lines(kind: str, tag: str, rows: int = ROWS) -> list[tuple[str, int, float]]:
    return [(f"{kind}:{tag}:{n}", n, n / 4) for n in range(rows)]


def text(rows: list[tuple[str, int, float]]) -> bytes:
    return "".join([f"{HEADER}\n", *(f"{k},{n},{v}\n" for k, n, v in rows)]).encode()


@dataclass
class Expected:
    """What must stand at one place in the end.

    `rows`: keys. `or_refused`: they may be missing too, where `why` says so.
    """

    kind: str
    keys: list[str]
    or_refused: str | None = None


@dataclass
class Drop:
    """The inbox as bytes, the queue's database, and the expectations of all kinds.

    `outside` is a directory that no source root holds. `many` and `sparse`: how many files are in
    one directory, and how many bytes in one file. `checks` give a sentence for what is wrong.
    """

    root: bytes
    database: Path
    outside: Path
    many: int
    sparse: int
    expected: dict[bytes, Expected] = field(default_factory=dict)
    refusals: dict[bytes, tuple[str, str]] = field(default_factory=dict)
    checks: list[tuple[str, Callable[[], str]]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    mounts: list[str] = field(default_factory=list)

    def at(self, place: bytes) -> bytes:
        """The path of a place, with the directories above it made."""
        path = os.path.join(self.root, place)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def write(self, place: bytes, content: bytes, times: float | None = None) -> bytes:
        path = self.at(place)
        with open(path, "wb") as file:
            file.write(content)
        if times is not None:
            os.utime(path, (times, times))
        return path

    def put(self, kind: str, place: bytes, tag: str, times: float | None = None) -> bytes:
        """Write the rows of `tag`, which are to stand at `place` from now on."""
        rows = lines(kind, tag)
        path = self.write(place, text(rows), times)
        self.stands(kind, place, [key for key, *_ in rows])
        return path

    def mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True)
        self.mounts.append(arguments[-1])

    def unmount(self) -> None:
        while self.mounts:
            subprocess.run(["umount", "-l", self.mounts.pop()], check=False, capture_output=True)

    # --- expectations -----------------------------------------------------------------------

    def stands(
        self, kind: str, place: bytes, keys: list[str], or_refused: str | None = None
    ) -> None:
        self.expected[place] = Expected(kind, keys, or_refused)

    def nothing(self, kind: str, place: bytes, why: str | None = None) -> None:
        """No row of `place` may stand; `casparian why` says a text that `why` matches."""
        self.expected[place] = Expected(kind, [])
        if why is not None:
            self.explained(kind, place, why)

    def explained(self, kind: str, place: bytes, why: str) -> None:
        re.compile(why)
        self.refusals[place] = (kind, why)

    def hashed(self, kind: str, place: bytes, sha256: str) -> None:
        """The newest version at `place` has this content."""
        sql = "select content_hash from file_location where path = ?"
        self.checks.append((kind, lambda: _unless(self.query(sql, place), [(sha256,)], place)))

    def keeps(self, kind: str, place: bytes, versions: int) -> None:
        """The location stands, with so many versions."""
        sql = "select versions, deleted from file_location where path = ?"
        wanted: list[tuple[object, ...]] = [(versions, 0)]
        self.checks.append((kind, lambda: _unless(self.query(sql, place), wanted, place)))

    def counted(self, kind: str, below: bytes, locations: int) -> None:
        """So many locations are known below a place that ends in `/`."""
        sql = "select count(*) from file_location where path > ? and path < ?"
        self.checks.append(
            (
                kind,
                lambda: _unless(self.query(sql, below, below[:-1] + b"0"), [(locations,)], below),
            )
        )

    # --- what the engine knows ----------------------------------------------------------------

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        if not self.database.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as c:
            try:
                return c.execute(sql, values).fetchall()
            except sqlite3.OperationalError:
                # It is being made, or somebody writes.
                return []

    def versions(self, place: bytes) -> int:
        found = self.query("select versions from file_location where path = ?", place)
        return int(str(found[0][0])) if found else 0

    def done(self, place: bytes, ordinal: int = 1) -> Callable[[], bool]:
        """Whether a version that is at least the `ordinal`-th is published."""
        return lambda: bool(
            self.query(
                "select 1 from processing_job j join file_version v on v.id = j.file_version_id "
                "join file_location l on l.id = v.location_id "
                "where l.path = ? and v.ordinal >= ? and j.status = 'COMPLETED'",
                place,
                ordinal,
            )
        )

    def running(self, place: bytes, ordinal: int = 1) -> Callable[[], bool]:
        """Whether the job of a version has begun."""
        return lambda: bool(
            self.query(
                "select 1 from processing_job j join file_version v on v.id = j.file_version_id "
                "join file_location l on l.id = v.location_id "
                "where l.path = ? and v.ordinal >= ? and j.status <> 'QUEUED'",
                place,
                ordinal,
            )
        )

    def met(self, place: bytes, ordinal: int = 1) -> Callable[[], bool]:
        """Whether the engine has recorded that many versions."""
        return lambda: self.versions(place) >= ordinal

    def places_of_jobs(self) -> dict[int, bytes]:
        found = self.query(
            "select j.id, l.path from processing_job j join file_version v "
            "on v.id = j.file_version_id join file_location l on l.id = v.location_id"
        )
        return {int(str(job)): bytes(path) for job, path in found}  # type: ignore[call-overload]


def _unless(found: object, wanted: object, place: bytes) -> str:
    return "" if found == wanted else f"{place!r}: {found}, and not {wanted}"


Row = tuple[bytes, str]


@dataclass
class Score:
    """Rows lost, doubled and wrong, by kind; `left` counts places refused instead, rightly."""

    lost: Counter[str] = field(default_factory=Counter)
    doubled: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    refused: list[tuple[str, bytes, str]] = field(default_factory=list)

    def note(self, count: Counter[str], kind: str, row: Row) -> None:
        count[kind] += 1
        which = {id(self.lost): "lost", id(self.doubled): "doubled"}.get(id(count), "wrong")
        examples = self.examples.setdefault(kind, [])
        if len(examples) < 5:
            examples.append(f"{which}: {row[1]} at {row[0][:80]!r}")

    def of(self, kind: str) -> tuple[int, int, int]:
        return self.lost[kind], self.doubled[kind], self.wrong[kind]


def score(drop: Drop, rows: list[tuple[int, str, int, float]]) -> Score:
    """Hold the published rows (job, key, n, value) against what was expected."""
    place_of = drop.places_of_jobs()
    found = Counter((place_of[job], key) for job, key, _, _ in rows)
    result = Score()
    for job, key, n, value in rows:
        if not key.endswith(f":{n}") or value != n / 4:
            result.note(result.wrong, _kind(key), (place_of[job], f"{key},{n},{value}"))
    some = {place for place, _ in found}
    wanted: set[Row] = set()
    for place, expected in drop.expected.items():
        if expected.or_refused is not None and place not in some:
            result.refused.append((expected.kind, place, expected.or_refused))
            continue
        wanted.update((place, key) for key in expected.keys)
    for row in wanted - found.keys():
        result.note(result.lost, drop.expected[row[0]].kind, row)
    for row, count in found.items():
        if row not in wanted:
            result.note(result.wrong, _kind(row[1]), row)
        elif count > 1:
            result.note(result.doubled, _kind(row[1]), row)
    for kind, check in drop.checks:
        problem = check()
        if problem:
            result.note(result.wrong, kind, (b"", problem))
    return result


def _kind(key: str) -> str:
    return key.partition(":")[0]
