"""Checks of the transport: who could connect to the engine."""

from __future__ import annotations

import os

from casparian.app.access import client_access
from casparian.app.cli._findings import Findings, ok, problem, warning
from casparian.app.cli._output import count
from casparian.app.registry import Registry
from casparian.app.settings import Settings
from casparian.domain.errors import CasparianError

WHERE = "[transport]"


def check_transport(settings: Settings, registry: Registry) -> Findings:
    """It is made, but binds nothing."""
    try:
        transport = registry.transport(settings, str(os.getpid()))
        transport.close()
        client_access(settings, registry)
        if settings.transport.adapter == "zmq-tcp":
            yield from _keys(settings)
            return
    except CasparianError as error:
        yield problem(WHERE, str(error), "Correct [transport] in the configuration file.")
    else:
        yield ok(WHERE, f"{settings.transport.adapter} can be used.")


def _keys(settings: Settings) -> Findings:
    from casparian.adapters.transport.curve import KnownClients

    keys = settings.transport.settings
    if not keys.get("key"):
        yield warning(
            WHERE,
            "zmq-tcp can be used, without keys: whoever is on this machine can connect.",
            'Use adapter = "zmq-ipc", or give the engine a key: `casparian keys curve engine`.',
        )
        return
    directory = keys.get("clients", "")
    known = KnownClients(str(settings.path(directory)) if directory else "").check()
    clients = count(known, "client")
    yield ok(WHERE, f"zmq-tcp can be used; it asks for keys, and knows {clients}.")
