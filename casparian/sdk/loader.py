"""From a plugin's source to its `Handler`: the class is found, checked and made, nothing else."""

from __future__ import annotations

import inspect
import linecache
import sys
import types
from typing import Any

from casparian.domain.errors import CasparianError
from casparian.sdk.plugin import CaspPlugin


class PluginLoadError(CasparianError):
    """The plugin's code cannot be imported, or holds no usable `Handler`."""


def load_handler(name: str, code: bytes, file_name: str | None = None) -> CaspPlugin:
    """Run the module's code and return an instance of its `Handler`.

    The code comes as bytes, not as a path: what runs is what was hashed. Raises
    PluginLoadError saying what is wrong with it.
    """
    file_name = file_name or f"<plugin {name}>/{name}.py"
    # Under its bare name, a plugin called json would stand in for the standard library's.
    module = types.ModuleType(f"casparian_plugin_{name}")
    module.__file__ = file_name
    try:
        source = code.decode("utf-8-sig")
        # So that tracebacks show the lines, although no file is there.
        linecache.cache[file_name] = (len(code), None, source.splitlines(True), file_name)
        sys.modules[module.__name__] = module
        exec(compile(source, file_name, "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        # Also sys.exit(): a script that was saved as a plugin.
        raise PluginLoadError(
            f"plugin {name} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return make_handler(name, getattr(module, "Handler", None))


def make_handler(name: str, handler: Any) -> CaspPlugin:
    """An instance of a `Handler` class, checked against `CaspPlugin`."""
    if not inspect.isclass(handler):
        raise PluginLoadError(
            f"plugin {name} defines no class named Handler; "
            "write `class Handler(BasePlugin)` with `def execute(self, file_path)`"
        )
    try:
        instance = handler()
    except BaseException as error:
        raise PluginLoadError(
            f"Handler() of plugin {name} failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(instance, CaspPlugin):
        raise PluginLoadError(
            f"Handler of plugin {name} must have configure(self, ctx, config) and "
            "execute(self, file_path); deriving from casparian.sdk.BasePlugin gives both"
        )
    return instance
