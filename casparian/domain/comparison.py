"""What targets hold, against what was decided: I1 to I6 and I10, place by place and row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from casparian.domain.audit import Holding, RowsFound
from casparian.domain.invariants import Books, Invariant, Key, Violation, told
from casparian.domain.publish import Marker, SlotKey, SlotState, Target


class Comparison:
    """What was found so far in the targets of one sink, beside the books. What is `moving`, by
    (plugin, location), is let be."""

    def __init__(self, books: Books, moving: set[Key]) -> None:
        self._books, self._moving = books, moving
        self._standing: dict[tuple[Target, SlotKey], tuple[Marker, str]] = {}
        self._filled: dict[tuple[int, str], str] = {}

    def of_place(self, holding: Holding) -> Iterator[Violation]:
        for fault in holding.faults:
            yield Violation(Invariant.WHOLE_FOR_READERS, holding.place, fault)
        by_job: dict[int, Marker] = {}
        for marker in holding.markers:
            if marker.rows or marker.job_id not in by_job:
                by_job[marker.job_id] = marker
            yield from self._of_marker(holding, marker)
        for job_id, found in holding.rows.items():
            if job_id not in by_job and not self._moves(job_id):
                yield Violation(
                    Invariant.WHOLE_FOR_READERS, holding.place,
                    f"{found.rows} rows of job {job_id} lie there, and no marker is for them.",
                    (job_id,),
                )  # fmt: skip
        for job_id, marker in by_job.items():
            if _key(marker) not in self._moving:
                found = holding.rows.get(job_id, RowsFound(0))
                yield from self._of_rows(holding.place, marker, found)

    def _moves(self, job_id: int) -> bool:
        decided = self._books.decided(job_id)
        return decided is not None and decided.key in self._moving

    def _of_marker(self, holding: Holding, marker: Marker) -> Iterator[Violation]:
        if _key(marker) in self._moving:
            return
        place = (holding.target, marker.slot)
        before = self._standing.get(place)
        if before is not None and before[0].rows and marker.rows:
            yield Violation(
                Invariant.ONE_ATTEMPT, holding.place,
                f"Slot {marker.slot.name} has rows of job {marker.job_id} here and of job "
                f"{before[0].job_id} in {before[1]}.", (marker.job_id, before[0].job_id),
            )  # fmt: skip
        if before is None or before[0].generation < marker.generation:
            self._standing[place] = (marker, holding.place)
        if marker.rows:
            other = self._filled.setdefault((marker.job_id, marker.topic), str(place))
            if other != str(place):
                yield Violation(
                    Invariant.ONE_ATTEMPT, holding.place,
                    f"Job {marker.job_id} stands there, and in {other} too.", (marker.job_id,),
                )  # fmt: skip
        if not marker.adopted:
            yield from self._of_job(holding, marker)

    def _of_job(self, holding: Holding, marker: Marker) -> Iterator[Violation]:
        """A marker against the decision that it is of."""
        books, job_id = self._books, marker.job_id
        decided, fate = books.decided(job_id), books.fate(job_id)
        about = (job_id,)
        if marker.installation != books.installation:
            yield Violation(
                Invariant.DECIDED_ONLY, holding.place,
                f"The marker of job {job_id} is of installation {marker.installation[:12]}, this "
                f"queue is {books.installation[:12]}.", about,
            )  # fmt: skip
            return
        if decided is None:
            status = "is not known" if fate is None else f"is {fate.status}"
            yield Violation(
                Invariant.DECIDED_ONLY, holding.place,
                f"There is a marker of job {job_id}, which {status}.", about,
            )  # fmt: skip
            return
        if marker.attempt != decided.fate.attempt:
            yield Violation(
                Invariant.SAME_EVERYWHERE, holding.place,
                f"The marker is of attempt {marker.attempt} of job {job_id}, whose decision is "
                f"of attempt {decided.fate.attempt}.", about,
            )  # fmt: skip
            return
        mine = decided.markers.get((holding.target, marker.slot))
        if mine is None:
            yield Violation(
                Invariant.DECIDED_ONLY, holding.place,
                f"Job {job_id} has a marker for slot {marker.slot.name}, which its decision does "
                "not name.", about,
            )  # fmt: skip
        elif mine != marker:
            yield Violation(
                Invariant.EXACT_ROWS, holding.place,
                f"The marker of job {job_id} says {_marker(marker)}; decided was {_marker(mine)}.",
                about,
            )  # fmt: skip
        if marker.content_hash not in ("", decided.content_hash):
            yield Violation(
                Invariant.RIGHT_CONTENT, holding.place,
                f"Job {job_id} read content {marker.content_hash[:12]}, its file version has "
                f"{decided.content_hash[:12]}.", about,
            )  # fmt: skip

    def _of_rows(self, place: str, marker: Marker, found: RowsFound) -> Iterator[Violation]:
        about = (marker.job_id,)
        told = f"Job {marker.job_id}, slot {marker.slot.name}"
        if found.doubled:
            yield Violation(
                Invariant.ONE_ATTEMPT, place,
                f"{told}: rows {_numbers(found.doubled)} are there more than once.", about,
            )  # fmt: skip
        if found.rows != marker.rows or found.missing:
            lost = f" Missing are {_numbers(found.missing)}." if found.missing else ""
            yield Violation(
                Invariant.EXACT_ROWS, place,
                f"{told}: {found.rows} rows are there, {marker.rows} were published.{lost}", about,
            )  # fmt: skip
        elif found.digest is not None and found.digest != marker.digest:
            yield Violation(
                Invariant.EXACT_ROWS, place,
                f"{told}: its {found.rows} rows are not those that were published: the digest is "
                f"{found.digest[:12]}, the marker's {marker.digest[:12]}.", about,
            )  # fmt: skip
        decided = None if marker.adopted else self._books.decided(marker.job_id)
        if decided is not None and not set(found.version_ids) <= {decided.version_id}:
            yield Violation(
                Invariant.RIGHT_CONTENT, place,
                f"{told}: rows say they are of file versions {_numbers(found.version_ids)}, the "
                f"job read {decided.version_id}.", about,
            )  # fmt: skip

    def of_all(self, targets: set[Target]) -> Iterator[Violation]:
        """What should stand in these targets and does not."""
        books = self._books
        for (target, slot), entry in books.expected_in(targets):
            key, expected = _key(entry.marker), entry.marker
            if key in self._moving:
                continue
            standing = self._standing.get((target, slot))
            about = (expected.job_id,)
            if standing is None:
                # An emptied slot of a bundle goes with the bundle's next revision.
                if entry.staged or not entry.bundled:
                    yield Violation(
                        Invariant.EXACT_ROWS, str(target),
                        f"Slot {slot.name} is gone: job {expected.job_id} published "
                        f"{expected.rows} rows of {expected.path!r} to it.", about,
                    )  # fmt: skip
            elif standing[0].generation < expected.generation and entry.staged:
                yield Violation(
                    Invariant.NEVER_OLDER, standing[1],
                    f"Slot {slot.name} holds job {standing[0].job_id} at generation "
                    f"{told(standing[0].generation)}; job {expected.job_id} was completed "
                    f"at {told(expected.generation)}.", (standing[0].job_id, *about),
                )  # fmt: skip
        for (target, slot), (marker, place) in self._standing.items():
            state = books.slots.get(_key(marker), SlotState())
            known = {(p.target, p.slot) for p in state.published}
            if marker.rows and (target, slot) not in known:
                yield Violation(
                    Invariant.EXACT_ROWS, place,
                    f"The queue does not know that slot {slot.name} holds rows of job "
                    f"{marker.job_id}: no later version would remove them.", (marker.job_id,),
                )  # fmt: skip


def _key(marker: Marker) -> Key:
    return marker.plugin, marker.location_id


def _marker(marker: Marker) -> str:
    return (
        f"{marker.rows} rows of attempt {marker.attempt}, digest {marker.digest[:12]}, version "
        f"{marker.ordinal} of {marker.path!r}"
    )


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
