"""What lies below a Parquet root: every directory with its marker, its rows counted anew."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from casparian.adapters.sink._marked import Held, read_held
from casparian.adapters.sink._parquet_adoption import directories, parquet_files
from casparian.adapters.sink._parquet_staging import digest_of
from casparian.adapters.sink._types import compute
from casparian.domain import lineage
from casparian.domain.audit import Holding, RowsFound, account
from casparian.domain.errors import JobError
from casparian.domain.publish import Marker, Target

TRIES = 20
SUFFIX = ".parquet"


class ParquetAudit:
    """The directories below one root; `working` is the sink's own, which may lie in it."""

    def __init__(self, scheme: str, location: str, root: str, working: str) -> None:
        self._scheme, self._location, self._root, self._working = scheme, location, root, working

    def holdings(self) -> Iterator[Holding]:
        known: set[str] = set()
        for topic in directories(self._root):
            target = Target(self._scheme, self._location, topic)
            for name in directories(os.path.join(self._root, topic)):
                path = os.path.join(self._root, topic, name)
                known.add(path)
                yield self._settled(target, path)
        yield from self._strays(known)

    def _settled(self, target: Target, path: str) -> Holding:
        """One directory as it was at one moment: it may be exchanged while it is read."""
        for _ in range(TRIES):
            before = _held(path)
            try:
                holding = _read(target, path, before)
            except FileNotFoundError:
                continue
            if _held(path) == before:
                return holding
        return Holding(target, path, faults=("It changes again and again while it is read.",))

    def _strays(self, known: set[str]) -> Iterator[Holding]:
        """Files that a glob meets and that are in no slot and no bundle."""
        for directory, below, files in os.walk(self._root):
            below[:] = sorted(d for d in below if os.path.join(directory, d) != self._working)
            if directory in known or self._is_place(directory):
                # What lies deeper in a slot was put there by somebody else.
                continue
            for name in sorted(files):
                path = os.path.join(directory, name)
                if name.endswith(SUFFIX) and os.path.exists(path):
                    target = Target(self._scheme, self._location, os.path.basename(directory))
                    yield Holding(target, path, faults=("It was not published by Casparian.",))

    def _is_place(self, directory: str) -> bool:
        """True for a slot that was published after the topic was listed."""
        topic, name = os.path.split(directory)
        if os.path.dirname(topic) != self._root or name[0] in "._":
            return False
        return not isinstance(_held(directory), str | None)


def _held(path: str) -> Held | str | None:
    """The marker of a directory, or why it has none that can be read."""
    try:
        return read_held(path)
    except JobError as error:
        return error.message


def _read(target: Target, path: str, held: Held | str | None) -> Holding:
    files = parquet_files(path)
    if held is None or isinstance(held, str):
        fault = held or "There is no marker, so nothing says whose rows they are."
        return Holding(target, path, faults=(fault,) if files or held else ())
    faults = []
    for file in files:
        try:
            pq.read_metadata(file)
        except pa.ArrowException as error:
            faults.append(f"{os.path.basename(file)} cannot be read as Parquet: {error}.")
    if faults:
        return Holding(target, path, _markers(held), faults=tuple(faults))
    if isinstance(held, Marker):
        rows = _rows(files, {held.job_id: held.rows})
        if held.job_id in rows or held.rows == 0:
            found = rows.get(held.job_id, RowsFound(0))
            # Without a file there is no digest either; an emptied slot has none.
            digest = digest_of(files) if files else None
            rows[held.job_id] = found._replace(digest=digest)
        return Holding(target, path, (held,), rows)
    expected = {m.job_id: m.rows for m in held.members if m.rows}
    published = dict(held.files)
    for file in files:
        name = os.path.basename(file)
        if name not in published:
            faults.append(f"{name} is no file of the bundle.")
        elif _sha256(file) != published[name]:
            faults.append(f"{name} is not what was published: somebody changed it.")
    there = {os.path.basename(file) for file in files}
    faults += [f"{name} is gone." for name in sorted(published.keys() - there)]
    return Holding(target, path, held.members, _rows(files, expected), tuple(faults))


def _markers(held: Held) -> tuple[Marker, ...]:
    return (held,) if isinstance(held, Marker) else held.members


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rows(files: list[str], expected: dict[int, int]) -> dict[int, RowsFound]:
    """The rows of each job in these files."""
    if not files:
        return {}
    names = list(lineage.COLUMNS)
    table = pa.concat_tables([pq.ParquetFile(file).read(columns=names) for file in files])
    found: dict[int, RowsFound] = {}
    pc = compute()
    for job_id in sorted(pc.unique(table[lineage.JOB_ID]).to_pylist()):
        mine = table.filter(pc.equal(table[lineage.JOB_ID], job_id))
        numbers = mine[lineage.ROW]
        due = expected.get(job_id, 0)
        doubled: tuple[int, ...] = ()
        missing: tuple[int, ...] = ()
        if pc.count_distinct(numbers).as_py() != mine.num_rows or mine.num_rows != due:
            ordered = numbers.combine_chunks().sort()
            doubled, missing = account((n.as_py() for n in ordered), due)
        versions = pc.unique(mine[lineage.FILE_VERSION_ID]).to_pylist()
        found[job_id] = RowsFound(mine.num_rows, None, doubled, missing, tuple(sorted(versions)))
    return found
