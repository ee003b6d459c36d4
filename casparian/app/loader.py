"""PluginRegistry: the plugins in a directory. Files are read and hashed, never imported here."""

from __future__ import annotations

from pathlib import Path

from casparian.domain.deployments import LARGEST_PLUGIN_BYTES
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import PLUGIN_NAME, PluginManifest, code_hash


class PluginRegistry:
    """The `.py` files of a plugin directory; names starting with `_` or `.` are left out."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """The plugins that are there; empty where there is no directory."""
        if not self.directory.is_dir():
            return []
        stems = (p.stem for p in self.directory.glob("*.py") if p.is_file())
        return sorted(s for s in stems if PLUGIN_NAME.fullmatch(s) and not s.startswith("_"))

    def manifest(self, name: str) -> PluginManifest:
        """The code of one plugin. Raises ConfigurationError naming the plugins there are."""
        file = self.directory / f"{name}.py"
        try:
            code = file.read_bytes()
        except FileNotFoundError as error:
            known = ", ".join(self.names()) or "none"
            raise ConfigurationError(
                f"[plugin.{name}] needs the file {file}, which is not there; "
                f"plugins in {self.directory}: {known}."
            ) from error
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from error
        if len(code) > LARGEST_PLUGIN_BYTES:
            raise ConfigurationError(
                f"{file} has {len(code)} bytes; a plugin may have {LARGEST_PLUGIN_BYTES}."
            )
        return PluginManifest(code_hash(code), name, code, "directory")
