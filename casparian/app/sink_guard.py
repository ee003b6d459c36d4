"""Refuses sinks that could not keep their promises, or that hold rows this queue does not know."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from casparian.app.targets import Targets
from casparian.domain.adoption import Owner, owner_of
from casparian.domain.errors import (
    ConfigurationError,
    ForeignInstallationError,
    UnavailableError,
)
from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import KnownPlaces, LastingSink, PublishLedger, Sink
from casparian.domain.publish import Marker, Target

BATCH = 500


class SinkGuard:
    """Looks at each sink once: when a worker starts, or when a plugin first uses it."""

    def __init__(self, targets: Targets, ledger: PublishLedger) -> None:
        self._targets = targets
        self._ledger = ledger
        self._checked: set[int] = set()

    def problem(self, plugin: LivePlugin) -> str:
        """Why a plugin's rows could not be published now, empty where they could: its jobs stay
        queued. When a worker starts, `check` stops it instead."""
        try:
            self.check(plugin)
        except (ConfigurationError, ForeignInstallationError, UnavailableError) as error:
            return str(error)
        return ""

    def check(self, plugin: LivePlugin) -> None:
        """Raise ConfigurationError or ForeignInstallationError for a sink not to be used,
        UnavailableError for one that is not there."""
        for sink in self._targets.configured([plugin]):
            self.check_sink(sink)

    def check_sink(self, sink: Sink) -> None:
        """The same for one sink, wherever it stands."""
        if id(sink) not in self._checked:
            if missing := missing_place(sink, self._ledger):
                raise UnavailableError(missing)
            sink.check()
            self._check_rows(sink)
            self._checked.add(id(sink))

    def _check_rows(self, sink: Sink) -> None:
        for target, marker, owner in owners(sink, self._ledger):
            if owner is not Owner.MINE:
                raise ForeignInstallationError(f"{doubt(target, marker, owner)} {ways_out(marker)}")


def missing_place(sink: Sink, ledger: PublishLedger) -> str:
    """What is to be said where this queue has published to a place that is not there."""
    if not isinstance(sink, LastingSink) or not isinstance(ledger, KnownPlaces):
        return ""
    if not ledger.has_published_to(sink.scheme, sink.location):
        return ""
    return sink.missing()


def owners(
    sink: Sink, ledger: PublishLedger, former: frozenset[str] = frozenset()
) -> Iterator[tuple[Target, Marker, Owner]]:
    """Every slot of a sink with its marker, and whose it is."""
    markers = sink.markers()
    # The markers first, then what became of their jobs: a job is decided before it has one.
    while some := list(islice(markers, BATCH)):
        fates = ledger.fates(sorted({marker.job_id for _, marker in some}))
        for target, marker in some:
            yield target, marker, owner_of(marker, ledger.installation, former, fates)


def doubt(target: Target, marker: Marker, owner: Owner) -> str:
    """Why rows are not taken for this queue's own."""
    if owner is Owner.RESTORED:
        return (
            f"{target} holds rows of job {marker.job_id}, but this queue has not published "
            "them: it was restored from an older copy."
        )
    return (
        f"{target} holds rows of another installation ({marker.installation[:12]}, job "
        f"{marker.job_id}): this queue cannot know whether they are its own."
    )


def ways_out(marker: Marker) -> str:
    return (
        f"Take them over by `casparian adopt {marker.topic}`, restore the queue database that "
        "published them, or point the topic elsewhere."
    )
