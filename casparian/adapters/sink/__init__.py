"""Adapters of the port Sink."""

from __future__ import annotations

from casparian.domain.ports import SinkFactory


def builtin_factories() -> dict[str, SinkFactory]:
    """The sinks that need no extra, by URI scheme. Imported when asked for, not before.

    `memory://` is not among them: it needs a store that its user shares.
    """
    from casparian.adapters.sink.parquet import ParquetSinkFactory
    from casparian.adapters.sink.sqlite import SqliteSinkFactory

    factories: list[SinkFactory] = [ParquetSinkFactory(), SqliteSinkFactory()]
    return {factory.scheme: factory for factory in factories}
