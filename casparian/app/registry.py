"""The adapters by port and name: those built in, then those of entry points, then overrides.

A registry is a value: made per engine, copied with additions, never global.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

from casparian.adapters.queue import SCHEMES, QueueStores
from casparian.app.adapters import BUILT_IN, Adapter, built_in, given, of_entry_points, pick
from casparian.app.settings import Settings
from casparian.app.settings_errors import nearest
from casparian.domain.errors import ConfigurationError
from casparian.domain.ports import Clock, PluginHost, Sink, SinkFactory, Transport
from casparian.domain.publish import Target

GROUPS = {
    "queues": "casparian.queues",
    "transports": "casparian.transports",
    "plugin_hosts": "casparian.plugin_hosts",
    "sinks": "casparian.sinks",
}
_ON_SERVERS = ("mssql", "postgresql")
"""Sinks whose tables may lie on the server that the queue is on."""
DEFAULT_ENDPOINTS = {"zmq-ipc": "run/router-{pid}.ipc", "memory": "casparian-{pid}"}


@dataclass(frozen=True, slots=True)
class Registry:
    """Adapters by name for each port that TOML picks.

    What an adapter's factory is called with, apart from `own_settings`:

    - queues: `(settings, clock, create)`; returns an object with the attributes of
      `QueueStores`. `create` False: UnavailableError where there is no database yet.
    - transports: `(settings)`; returns a Transport. `{pid}` in the endpoint is filled in.
    - plugin_hosts: `(settings, on_exit)`; returns a PluginHost.
    - sinks: nothing; returns a SinkFactory.
    """

    queues: Mapping[str, Adapter]
    transports: Mapping[str, Adapter]
    plugin_hosts: Mapping[str, Adapter]
    sinks: Mapping[str, Adapter]

    @staticmethod
    def default() -> Registry:
        """The built-in adapters and those that installed packages register."""
        known = {
            "queues": {name: built_in(name, lambda: _built_in_queue) for name in SCHEMES},
            "transports": {
                "zmq-ipc": built_in("zmq-ipc", lambda: _zmq_ipc),
                "zmq-tcp": built_in("zmq-tcp", _zmq_tcp),
                "memory": built_in("memory", lambda: _memory_transport),
            },
            "plugin_hosts": {
                "subprocess": built_in("subprocess", lambda: _subprocess_host),
                "inline": built_in("inline", lambda: _inline_host),
            },
            "sinks": _built_in_sinks(),
        }
        return Registry(**{k: of_entry_points(group, known[k]) for k, group in GROUPS.items()})

    def with_sinks(self, factories: Mapping[str, Any]) -> Registry:
        """A copy in which these stand for their schemes: factories, or what makes them."""
        added = {scheme: given(scheme, factory) for scheme, factory in factories.items()}
        return replace(self, sinks={**self.sinks, **added})

    # --- what the configuration picks -----------------------------------------------------

    def stores(self, settings: Settings, clock: Clock, create: bool = True) -> QueueStores:
        """The database of `[database] url`, opened by the adapter of `[queue]`.

        Raises ConfigurationError for an adapter or a url that is none.
        """
        before, separator, _ = settings.database_url.partition("://")
        scheme = before.partition("+")[0]
        name = settings.queue.adapter
        if not separator:
            # What it is instead may be a password.
            raise ConfigurationError(
                f"{settings.place('database', 'url')} is no url: write "
                "sqlite:///casparian_flow.sqlite3, or one that begins with another of "
                f"{', '.join(sorted(self.queues))}."
            )
        if not name and scheme not in self.queues:
            raise ConfigurationError(
                # The rest of the url may hold a password.
                f"{settings.place('database', 'url')}: there is no queue adapter for a url that "
                f"begins with {scheme!r}; known: {', '.join(sorted(self.queues))}."
                f"{nearest(scheme, self.queues)}"
            )
        adapter = pick(self.queues, name or scheme, settings.place("queue", "adapter"))
        if adapter.name in SCHEMES and adapter.name != scheme:
            raise ConfigurationError(
                f"{settings.place('queue', 'adapter')} = {name!r} does not fit the database url, "
                f"which begins with {scheme}://; leave the key out, and the url says which."
            )
        own = adapter.own_settings(
            settings.queue.settings, settings.document, ("queue", "settings")
        )
        return cast(QueueStores, adapter.load()(settings, clock, create, **own))

    def transport(self, settings: Settings, process: str) -> Transport:
        """`process` is what stands for `{pid}` in the endpoint, this host's name for `{host}`."""
        section = settings.transport
        place = settings.place("transport", "adapter")
        adapter = pick(self.transports, section.adapter, place)
        own = adapter.own_settings(section.settings, settings.document, ("transport", "settings"))
        endpoint = section.endpoint or DEFAULT_ENDPOINTS.get(section.adapter, "")
        endpoint = endpoint.replace("{pid}", process).replace("{host}", socket.gethostname())
        filled = section.model_copy(update={"endpoint": endpoint})
        settings = settings.model_copy(update={"transport": filled})
        return cast(Transport, adapter.load()(settings, **own))

    def host(self, settings: Settings, on_exit: Callable[[], None]) -> PluginHost:
        section = settings.plugin_host
        if settings.plugins.sandbox == "required" and section.adapter == "inline":
            raise ConfigurationError(
                f'{settings.place("plugins", "sandbox")} = "required" needs plugins in processes '
                'of their own: write plugin_host.adapter = "subprocess".'
            )
        place = settings.place("plugin_host", "adapter")
        adapter = pick(self.plugin_hosts, section.adapter, place)
        own = adapter.own_settings(section.settings, settings.document, ("plugin_host", "settings"))
        return cast(PluginHost, adapter.load()(settings, on_exit, **own))

    def sink_factories(self, settings: Settings) -> dict[str, SinkFactory]:
        """By URI scheme, each loaded when it is first used; one with a table `[sinks.NAME]` now.

        Raises ConfigurationError for a table of a scheme that is unknown, or that is wrong.
        """
        for name in settings.sinks:
            if name not in self.sinks:
                raise ConfigurationError(
                    f"{settings.place('sinks', name)}: there is no sink {name!r}; known: "
                    f"{', '.join(sorted(self.sinks))}.{nearest(name, self.sinks)}"
                )
        made = {name: _LazySinkFactory(a, settings) for name, a in self.sinks.items()}
        for name in settings.sinks:
            made[name].prepare()
        return dict(made)


