"""How every SQL sink publishes a group: one transaction, in which each slot's marker comes first.

The marker is written only where the slot's generation is lower, in the statement that also locks
its row; checked first and written later, a transaction that was held up would bring old rows back.
A group is installed all or nothing: who cannot be is taken out, and the rest tried again. That is
also how a commit without an answer is cleared up: tried again, it finds its own markers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from casparian.adapters.sink._errors import failed, foreign, taken_over, withheld
from casparian.domain.errors import JobError
from casparian.domain.ports import PromoteItem
from casparian.domain.publish import (
    InstallCase,
    Marker,
    MarkerCase,
    Receipt,
    SlotKey,
    StagingKey,
    compare_marker,
)
from casparian.domain.schemas import TargetSchema

TRIES = 3
"""Of a group, before those who wait for it are told that the database is away or busy."""

Slot = tuple[str, SlotKey]
"""A table and a slot of it."""


class PromoteBusyError(Exception):
    """The transaction came to nothing, or nobody knows to what: worth another try."""


class PromoteFailedError(Exception):
    """The transaction came to nothing, and would again."""


class Promotion(Protocol):
    """One transaction of a database, from `mark` to `commit`. Raises the two errors above."""

    def prepare(self, items: Sequence[PromoteItem]) -> None:
        """Before the transaction begins: bring rows near, where that takes long."""
        ...

    def mark(self, markers: Sequence[tuple[str, Marker]]) -> Mapping[Slot, int | None]:
        """Write the markers whose slots hold nothing newer; the slots written, with the job
        whose rows are to go."""
        ...

    def standing(self, slots: Sequence[Slot]) -> Mapping[Slot, Marker]: ...

    def other_installation(self, table: str, installation: str) -> str | None: ...

    def staged_rows(self, keys: Sequence[StagingKey]) -> Mapping[StagingKey, Mapping[str, int]]:
        """How many rows of each table lie in the stagings that are still under these keys, and
        will be until the transaction ends."""
        ...

    def fit(self, table: str, staged: TargetSchema, where: str) -> None:
        """Make the table, or widen it. Raises JobError where that is drift."""
        ...

    def delete(self, table: str, job_ids: Sequence[int]) -> None: ...

    def insert(self, table: str, keys: Sequence[StagingKey]) -> int:
        """Copy the staged rows of these; how many."""
        ...

    def commit(self) -> None: ...


Begin = Callable[[], AbstractContextManager[Promotion]]
"""Begins a transaction on a connection that works; rolls back what is not committed."""


def promote(begin: Begin, items: Sequence[PromoteItem]) -> list[Receipt]:
    """A receipt for each item, in their order."""
    receipts: dict[int, Receipt] = {}
    # In one order everywhere, so that two engines do not wait for one another.
    ordered = sorted(range(len(items)), key=lambda n: (items[n].item.target, items[n].item.slot))
    _promote_group(begin, items, ordered, receipts)
    return [receipts[n] for n in range(len(items))]


def _promote_group(
    begin: Begin, items: Sequence[PromoteItem], group: list[int], receipts: dict[int, Receipt]
) -> None:
    tries = 0
    while group:
        try:
            done = _attempt(begin, items, group)
        except PromoteBusyError as error:
            tries += 1
            if tries == TRIES:
                for n in group:
                    text = f"Publishing to {items[n].item.target} failed: {error}."
                    receipts[n] = failed(items[n].item, text, transient=True)
                return
            continue
        except PromoteFailedError as error:
            if len(group) > 1:
                for n in group:
                    _promote_group(begin, items, [n], receipts)
                return
            target = items[group[0]].item.target
            done = {
                group[0]: failed(items[group[0]].item, f"Publishing to {target} failed: {error}.")
            }
        receipts.update(done)
        group = [n for n in group if n not in done]


def _attempt(
    begin: Begin, items: Sequence[PromoteItem], group: Sequence[int]
) -> dict[int, Receipt]:
    """One transaction. The receipts of all, where it was committed; else of those who kept it
    from being."""
    with begin() as promotion:
        slots = {n: (items[n].item.target.name, items[n].item.slot) for n in group}
        markers = {n: Marker.of(items[n].manifest, items[n].item) for n in group}
        promotion.prepare([items[n] for n in group])
        written = promotion.mark([(slots[n][0], markers[n]) for n in group])
        mine = [n for n in group if slots[n] in written]
        left = [n for n in group if slots[n] not in written]
        receipts = _withheld(promotion, items, slots, markers, left) if left else {}
        if not mine:
            return receipts
        losers = _losers(promotion, items, markers, mine)
        if losers:
            return losers
        _replace(promotion, items, mine, [(slots[n][0], written[slots[n]]) for n in mine])
        promotion.commit()
    installed = {n: Receipt(items[n].item, InstallCase.INSTALLED) for n in mine}
    return {**receipts, **installed}


def _withheld(
    promotion: Promotion,
    items: Sequence[PromoteItem],
    slots: Mapping[int, Slot],
    markers: Mapping[int, Marker],
    left: Sequence[int],
) -> dict[int, Receipt]:
    standing = promotion.standing([slots[n] for n in left])
    receipts: dict[int, Receipt] = {}
    for n in left:
        other = standing.get(slots[n])
        case = compare_marker(other, markers[n])
        if other is None or case is MarkerCase.INSTALL:
            raise PromoteBusyError(f"the marker of {items[n].item.target} was just changed")
        receipts[n] = withheld(items[n].item, other, case)
    return receipts


def _losers(
    promotion: Promotion,
    items: Sequence[PromoteItem],
    markers: Mapping[int, Marker],
    mine: Sequence[int],
) -> dict[int, Receipt]:
    """Those that may not be installed. Tables are made and widened on the way."""
    staged = promotion.staged_rows(list({items[n].key: None for n in mine}))
    losers: dict[int, Receipt] = {}
    for n in mine:
        job = items[n]
        item, held = job.item, staged.get(job.key)
        rows = None if held is None else held.get(item.target.name)
        if held is None or (item.staged and rows is None):
            losers[n] = taken_over(item, f"{item.target.location}, {job.key.name}")
        elif item.staged and rows != item.rows:
            losers[n] = failed(
                item,
                f"The staging of {item.target} holds {rows} rows, the manifest says {item.rows}. "
                "Nothing was changed.",
            )
        elif item.staged:
            columns = TargetSchema.from_json(item.schema_json)
            try:
                promotion.fit(item.target.name, columns, str(item.target))
            except JobError as error:
                losers[n] = failed(item, error.message)
    strangers: dict[tuple[str, str], str | None] = {}
    for n in mine:
        # After a table was made: whoever makes it first has it, whoever comes second sees that.
        place = (items[n].item.target.name, markers[n].installation)
        if place not in strangers:
            strangers[place] = promotion.other_installation(*place)
        other = strangers[place]
        if other is not None:
            losers[n] = failed(items[n].item, foreign(items[n].item, other))
    return losers


def _replace(
    promotion: Promotion,
    items: Sequence[PromoteItem],
    mine: Sequence[int],
    replaced: Sequence[tuple[str, int | None]],
) -> None:
    """Take the old rows out and put the new ones in, table by table."""
    going: dict[str, list[int]] = {}
    for table, job_id in replaced:
        if job_id is not None:
            going.setdefault(table, []).append(job_id)
    coming: dict[str, list[int]] = {}
    for n in mine:
        if items[n].item.staged and items[n].item.rows:
            coming.setdefault(items[n].item.target.name, []).append(n)
    for table, job_ids in going.items():
        promotion.delete(table, job_ids)
    for table, numbers in coming.items():
        wanted = sum(items[n].item.rows for n in numbers)
        copied = promotion.insert(table, [items[n].key for n in numbers])
        if copied != wanted:
            raise PromoteFailedError(f"{copied} of {wanted} rows went in")
