"""The tables about plugins: where they come from, which files they get, where their rows go."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from casparian.app.settings_base import Seconds, Section
from casparian.domain.plugins import Duplicates, Mode


class PluginsSection(Section):
    """Where plugins come from."""

    directory: str = "plugins"
    """Each `NAME.py` in it is a plugin."""
    environments: str = "run/environments"
    """Where the packages are kept that plugins ask for in script metadata (PEP 723)."""
    require_signature: bool = False
    """true: only code that was deployed with a signature runs, and `directory` is not read."""
    keys: str = "keys"
    """Directory of the deploy keys, which only the engine's user can look into."""
    sandbox: Literal["auto", "required", "off"] = "auto"
    """Layers around a sidecar: auto takes those that the kernel has; required does not start
    where one is missing; off leaves the limits and a cleared environment."""


class RuleSection(Section):
    """A pattern and the tag it gives."""

    pattern: str
    """Glob on the path below its root, with / on every system: * ? [] within a name, ** across."""
    tag: str = Field(min_length=1)
    """The tag."""
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    """Higher first."""


class TopicSection(Section):
    """Where the rows of one topic go; `"*"` is every topic that has no table of its own."""

    sink: str = Field(min_length=1)
    """parquet://DIR, sqlite://FILE/TABLE, postgresql://SCHEMA.TABLE or mssql://SCHEMA.TABLE
    (under "*", a table must contain {topic})."""
    mode: Mode = Mode.REPLACE
    """replace: a corrected file replaces its earlier rows; append: each version's rows stay."""
    duplicates: Duplicates = Duplicates.PROCESS
    """process: files with the same content are each published; skip: one of them is. The same for
    all topics of a plugin, which then have one mode."""


class PluginSection(Section):
    """One plugin: NAME is its file's name without .py."""

    tags: tuple[str, ...] = ()
    """Files with any of these tags are its jobs."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Handed to configure()."""
    timeout_s: Seconds = 3600.0
    """Time for one file."""
    memory_mb: int = Field(default=2048, ge=128)
    """Memory of one sidecar."""
    cpu_s: int = Field(default=3600, ge=1)
    """CPU time for one file."""
    max_rejects: int | float = 0.01
    """Rejected rows beyond which a job fails: a count, or a share of the rows."""
    allow_read: tuple[str, ...] = ()
    """Files and directories that the sandbox lets it read, besides its input."""
    allow_network: bool = False
    """The sandbox lets it use the network."""
    allow_subprocess: bool = False
    """The sandbox lets it start programs, which are in the same sandbox."""
    topics: dict[str, TopicSection] = Field(default_factory=dict)
    """A table per topic."""
