"""The contract between the engine and a plugin's `Handler` class."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Job:
    """The job a plugin is at. `path` is the file's path below its source root."""

    job_id: int
    attempt: int
    file_version_id: int
    content_hash: str
    path: str


class JobFields(ABC):
    """The current job's fields, for contexts that have a `job`."""

    @property
    @abstractmethod
    def job(self) -> Job:
        """The current job; raises RuntimeError outside `execute`."""

    @property
    def job_id(self) -> int:
        return self.job.job_id

    @property
    def attempt(self) -> int:
        return self.job.attempt

    @property
    def file_version_id(self) -> int:
        return self.job.file_version_id

    @property
    def content_hash(self) -> str:
        return self.job.content_hash

    @property
    def path(self) -> str:
        return self.job.path


class PluginContext(Protocol):
    """What `configure` is handed; it always shows the current job."""

    @property
    def job(self) -> Job:
        """The current job; raises RuntimeError outside `execute`."""
        ...

    @property
    def job_id(self) -> int: ...

    @property
    def attempt(self) -> int: ...

    @property
    def file_version_id(self) -> int: ...

    @property
    def content_hash(self) -> str: ...

    @property
    def path(self) -> str: ...

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Lines written here carry job, attempt, file version and path."""
        ...

    def publish(self, topic: str, data: Any) -> int:
        """See `BasePlugin.publish`."""
        ...

    def reject(
        self,
        raw: bytes | str,
        reason: str,
        *,
        line: int | None = None,
        offset: int | None = None,
        topic: str | None = None,
    ) -> None:
        """See `BasePlugin.reject`."""
        ...


@runtime_checkable
class CaspPlugin(Protocol):
    """What a `Handler` must be. `BasePlugin` is a convenience, not a must."""

    def configure(self, ctx: PluginContext, config: Mapping[str, Any]) -> None: ...

    def execute(self, file_path: str) -> Any: ...


class BasePlugin:
    """Base class of plugins: keeps the context and publishes through it."""

    _ctx: PluginContext
    config: Mapping[str, Any]

    def configure(self, ctx: PluginContext, config: Mapping[str, Any]) -> None:
        """Called once per sidecar, before its first job. `config` is the plugin's `settings`."""
        self._ctx = ctx
        self.config = config

    @property
    def ctx(self) -> PluginContext:
        return self._ctx

    def execute(self, file_path: str) -> Any:
        """Read the file and publish its rows; raise to fail the file."""
        raise NotImplementedError(f"{type(self).__name__} has no execute(self, file_path)")

    def publish(self, topic: str, data: Any) -> int:
        """Send rows to a topic; returns how many. May be called many times per topic.

        `data`: a pyarrow Table, RecordBatch or RecordBatchReader, anything with
        `__arrow_c_stream__`, a pandas DataFrame, or an iterable of dicts. Batches are
        streamed, never gathered; nothing is visible to readers before the whole file is done.
        Raises TypeError or pyarrow's errors for data that has no Arrow form.
        """
        return self._ctx.publish(topic, data)

    def reject(
        self,
        raw: bytes | str,
        reason: str,
        *,
        line: int | None = None,
        offset: int | None = None,
        topic: str | None = None,
    ) -> None:
        """Put one row aside that cannot be published, instead of failing the whole file.

        `raw`: the row as it stands in the file, text as UTF-8. `reason`: what is wrong with it,
        a sentence for a person. `line` counts from 1, `offset` is in bytes from 0: where the row
        begins. `topic`: where it would have gone. Rejects are published with the file's rows, to
        the topic `_rejects`; beyond the plugin's `max_rejects` the engine fails the file.
        Raises TypeError or ValueError for what cannot be a reject.
        """
        self._ctx.reject(raw, reason, line=line, offset=offset, topic=topic)
