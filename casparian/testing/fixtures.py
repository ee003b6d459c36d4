"""Fixtures for whoever tests plugins with pytest; installed with the package, nothing to import.

def test_amounts(run_plugin):
    result = run_plugin("plugins/orders.py", "samples/orders.csv", {"delimiter": ";"})
    assert result.tables["orders"].num_rows == 3
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from casparian.sdk.plugin import CaspPlugin
    from casparian.sdk.testing import PluginResult


class RunPlugin(Protocol):
    """As `casparian.sdk.testing.run_plugin`; the plugin may also be named by its file."""

    def __call__(
        self,
        plugin: type[CaspPlugin] | str | os.PathLike[str],
        path: str | os.PathLike[str],
        settings: Mapping[str, Any] | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
    ) -> PluginResult: ...


@pytest.fixture(name="run_plugin")
def run_plugin_fixture() -> RunPlugin:
    """Runs a plugin on a file without an engine, and returns its tables and rejects by topic."""
    from casparian.sdk.testing import run_plugin

    def run(
        plugin: type[CaspPlugin] | str | os.PathLike[str],
        path: str | os.PathLike[str],
        settings: Mapping[str, Any] | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
    ) -> PluginResult:
        handler = plugin if isinstance(plugin, type) else _handler_of(Path(plugin))
        return run_plugin(handler, path, settings, root=root)

    return run


def _handler_of(file: Path) -> type[CaspPlugin]:
    """The class of a plugin's file, loaded as a sidecar loads it."""
    from casparian.sdk.loader import load_handler

    return type(load_handler(file.stem, file.read_bytes(), str(file)))
