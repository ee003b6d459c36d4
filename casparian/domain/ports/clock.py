"""Time, as the engine is given it."""

from __future__ import annotations

from collections.abc import Callable

Clock = Callable[[], int]
"""Microseconds since the epoch, UTC."""
