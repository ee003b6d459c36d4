"""What a SQL sink says of a value that its database could not give back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from casparian.domain.errors import ErrorClass, JobError


class Refused(ValueError):
    """Why a value cannot be stored: the end of a sentence."""


@contextlib.contextmanager
def told(kind: pa.DataType, column: str, where: str) -> Iterator[None]:
    """Makes a JobError (DATA) of what is refused in a column of this type."""
    try:
        yield
    except MemoryError:
        raise  # Arrow's own is one of its exceptions, and says nothing of the value.
    except (Refused, pa.ArrowException) as error:
        raise JobError(
            ErrorClass.DATA,
            f"Column {column!r} ({kind}) of the rows for {where} {error}. "
            "Publish another value, or use a Parquet sink.",
        ) from error


def check_range(counts: pa.Array, low: int, high: int, what: str) -> None:
    """`what`: what is outside of `low` to `high`."""
    limits = pc.min_max(counts).as_py()
    if limits["min"] is not None and (limits["min"] < low or limits["max"] > high):
        raise Refused(f"holds {what}")


def refuse_nul(texts: pa.Array, why: str) -> None:
    data = texts.buffers()[2]
    if data is None or b"\0" not in data.to_pybytes():
        return
    # It may lie in a part of the buffer that is not this array's.
    at = pc.index(pc.match_substring(texts, "\0"), pa.scalar(True)).as_py()
    if at >= 0:
        raise Refused(f"holds a NUL character (the first in row {at} of its batch), {why}")
