"""The plugins that ship, without an engine."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from casparian.sdk import CaspPlugin
from casparian.sdk.loader import load_handler
from casparian.sdk.testing import PluginResult, run_plugin

PLUGINS = Path(__file__).parents[2] / "plugins"


@cache
def handler(plugin: str) -> type[CaspPlugin]:
    return type(load_handler(plugin, (PLUGINS / f"{plugin}.py").read_bytes()))


def run(plugin: str, file: Path, settings: dict[str, Any] | None = None) -> PluginResult:
    return run_plugin(handler(plugin), file, settings)


class Reject(NamedTuple):
    line: int
    offset: int | None
    raw: bytes
    reason: str


def rejects(result: PluginResult, topic: str = "output") -> list[Reject]:
    """What was put aside of a topic, and of no other."""
    assert set(result.rejects) <= {topic}
    rows = result.rejects[topic].to_pylist() if result.rejects else []
    assert {row.pop("topic") for row in rows} <= {topic}
    return [Reject(**row) for row in rows]