class _LazySinkFactory:
    """A SinkFactory that is loaded, and made with its settings, when it is first used."""

    def __init__(self, adapter: Adapter, settings: Settings) -> None:
        self.scheme = adapter.name
        self._adapter = adapter
        self._settings = settings

    @cached_property
    def _factory(self) -> SinkFactory:
        found = self._adapter.load()
        raw = {**self._shared_url(), **self._settings.sinks.get(self.scheme, {})}
        own = self._adapter.own_settings(raw, self._settings.document, ("sinks", self.scheme))
        # An object that can open sinks is the factory; a class or a function makes it.
        if isinstance(found, type) or not hasattr(found, "open"):
            found = found(**own)
        return cast(SinkFactory, found)

    def _shared_url(self) -> dict[str, str]:
        """The url of the queue's database, for a built-in sink of the same kind of server."""
        url = self._settings.database_url
        same = url.partition("://")[0].partition("+")[0] == self.scheme
        built_in_one = self._adapter.origin == BUILT_IN and self.scheme in _ON_SERVERS
        return {"url": url} if same and built_in_one else {}

    def prepare(self) -> None:
        """Load it now. Raises ConfigurationError."""
        _ = self._factory

    def absolute(self, uri: str, base: str) -> str:
        return self._factory.absolute(uri, base)

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        return self._factory.parse(uri, base, plugin, topic)

    def open(self, location: str) -> Sink:
        return self._factory.open(location)


# --- what is built in -------------------------------------------------------------------------


def _built_in_queue(settings: Settings, clock: Clock, create: bool) -> QueueStores:
    from casparian.adapters.queue import open_url

    return open_url(settings.database_url, clock, create)


def _built_in_sinks() -> dict[str, Adapter]:
    def parquet() -> Any:
        from casparian.adapters.sink.parquet import ParquetSinkFactory

        return ParquetSinkFactory

    def sqlite() -> Any:
        from casparian.adapters.sink.sqlite import SqliteSinkFactory

        return SqliteSinkFactory

    def postgresql() -> Any:
        from casparian.adapters.sink.postgresql import PostgresqlSinkFactory

        return PostgresqlSinkFactory

    def mssql() -> Any:
        from casparian.adapters.sink.mssql import MssqlSinkFactory

        return MssqlSinkFactory

    made = {"parquet": parquet, "sqlite": sqlite, "postgresql": postgresql, "mssql": mssql}
    return {name: built_in(name, load) for name, load in made.items()}


def _zmq_ipc(settings: Settings) -> Transport:
    from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport

    return ZmqIpcTransport(str(settings.path(settings.transport.endpoint)))


def _zmq_tcp() -> Any:
    from casparian.adapters.transport.curve import KnownClients, read_pair
    from casparian.adapters.transport.curve_settings import TcpSettings
    from casparian.adapters.transport.zmq_tcp import ZmqTcpTransport

    def make(settings: Settings, own_settings: TcpSettings) -> Transport:
        key, clients = own_settings.key, own_settings.clients
        return ZmqTcpTransport(
            settings.transport.endpoint or "127.0.0.1:5570",
            key=read_pair(str(settings.path(key))) if key else None,
            clients=KnownClients(str(settings.path(clients)) if clients else ""),
        )

    make.settings_model = TcpSettings  # type: ignore[attr-defined]
    return make


def _memory_transport(settings: Settings) -> Transport:
    from casparian.adapters.transport.memory import MemoryTransport

    if settings.plugin_host.adapter == "subprocess":
        raise ConfigurationError(
            'transport.adapter = "memory" does not leave the process: it needs '
            'plugin_host.adapter = "inline".'
        )
    return MemoryTransport(settings.transport.endpoint)


def _subprocess_host(settings: Settings, on_exit: Callable[[], None]) -> PluginHost:
    from casparian.adapters.host.subprocess import SubprocessHost

    return SubprocessHost(on_exit, settings.plugin_host.sidecars, sandbox=settings.plugins.sandbox)


def _inline_host(settings: Settings, on_exit: Callable[[], None]) -> PluginHost:
    from casparian.adapters.host.inline import InlineHost
    from casparian.adapters.transport import connection_for

    return InlineHost(on_exit, connection_for)
