"""The tables about what the engine tells of itself: its log, its metrics, its lineage events."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from casparian.app.settings_base import Seconds, Section


class LogSection(Section):
    """Logs of the engine. An option of its command line beats the key."""

    format: Literal["console", "json", ""] = ""
    """console or json; default: console on a terminal, json elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    file: str = ""
    """A file to log to instead of standard error. `{pid}` stands for the process: engines that
    run at the same time need a file each."""
    max_mb: float = Field(default=10.0, gt=0)
    """The size at which the file becomes FILE.1, and a new one begins."""
    backups: int = Field(default=5, ge=1, le=1000)
    """How many such older files are kept."""


class MetricsSection(Section):
    """Metrics for Prometheus at /metrics, and the state of the engine at /health and /ready."""

    listen: str = ""
    """HOST:PORT, or a port alone, which is then on 127.0.0.1; port 0 picks one. Empty: off.
    Who can reach it reads names of plugins and topics: other than loopback is for a network
    you trust."""

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, listen: str) -> str:
        if listen:
            _address(listen)
        return listen

    def address(self) -> tuple[str, int]:
        """Host and port of `listen`, which is not empty."""
        return _address(self.listen)


def _address(listen: str) -> tuple[str, int]:
    """Raises ValueError, without the value: it may come from the environment."""
    host, _, port = listen.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("is no address: write 127.0.0.1:9464")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


class OpenLineageSection(Section):
    """Run events for a lineage catalog by the OpenLineage standard; its own extra installs them."""

    transport: Literal["file", "http", "console", ""] = ""
    """file, http or console (standard output). Empty: off."""
    path: str = ""
    """file: where a line of JSON is appended for each event."""
    url: str = ""
    """http: the collector, such as http://127.0.0.1:5000."""
    endpoint: str = "api/v1/lineage"
    """http: the path below the collector's URL."""
    api_key: str = ""
    """http: sent as a bearer token; `${NAME}` takes it from the environment."""
    timeout_s: Seconds = 5.0
    """http: how long one try may take."""
    namespace: str = Field(default="casparian", min_length=1)
    """The namespace of the jobs, which are the plugins."""
    most_waiting: int = Field(default=1000, ge=1)
    """Events that may wait for a collector; what does not fit is dropped, counted and logged."""

    @model_validator(mode="after")
    def _has_a_place(self) -> OpenLineageSection:
        if self.transport == "file" and not self.path:
            raise ValueError('transport = "file" needs path, the file to append to')
        if self.transport == "http" and not self.url.startswith(("http://", "https://")):
            raise ValueError('transport = "http" needs url, such as http://127.0.0.1:5000')
        return self
