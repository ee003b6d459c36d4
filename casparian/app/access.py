"""What a command shows to an engine that it connects to: keys, where they are asked for."""

from __future__ import annotations

from collections.abc import Mapping

from casparian.app.registry import Registry
from casparian.app.settings import Settings
from casparian.domain.errors import ConfigurationError


def client_access(settings: Settings, registry: Registry | None = None) -> Mapping[str, str]:
    """For `connection_for`; empty where the transport asks for nothing. It is a secret.

    Raises ConfigurationError for keys that are missing or cannot be read.
    """
    if settings.transport.adapter != "zmq-tcp":
        return {}
    from casparian.adapters.transport.curve import read_pair, read_public

    adapter = (registry or Registry.default()).transports["zmq-tcp"]
    above = ("transport", "settings")
    own = adapter.own_settings(settings.transport.settings, settings.document, above)
    keys = own["own_settings"]
    # Who can read the engine's own key can be its client.
    mine, server = keys.client_key or keys.key, keys.server or keys.key
    if not mine:
        return {}
    if not server:
        raise ConfigurationError(
            f"{settings.place(*above)}: client_key needs server, the file with the engine's public "
            "key"
        )
    return read_pair(str(settings.path(mine))).access(read_public(str(settings.path(server))))
