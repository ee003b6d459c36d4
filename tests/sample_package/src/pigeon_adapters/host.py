"""A plugin host named `pigeon`: the processes of the `subprocess` host, and a count of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from casparian import Settings
from casparian.adapters.host.subprocess import SubprocessHost
from casparian.domain.ports import SidecarSpec


class HostSettings(BaseModel):
    """Where starts are noted."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    note: str = Field(min_length=1)
    """A file that gets a line with the plugin's name for each start."""


class PigeonHost(SubprocessHost):
    settings_model: ClassVar[type[BaseModel]] = HostSettings

    def __init__(
        self, settings: Settings, on_exit: Callable[[], None], own_settings: HostSettings
    ) -> None:
        super().__init__(on_exit, settings.plugin_host.sidecars)
        self._note = settings.path(own_settings.note)

    def start(self, spec: SidecarSpec) -> None:
        with self._note.open("a") as file:
            file.write(f"{spec.plugin.name}\n")
        super().start(spec)
