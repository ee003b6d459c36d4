"""Deploy keys in files that only their owner can read."""

from __future__ import annotations

from casparian.adapters.keys.directory import KeyDirectory, KeyEntry

__all__ = ["KeyDirectory", "KeyEntry"]
