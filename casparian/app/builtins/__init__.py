"""Plugins that are part of the engine. They run no files."""

from __future__ import annotations

from casparian.app.builtins.system_deployer import SystemDeployer

__all__ = ["SystemDeployer"]
