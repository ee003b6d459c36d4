"""The TOML configuration as a model: one class per table, unknown keys refused.

Environment variables `CASPARIAN_SECTION__KEY` beat the file; `${NAME}` in a value is taken
from the environment. Relative paths are relative to the file.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from casparian.app.settings_base import Seconds, Section
from casparian.app.settings_environment import overridden
from casparian.app.settings_errors import explain
from casparian.app.settings_file import SettingsFile
from casparian.app.settings_observing import LogSection, MetricsSection, OpenLineageSection
from casparian.app.settings_plugins import PluginSection, PluginsSection, RuleSection
from casparian.app.settings_roots import ArchiveSection, ExpectSection, SourceRootSection
from casparian.domain.errors import ConfigurationError
from casparian.domain.files import DEFAULT_IGNORED_SUFFIXES

PREFIX = "CASPARIAN_"
DEFAULT_FILE = "casparian.toml"
DEFAULT_DATABASE = "casparian_flow.sqlite3"


class DatabaseSection(Section):
    """Where the queue, the catalog and the plugin store live."""

    url: str = ""
    """SQLAlchemy URL; default `sqlite:///casparian_flow.sqlite3`."""
    type: Literal["sqlite3", ""] = ""
    """The older form: the kind of database, with `db_location`."""
    db_location: str = ""
    """The older form: the database's file."""

    @model_validator(mode="after")
    def _one_form(self) -> DatabaseSection:
        if self.url and (self.type or self.db_location):
            raise ValueError("give either url, or type with db_location, not both")
        return self


class QueueSection(Section):
    """The job queue."""

    adapter: str = ""
    """sqlite, or a name from an entry point; default: what the database's URL begins with."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the adapter, where it has any."""
    ageing_s: float = Field(default=60.0, ge=0)
    """A job gains one step of priority for each such wait; 0: strict. Backfills gain none."""


class TransportSection(Section):
    """Messages between the engine and its sidecars."""

    adapter: str = "zmq-ipc"
    """zmq-ipc, zmq-tcp, memory, or a name from an entry point."""
    endpoint: str = ""
    """A socket path (zmq-ipc, default `run/router-{pid}.ipc`) or HOST:PORT (zmq-tcp, port 0
    picks one). `{pid}` stands for this engine's process, `{host}` for this host's name."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the adapter, where it has any."""


class PluginHostSection(Section):
    """What runs the plugins."""

    adapter: str = "subprocess"
    """subprocess, inline, or a name from an entry point."""
    sidecars: int = Field(default=2, ge=1, le=256)
    """Sidecars per plugin, at most."""
    start_s: Seconds = 60.0
    """A sidecar must have loaded its plugin by then, and deployed code on trial, too."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the adapter, where it has any."""


class ScoutSection(Section):
    """Discovery of files."""

    interval_s: Seconds = 5.0
    """Time between two full scans."""
    settle_s: float = Field(default=2.0, ge=0)
    """A file is taken when both its timestamps are older than this."""
    watch: bool = True
    """Listen to the operating system's events as hints between two scans."""
    unpack_members: int = Field(default=10_000, ge=1)
    """Members of one archive, at most; one with more is refused as a whole."""
    unpack_mb: float = Field(default=10_240.0, gt=0)
    """What may come out of one archive or compressed file, in megabytes."""
    unpack_ratio: float = Field(default=200.0, ge=1)
    """What may come out of it, in times of its size; from 16 MB on."""
    ignored_suffixes: tuple[str, ...] = DEFAULT_IGNORED_SUFFIXES
    """Files whose names end so are not looked at."""


