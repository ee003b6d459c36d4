"""What a plugin is given: its job, and the ways to publish, reject and log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from casparian.sdk.plugin import Job, JobFields

if TYPE_CHECKING:
    from casparian.sdk.runtime import Runtime


class Context(JobFields):
    """What the plugin sees (`PluginContext`)."""

    def __init__(self, runtime: Runtime, plugin: str) -> None:
        self._runtime = runtime
        self.logger = _JobLogger(logging.getLogger(f"casparian.plugin.{plugin}"), self)

    @property
    def job(self) -> Job:
        job = self._runtime.session.current
        if job is None:
            raise RuntimeError("there is no current job outside execute()")
        return Job(job.job_id, job.attempt, job.file_version_id, job.content_hash, job.path)

    def publish(self, topic: str, data: Any) -> int:
        return self._runtime.publish(topic, data)

    def reject(
        self,
        raw: bytes | str,
        reason: str,
        *,
        line: int | None = None,
        offset: int | None = None,
        topic: str | None = None,
    ) -> None:
        self._runtime.reject(raw, reason, line, offset, topic)


class _JobLogger(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, logger: logging.Logger, context: Context) -> None:
        super().__init__(logger, {})
        self._context = context

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        job = self._context._runtime.session.current
        if job is None:
            return msg, kwargs
        return (
            f"[job={job.job_id} attempt={job.attempt} version={job.file_version_id} "
            f"path={job.path!r}] {msg}",
            kwargs,
        )
