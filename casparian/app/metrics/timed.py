"""Ports whose calls are timed. An engine without metrics has none of this in its way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar, cast

from casparian.domain.observer import Stage
from casparian.domain.ports import PublishLedger, Sink, SinkFactory

Took = Callable[[Stage, float], None]
P = TypeVar("P")

LEDGER = {"decide": Stage.DECIDE, "complete": Stage.COMPLETE}
SINK = {"sync": Stage.SYNC, "promote": Stage.PROMOTE}


class _Timed:
    """Stands for a port: the named calls are timed, everything else is the port's own."""

    def __init__(self, port: Any, stages: Mapping[str, Stage], took: Took) -> None:
        self._port = port
        for name, stage in stages.items():
            setattr(self, name, _timing(getattr(port, name), stage, took))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


class _TimedFactory:
    """A sink factory whose sinks are timed."""

    def __init__(self, factory: SinkFactory, took: Took) -> None:
        self._factory = factory
        self._took = took

    def open(self, location: str) -> Sink:
        return _timed(self._factory.open(location), SINK, self._took)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._factory, name)


def timed_ledger(ledger: PublishLedger, took: Took) -> PublishLedger:
    return _timed(ledger, LEDGER, took)


def timed_sinks(factories: Mapping[str, SinkFactory], took: Took) -> dict[str, SinkFactory]:
    """The same factories by URI scheme; the sinks they open are timed."""
    return {
        scheme: cast(SinkFactory, _TimedFactory(factory, took))
        for scheme, factory in factories.items()
    }


def _timed(port: P, stages: Mapping[str, Stage], took: Took) -> P:
    return cast(P, _Timed(port, stages, took))


def _timing(call: Callable[..., Any], stage: Stage, took: Took) -> Callable[..., Any]:
    @wraps(call)
    def timing(*arguments: Any, **named: Any) -> Any:
        began = time.monotonic()
        try:
            return call(*arguments, **named)
        finally:
            took(stage, time.monotonic() - began)

    return timing
