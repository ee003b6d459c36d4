"""Casparian Flow: files dropped into a directory become rows in a database, exactly once.

    from casparian import Engine, Settings

    engine = Engine(Settings.load("casparian.toml"))
    engine.drain()

Importing this package does nothing else: both names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from casparian.app.engine import DrainResult, Engine
    from casparian.app.settings import Settings

__all__ = ["DrainResult", "Engine", "Settings"]

_HOMES = {
    "DrainResult": "casparian.app.engine",
    "Engine": "casparian.app.engine",
    "Settings": "casparian.app.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
