"""Texts of any length for people: cut in the middle where they are too long, and marked."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable

ROOM_FOR_MARK = 60


def clip(text: str, longest: int) -> str:
    """Text for a person, cut in the middle where it is too long; the cut is marked.

    Lengths (at least 100) count characters as JSON escapes them, so that the metadata limit
    holds for any alphabet. Lone surrogates, of undecodable file names, are shown as escapes.
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= longest and len(json.dumps(text)) <= longest:
        return text
    room = (longest - ROOM_FOR_MARK) // 2
    # A character costs one or more, so that what lies further on cannot be kept.
    head, tail = text[:room], text[-room:]
    head = head[: _most_within(room, len(head), lambda n: head[:n])]
    tail = tail[len(tail) - _most_within(room, len(tail), lambda n: tail[len(tail) - n :]) :]
    left_out = len(text) - len(head) - len(tail)
    return f"{head} [... {left_out} characters left out ...] {tail}"


def _most_within(room: int, most: int, part: Callable[[int], str]) -> int:
    """The largest n up to `most` for which `part(n)` costs no more than `room`."""
    costs = range(most + 1)
    return bisect_right(costs, room, key=lambda n: len(json.dumps(part(n))) - 2) - 1
