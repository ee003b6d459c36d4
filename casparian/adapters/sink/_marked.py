"""Directories that this engine published: the marker in each says whose rows lie there."""

from __future__ import annotations

import json
import os
from typing import Any

from casparian.adapters.sink._libc import exchange, rename_new
from casparian.domain.bundles import BundleMarker
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.publish import Marker

MARKER = "_casparian.json"


def read_marker(directory: str) -> Marker | None:
    """The marker of a slot's own directory, None where there is no such directory.

    Raises JobError (FOREIGN_ROWS) for a directory that Casparian did not make.
    """
    raw = _read(directory)
    if raw is None:
        return None
    try:
        return Marker(**raw)
    except TypeError as error:
        raise not_ours(directory, f"its {MARKER} cannot be read: {error}") from error


def read_bundle(directory: str) -> BundleMarker | None:
    """The marker of a bundle, None where there is no such directory. Raises as `read_marker`."""
    raw = _read(directory)
    if raw is None:
        return None
    try:
        return BundleMarker.from_json(raw["bundle"])
    except (ValueError, TypeError, KeyError) as error:
        raise not_ours(directory, f"its {MARKER} cannot be read: {error}") from error


Held = Marker | BundleMarker
"""What a directory's marker can be: that of its slot, or that of a bundle."""


def read_held(directory: str) -> Held | None:
    """Whichever marker a directory has; None where it has none, or is gone. Raises as
    `read_marker`."""
    if not os.path.exists(os.path.join(directory, MARKER)):
        return None
    raw = _read(directory)
    if raw is None:
        return None
    return read_bundle(directory) if "bundle" in raw else read_marker(directory)


def read_markers(directory: str) -> list[Marker]:
    """The marker of every slot in a directory; none where it has no marker, or is gone."""
    held = read_held(directory)
    if held is None:
        return []
    return [held] if isinstance(held, Marker) else list(held.members)


def _read(directory: str) -> dict[str, Any] | None:
    try:
        with open(os.path.join(directory, MARKER), encoding="ascii") as file:
            raw = json.loads(file.read())
    except FileNotFoundError:
        if not os.path.isdir(directory):
            return None
        raise not_ours(directory, f"it has no {MARKER}") from None
    except ValueError as error:
        raise not_ours(directory, f"its {MARKER} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise not_ours(directory, f"its {MARKER} is no marker")
    return raw


def not_ours(directory: str, problem: str) -> JobError:
    return JobError(
        ErrorClass.FOREIGN_ROWS,
        f"The directory {directory} was not published by Casparian: {problem}. Nothing in it "
        "was changed. Move it out of the sink's directory.",
    )


def move_in(source: str, place: str, *, first: bool) -> None:
    """Publish a staged directory in one step. Later than at first, what was there before lies
    at `source` afterwards. Raises FileNotFoundError, FileExistsError where either changed."""
    if not first:
        exchange(source, place)
        return
    try:
        rename_new(source, place)
    except FileNotFoundError:
        if not os.path.isdir(source):
            raise
        os.makedirs(os.path.dirname(place), exist_ok=True)
        rename_new(source, place)