class WorkerSection(Section):
    """Claims, leases and retries."""

    lease_s: Seconds = 30.0
    """A job belongs to its worker this long without a renewal."""
    renew_s: Seconds = 10.0
    """Time between two renewals."""
    sweep_s: Seconds = 5.0
    """Time between two looks for jobs whose worker is gone."""
    give_up_s: Seconds = 20.0
    """A worker that could not renew for this long stops touching its jobs."""
    max_attempts: int = Field(default=5, ge=1)
    """Tries of one job, whatever ended them."""
    max_crashes: int = Field(default=3, ge=1)
    """Of these, the ones in which the sidecar died."""
    backoff_s: float = Field(default=10.0, ge=0)
    """Wait after the first failure; doubles up to ten minutes."""
    verify: Literal["stat", "hash", "snapshot"] = "stat"
    """How a job makes sure that it reads its version's content: by the file's stat before
    and after; by hashing it before and after; by reading a hashed private copy."""
    writers: int = Field(default=0, ge=0, le=256)
    """Threads that encode and write rows; 0: one per core."""

    @model_validator(mode="after")
    def _times_fit(self) -> WorkerSection:
        if not self.renew_s < self.give_up_s < self.lease_s:
            raise ValueError(
                "renew_s must be below give_up_s, and give_up_s below lease_s: a worker must "
                f"stop before its lease is over (now {self.renew_s:g}, {self.give_up_s:g}, "
                f"{self.lease_s:g})"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _scale_with_lease(cls, values: Any) -> Any:
        """A lease given alone brings its renewals along."""
        if isinstance(values, dict) and "lease_s" in values:
            try:
                lease = float(values["lease_s"])
            except (TypeError, ValueError):
                return values
            return {"renew_s": lease / 3, "give_up_s": lease * 2 / 3, **values}
        return values


class Settings(Section):
    """The whole configuration. `Settings.load(path)` reads the file."""

    database: DatabaseSection = Field(default_factory=DatabaseSection)
    queue: QueueSection = Field(default_factory=QueueSection)
    transport: TransportSection = Field(default_factory=TransportSection)
    plugin_host: PluginHostSection = Field(default_factory=PluginHostSection)
    scout: ScoutSection = Field(default_factory=ScoutSection)
    worker: WorkerSection = Field(default_factory=WorkerSection)
    archive: ArchiveSection = Field(default_factory=ArchiveSection)
    plugins: PluginsSection = Field(default_factory=PluginsSection)
    log: LogSection = Field(default_factory=LogSection)
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    openlineage: OpenLineageSection = Field(default_factory=OpenLineageSection)
    source_root: list[SourceRootSection] = Field(default_factory=list)
    rule: list[RuleSection] = Field(default_factory=list)
    expect: list[ExpectSection] = Field(default_factory=list)
    plugin: dict[str, PluginSection] = Field(default_factory=dict)
    sinks: dict[str, dict[str, Any]] = Field(default_factory=dict)

    _base: Path = Path()
    _file: SettingsFile = SettingsFile()

    @property
    def base(self) -> Path:
        """The directory that relative paths are relative to."""
        return self._base

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Settings:
        """Read a file (default: `CASPARIAN_CONFIG`, else `casparian.toml`).

        Raises ConfigurationError, one line that says what is wrong, where, and what would
        be right.
        """
        file = Path(path or os.environ.get("CASPARIAN_CONFIG") or DEFAULT_FILE)
        try:
            text = file.read_bytes().decode("utf-8")
            raw = tomllib.loads(text)
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"There is no configuration file {str(file)!r}: name it by --config, or make "
                "one with `casparian init DIR`."
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{file} is not valid TOML: {error}.") from error
        except RecursionError as error:
            raise ConfigurationError(f"{file} is nested too deeply to be read.") from error
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from error
        return cls._of(SettingsFile(str(file), raw, text), file.resolve().parent)

    @classmethod
    def of(cls, raw: Mapping[str, Any], base: Path, name: str = "configuration") -> Settings:
        """Settings from a parsed document; relative paths in it are relative to `base`."""
        return cls._of(SettingsFile(name, dict(raw)), base)

    @classmethod
    def _of(cls, file: SettingsFile, base: Path) -> Settings:
        raw = overridden(file.interpolated(), cls, PREFIX, file.name)
        try:
            settings = cls(**raw)
        except ValidationError as error:
            raise ConfigurationError(explain(error, cls, file, prefix=PREFIX)) from error
        settings._base, settings._file = base, file
        return settings

    # --- resolved values ------------------------------------------------------------------

    def path(self, text: str) -> Path:
        """A path of the file, absolute. `~` is the home directory."""
        return Path(os.path.abspath(self._base / Path(text).expanduser()))

    def place(self, *location: int | str) -> str:
        """`FILE, line N: KEY`, for an error about a key."""
        return self._file.place(*location)

    @property
    def document(self) -> SettingsFile:
        """What was read, for errors in tables that other models describe."""
        return self._file

    @property
    def database_url(self) -> str:
        """The URL with the path of an SQLite file made absolute."""
        section = self.database
        if section.url and not section.url.startswith("sqlite:///"):
            return section.url
        location = section.url.removeprefix("sqlite:///") or section.db_location
        return f"sqlite:///{self.path(location or DEFAULT_DATABASE)}"

    @property
    def sandboxed(self) -> bool:
        """Whether the sandbox of this project may be around plugins: hosts of others can use it."""
        return self.plugin_host.adapter != "inline" and self.plugins.sandbox != "off"

    @property
    def plugin_directory(self) -> Path:
        return self.path(self.plugins.directory)

    @property
    def key_directory(self) -> Path:
        return self.path(self.plugins.keys)
