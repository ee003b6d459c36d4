"""The adapters by port and name: those built in, then those of entry points, then overrides.

A registry is a value: made per engine, copied with additions, never global.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

from casparian.adapters.sink import builtin_factories
from casparian.app.settings import Settings
from casparian.domain.errors import ConfigurationError
from casparian.domain.ports import PluginHost, SinkFactory, Transport

TransportFactory = Callable[[Settings], Transport]
HostFactory = Callable[[Settings, Callable[[], None]], PluginHost]

GROUPS = {
    "sinks": "casparian.sinks",
    "transports": "casparian.transports",
    "plugin_hosts": "casparian.plugin_hosts",
}


@dataclass(frozen=True, slots=True)
class Registry:
    """Factories by name for each kind of adapter that TOML picks."""

    transports: Mapping[str, TransportFactory]
    plugin_hosts: Mapping[str, HostFactory]
    sinks: Mapping[str, SinkFactory]
    origins: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @staticmethod
    def default() -> Registry:
        """The built-in adapters and those that installed packages register."""
        registry = Registry(
            transports={
                "zmq-ipc": _zmq_ipc,
                "zmq-tcp": _zmq_tcp,
                "memory": _memory_transport,
            },
            plugin_hosts={"subprocess": _subprocess_host, "inline": _inline_host},
            sinks=builtin_factories(),
        )
        return registry.with_entry_points()

    def with_entry_points(self) -> Registry:
        added: dict[str, dict[str, Any]] = {}
        origins = dict(self.origins)
        for kind, group in GROUPS.items():
            known = dict(getattr(self, kind))
            for entry in metadata.entry_points(group=group):
                try:
                    loaded = entry.load()
                except Exception as error:
                    raise ConfigurationError(
                        f"The adapter {entry.name!r} of entry point {group} ({entry.value}) "
                        f"cannot be loaded: {error}."
                    ) from error
                known[entry.name] = loaded() if kind == "sinks" else loaded
                origins[kind, entry.name] = entry.value
            added[kind] = known
        return replace(self, **added, origins=origins)

    def transport(self, settings: Settings) -> Transport:
        return _pick(self.transports, settings.transport.adapter, "transport")(settings)

    def host(self, settings: Settings, on_exit: Callable[[], None]) -> PluginHost:
        return _pick(self.plugin_hosts, settings.plugin_host.adapter, "plugin_host")(
            settings, on_exit
        )


def _pick(known: Mapping[str, Any], name: str, section: str) -> Any:
    if name not in known:
        raise ConfigurationError(
            f"{section}.adapter = {name!r} is unknown; known: {', '.join(sorted(known))}."
        )
    return known[name]


def _zmq_ipc(settings: Settings) -> Transport:
    import os

    from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport

    path = settings.transport.endpoint or "run/router-{pid}.ipc"
    return ZmqIpcTransport(str(settings.path(path.replace("{pid}", str(os.getpid())))))


def _zmq_tcp(settings: Settings) -> Transport:
    from casparian.adapters.transport.zmq_tcp import ZmqTcpTransport

    return ZmqTcpTransport(settings.transport.endpoint or "127.0.0.1:5570")


def _memory_transport(settings: Settings) -> Transport:
    from casparian.adapters.transport.memory import MemoryTransport

    if settings.plugin_host.adapter == "subprocess":
        raise ConfigurationError(
            'transport.adapter = "memory" does not leave the process: it needs '
            'plugin_host.adapter = "inline".'
        )
    return MemoryTransport(settings.transport.endpoint or "casparian")


def _subprocess_host(settings: Settings, on_exit: Callable[[], None]) -> PluginHost:
    from casparian.adapters.host.subprocess import SubprocessHost

    return SubprocessHost(on_exit, settings.plugin_host.sidecars)


def _inline_host(settings: Settings, on_exit: Callable[[], None]) -> PluginHost:
    from casparian.adapters.host.inline import InlineHost
    from casparian.adapters.transport import connection_for

    return InlineHost(on_exit, connection_for)
