"""Bundles of the Parquet sink: sealed before the decision, installed once after it.

A bundle waits in the staging of the first of its jobs. Any of them may come to install it,
from another process too: each renames it to a path that only it names, compares revisions
after that, and exchanges from that path. So of several one installs it, and once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from casparian.adapters.sink._bundle_files import BundleContent, described, keep
from casparian.adapters.sink._errors import failed, foreign, taken_over, withheld
from casparian.adapters.sink._held import HeldStagings, fresh
from casparian.adapters.sink._marked import MARKER, move_in, read_bundle
from casparian.adapters.sink._parquet_staging import digest_of
from casparian.adapters.sink._parts import bundle_part, rows_part
from casparian.adapters.sink._places import Places, remove_tree
from casparian.adapters.sink._round import PromoteRound
from casparian.domain.bundles import BundleMarker, bundle_name, compare_bundle
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.ports import PromoteItem
from casparian.domain.publish import (
    InstallCase,
    ManifestItem,
    Marker,
    MarkerCase,
    Receipt,
    StagingKey,
    Target,
)

TRIES = 8


class ParquetBundles:
    """The bundles below one root."""

    def __init__(self, root: str, places: Places, held: HeldStagings) -> None:
        self._root = root
        self._places = places
        self._held = held
        self._sealed: dict[str, list[str]] = {}

    # --- before the decision --------------------------------------------------------------

    def forget(self, key: StagingKey) -> None:
        """What was sealed earlier for a job, in other company, is not to be found any more.
        Raises OSError."""
        for path in self._sealed.get(key.name, ()):
            remove_tree(path)
        self._sealed.pop(key.name, None)

    def born(self, jobs: Sequence[PromoteItem]) -> list[ManifestItem]:
        """A new bundle of rows that are held. Raises OSError."""
        lead = jobs[0]
        name = bundle_name(lead.manifest.job_id, lead.manifest.plugin)
        items = [_placed(job, name, 1) for job in jobs]
        return self._write(items, BundleContent(), ())

    def rewritten(self, jobs: Sequence[PromoteItem]) -> list[ManifestItem]:
        """The next revision of a bundle, in which these items take the place of what their
        slots held. Raises JobError where the bundle is not the one it follows, OSError."""
        item = jobs[0].item
        directory = self._path(item.target, item.bundle)
        standing = read_bundle(directory)
        if standing is None:
            # Somebody removed it, the rows of the other slots too.
            return self._write(jobs, BundleContent(), ())
        _must_precede(standing, jobs[0], directory)
        slots = {job.item.slot for job in jobs}
        replaced = {m.job_id for m in standing.members if m.slot in slots}
        members = tuple(m for m in standing.members if m.slot not in slots)
        return self._write(jobs, keep(directory, standing, replaced), members)

    def _write(
        self, jobs: Sequence[PromoteItem], content: BundleContent, members: tuple[Marker, ...]
    ) -> list[ManifestItem]:
        for job in jobs:
            self._add(job, content)
        lead = jobs[0]
        key, revision = lead.key, lead.item.revision
        prefix = f"{key.job_id}-{key.attempt}-{key.installation[:12]}-{key.token[:12]}"
        files = content.encode(f"{prefix}-r{revision}")
        marker = BundleMarker(
            lead.manifest.installation,
            lead.item.bundle,
            revision,
            (*members, *(Marker.of(job.manifest, job.item) for job in jobs)),
            (*described(files), *(file for _, file in content.links)),
        )
        path = self._places.begin(key, bundle_part(lead.item.target, lead.item.bundle, revision))
        self._sealed.setdefault(key.name, []).append(path)
        fresh(self._places, key, path, [*files, (MARKER, marker.to_json().encode("ascii"))])
        for source, file in content.links:
            os.link(source, os.path.join(path, file.name))
        return [_in_file(job, content.files_of) for job in jobs]

    def _add(self, job: PromoteItem, content: BundleContent) -> None:
        if not job.item.staged:
            return
        part = rows_part(job.item.target)
        held = self._held.rows(job.key, part)
        if held is not None:
            content.add(held)
            return
        for name in job.item.files:
            path = os.path.join(self._places.of(job.key, part), name)
            content.link(path, digest_of([path]))

    # --- after it -------------------------------------------------------------------------

    def install(self, jobs: Sequence[PromoteItem], todo: PromoteRound) -> list[Receipt]:
        """Install the bundle that these items are in, unless it is. Raises JobError, OSError."""
        item, keys = jobs[0].item, [job.key for job in jobs]
        mine = [Marker.of(job.manifest, job.item) for job in jobs]
        part = bundle_part(item.target, item.bundle, item.revision)
        place = self._path(item.target, item.bundle)
        for _ in range(TRIES):
            # Compared after it was taken: who is late names a path that is gone.
            taken = self._take(part, keys, mine)
            standing = read_bundle(place)
            cases = [compare_bundle(standing, item.revision, marker) for marker in mine]
            if standing is not None and MarkerCase.INSTALL not in cases:
                if MarkerCase.ALREADY in cases:
                    # The one who installed it may have stopped right after.
                    self._touch(place, todo)
                    todo.displaced += [taken] if taken is not None else []
                return [
                    _left(job.item, marker, case, standing)
                    for job, marker, case in zip(jobs, mine, cases, strict=True)
                ]
            if taken is None:
                return [taken_over(j.item, self._places.of(j.key, part)) for j in jobs]
            if not _is_due(read_bundle(taken[0]), item.revision, mine):
                text = f"What lies in {taken[0]} is not what the manifest decided."
                return [failed(job.item, text) for job in jobs]
            try:
                move_in(taken[0], place, first=standing is None)
            except (FileNotFoundError, FileExistsError):
                continue  # Another holder was here in between; look again.
            self._touch(place, todo)
            todo.displaced += [taken] if standing is not None else []
            return [Receipt(job.item, InstallCase.INSTALLED) for job in jobs]
        text = f"{place} changes again and again under this."
        return [failed(job.item, text, transient=True) for job in jobs]

    def _touch(self, place: str, todo: PromoteRound) -> None:
        todo.touch((self._root, os.path.dirname(place), self._places.staging))

    def _take(
        self, part: str, keys: Sequence[StagingKey], mine: Sequence[Marker]
    ) -> tuple[str, StagingKey] | None:
        """The staged bundle, at a path that only a holder of these keys names."""
        for key in keys:
            if os.path.isdir(self._places.of(key, part)):
                return self._places.of(key, part), key
        for path in self._places.parts(part):
            try:
                staged = read_bundle(path)
            except JobError:
                continue  # It is being made, or removed, by others.
            if staged is not None and set(mine) <= set(staged.members):
                own = self._places.take(path, keys[0], part)
                if own is not None:
                    return own, keys[0]
        return None

    def _path(self, target: Target, name: str) -> str:
        return os.path.join(self._root, target.name, name)


def _placed(job: PromoteItem, name: str, revision: int) -> PromoteItem:
    return job._replace(item=replace(job.item, bundle=name, revision=revision))


def _in_file(job: PromoteItem, files_of: Mapping[int, str]) -> ManifestItem:
    name = files_of.get(job.manifest.job_id) if job.item.staged else None
    return replace(job.item, files=(name,)) if name is not None else job.item


def _must_precede(standing: BundleMarker, job: PromoteItem, directory: str) -> None:
    if standing.installation != job.manifest.installation:
        raise JobError(ErrorClass.FOREIGN_ROWS, foreign(job.item, standing.installation))
    if standing.revision != job.item.revision - 1:
        raise JobError(
            ErrorClass.INFRASTRUCTURE,
            f"{directory} is of revision {standing.revision}, and the queue database has "
            f"installed revision {job.item.revision - 1}. Unless another engine publishes to it "
            "just now, one of the two was restored from a backup: restore the other of the same "
            "time.",
        )


def _is_due(staged: BundleMarker | None, revision: int, mine: Sequence[Marker]) -> bool:
    if staged is None or staged.revision != revision:
        return False
    return set(mine) <= set(staged.members)


def _left(item: ManifestItem, mine: Marker, case: MarkerCase, standing: BundleMarker) -> Receipt:
    """The receipt of an item that is left as the standing bundle has it."""
    if case is MarkerCase.FOREIGN:
        return failed(item, foreign(item, standing.installation))
    member = standing.member(mine.slot)
    if case is MarkerCase.OLDER and member is None:
        return Receipt(item, InstallCase.OLDER)
    if member is None or standing.revision < item.revision:
        return failed(
            item,
            f"The bundle {item.bundle} of {item.target} is of revision {standing.revision}; "
            f"revision {item.revision} was decided to follow {item.revision - 1}. Restore the "
            "directory, or the queue database, of the same time.",
        )
    return withheld(item, member, case)
