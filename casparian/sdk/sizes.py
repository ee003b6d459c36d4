"""How many bytes the values of a batch take once each is written out by itself.

A dictionary, a run, or a view of a list says a value once for many rows. Whoever writes them out
needs to know before how much that is: a few bytes may stand for terabytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyarrow as pa

types = pa.types


def expands(schema: pa.Schema) -> bool:
    """Whether values of its columns may take more than they came as."""
    return any(_expands(kind) for kind in schema.types)


@lru_cache(maxsize=1024)
def _expands(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _expands(kind.storage_type)
    once = types.is_dictionary(kind) or types.is_run_end_encoded(kind) or types.is_union(kind)
    if once or types.is_list_view(kind) or types.is_large_list_view(kind):
        return True
    return any(_expands(kind.field(i).type) for i in range(kind.num_fields))


def written_out(batch: pa.RecordBatch) -> int:
    """The bytes of its columns that may expand, all of them written out; nested ones and unions
    may be taken for more. Raises pa.ArrowInvalid for more than 64 bits can count."""
    return sum(_total(_sizes(c)) for c in batch.columns if _expands(c.type))


def _compute() -> Any:
    # Its import takes as long as all else that an engine without such columns needs of it.
    import pyarrow.compute as pc

    return pc


def _total(sizes: pa.Array) -> int:
    # `sum` would wrap around.
    running = _compute().cumulative_sum_checked(sizes)
    return int(running[-1].as_py()) if len(running) else 0


def _sizes(array: pa.Array) -> pa.Array:
    """What each value takes, as int64 without NULLs."""
    pc, kind, rows = _compute(), array.type, len(array)
    if isinstance(kind, pa.BaseExtensionType):
        return _sizes(array.storage)
    if types.is_dictionary(kind):
        return pc.fill_null(_sizes(array.dictionary).take(array.indices), 0)
    if types.is_run_end_encoded(kind):
        runs = pa.RunEndEncodedArray.from_arrays(array.run_ends, _sizes(array.values))
        return pc.run_end_decode(runs.slice(array.offset, rows))
    if types.is_struct(kind):
        return _added(rows, [array.field(i) for i in range(kind.num_fields)])
    if types.is_map(kind):
        return _between(_added(len(array.keys), [array.keys, array.items]), array.offsets)
    if types.is_list(kind) or types.is_large_list(kind):
        return _between(_sizes(array.values), array.offsets)
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        starts = array.offsets.cast(pa.int64())
        ends = pc.add_checked(starts, array.sizes.cast(pa.int64()))
        before = _before(_sizes(array.values))
        return pc.subtract(before.take(ends), before.take(starts))
    if types.is_fixed_size_list(kind):
        return _each(rows, kind.list_size * _largest(array.values))
    if types.is_union(kind):
        fields = [array.field(i) for i in range(kind.num_fields)]
        return _each(rows, max((_largest(field) for field in fields), default=0))
    if types.is_primitive(kind) or types.is_fixed_size_binary(kind):
        return _each(rows, (kind.bit_width + 7) // 8)
    if types.is_null(kind):
        return _each(rows, 0)
    return pc.fill_null(pc.binary_length(array), 0).cast(pa.int64())


def _each(rows: int, size: int) -> pa.Array:
    return pa.repeat(pa.scalar(size, pa.int64()), rows)


def _largest(array: pa.Array) -> int:
    return int(_compute().max(_sizes(array)).as_py() or 0)


def _added(rows: int, parts: list[pa.Array]) -> pa.Array:
    total = _each(rows, 0)
    for part in parts:
        total = _compute().add_checked(total, _sizes(part))
    return total


def _before(sizes: pa.Array) -> pa.Array:
    """What all values before the n-th take together."""
    running = _compute().cumulative_sum_checked(sizes)
    return pa.concat_arrays([_each(1, 0), running])


def _between(sizes: pa.Array, offsets: pa.Array) -> pa.Array:
    """What the items of each list take."""
    before = _before(sizes).take(offsets)
    return _compute().subtract(before.slice(1), before.slice(0, len(before) - 1))
