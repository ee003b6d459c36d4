"""Refuses sinks that could not keep their promises, or that hold rows this queue does not know."""

from __future__ import annotations

import structlog

from casparian.app.targets import Targets
from casparian.domain.errors import ConfigurationError, ForeignInstallationError
from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import PublishLedger, Sink

log = structlog.get_logger("casparian.worker")


class SinkGuard:
    """Looks at each sink once: when a worker starts, or when a plugin first uses it."""

    def __init__(self, targets: Targets, ledger: PublishLedger) -> None:
        self._targets = targets
        self._ledger = ledger
        self._checked: set[int] = set()

    def usable(self, plugin: LivePlugin) -> bool:
        """False, with an error in the log, for a plugin whose rows could not be published: its
        jobs stay queued. When a worker starts, `check` stops it instead."""
        try:
            self.check(plugin)
        except (ConfigurationError, ForeignInstallationError) as error:
            log.error("plugin not run", plugin=plugin.name, error=str(error))
            return False
        return True

    def check(self, plugin: LivePlugin) -> None:
        """Raise ConfigurationError or ForeignInstallationError for a sink not to be used."""
        for sink in self._targets.configured([plugin]):
            if id(sink) not in self._checked:
                sink.check()
                self._check_rows(sink)
                self._checked.add(id(sink))

    def _check_rows(self, sink: Sink) -> None:
        highest = self._ledger.highest_job_id()
        for target, marker in sink.markers():
            if marker.installation != self._ledger.installation:
                raise ForeignInstallationError(
                    f"{target} holds rows of another installation "
                    f"({marker.installation[:12]}, job {marker.job_id}): this queue cannot "
                    "know whether they are its own. Point the topic elsewhere, or restore "
                    "the queue database that published them."
                )
            if marker.job_id > highest:
                raise ForeignInstallationError(
                    f"{target} holds rows of job {marker.job_id}, but this queue's highest "
                    f"job is {highest}: it was restored from an older backup. Restore a "
                    "newer one, or point the topic elsewhere."
                )
