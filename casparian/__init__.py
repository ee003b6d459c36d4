"""Casparian Flow: files dropped into a directory become rows in a database, exactly once.

    from casparian import Engine, Settings

    engine = Engine(Settings.load("casparian.toml"))
    engine.drain()

Importing this package does nothing else: each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from casparian.app.engine import Engine
    from casparian.app.results import DrainResult, FailedJob, RunResult
    from casparian.app.settings import Settings

__all__ = ["DrainResult", "Engine", "FailedJob", "RunResult", "Settings"]

_HOMES = {
    "DrainResult": "casparian.app.results",
    "Engine": "casparian.app.engine",
    "FailedJob": "casparian.app.results",
    "RunResult": "casparian.app.results",
    "Settings": "casparian.app.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
