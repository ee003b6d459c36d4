"""Which sink a topic's rows go to: URIs resolved to targets, sinks opened once per location."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from casparian.app.settings_errors import nearest
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import EVERY_TOPIC, REJECTS_TOPIC, LivePlugin, Mode, PluginConfig
from casparian.domain.ports import Sink, SinkFactory
from casparian.domain.publish import Target


class Targets:
    """The sink factories by URI scheme, and the sinks opened so far."""

    def __init__(self, factories: Mapping[str, SinkFactory]) -> None:
        self._factories = dict(factories)
        self._sinks: dict[tuple[str, str], Sink] = {}
        self._parsed: dict[tuple[str, str, str], Target] = {}
        self._lock = threading.Lock()

    @property
    def schemes(self) -> list[str]:
        """The schemes that a sink's URI can have."""
        return sorted(self._factories)

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        """The target of a topic. Raises ConfigurationError for a URI that is none."""
        return self._factory(uri).parse(uri, base, plugin, topic)

    def absolute(self, uri: str, base: str) -> str:
        """The URI as workers everywhere can use it, whatever their directory."""
        return self._factory(uri).absolute(uri, base)

    def _factory(self, uri: str) -> SinkFactory:
        scheme, separator, _ = uri.partition("://")
        if not separator or scheme not in self._factories:
            raise ConfigurationError(
                f"The sink {uri!r} has no known scheme; known: "
                f"{', '.join(self.schemes)}, as in parquet://./output."
                f"{nearest(scheme, self.schemes) if separator else ''}"
            )
        return self._factories[scheme]

    def of_topic(self, config: PluginConfig, topic: str) -> tuple[Target, Mode] | None:
        """Where a topic goes by today's configuration; None where no table covers it."""
        covering = config.topic_config(topic)
        if topic == REJECTS_TOPIC and covering is None and config.topics:
            covering = config.topics[0]
        if covering is None:
            return None
        key = (covering.sink, config.plugin, topic)
        target = self._parsed.get(key)
        if target is None:
            target = self._parsed[key] = self.parse(covering.sink, "/", config.plugin, topic)
        return target, covering.mode

    def sink(self, target: Target) -> Sink:
        """The sink of a target's location, opened on first use."""
        key = (target.scheme, target.location)
        with self._lock:
            sink = self._sinks.get(key)
            if sink is None:
                factory = self._factories.get(target.scheme)
                if factory is None:
                    raise ConfigurationError(
                        f"The sink scheme {target.scheme!r} of {target} is not installed here."
                    )
                sink = self._sinks[key] = factory.open(target.location)
            return sink

    def opened(self) -> list[Sink]:
        with self._lock:
            return list(self._sinks.values())

    def configured(self, plugins: Iterable[LivePlugin]) -> list[Sink]:
        """The sinks of every configured topic, each once."""
        sinks: dict[tuple[str, str], Sink] = {}
        for plugin in plugins:
            for topic in plugin.config.topics:
                # Under "*" the location is the same for every topic.
                name = "any" if topic.topic == EVERY_TOPIC else topic.topic
                target = self.parse(topic.sink, "/", plugin.name, name)
                sinks[target.scheme, target.location] = self.sink(target)
        return list(sinks.values())
