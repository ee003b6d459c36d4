"""Checks of code in the database: that it is what was applied or signed, and of the keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from casparian.adapters.keys import KeyDirectory
from casparian.adapters.queue import QueueStores
from casparian.app.cli._findings import Finding, ok, problem, warning
from casparian.app.cli.plugins import refused_plugins
from casparian.app.code_guard import deployed_plugins
from casparian.app.registry import Registry
from casparian.app.settings import Settings
from casparian.domain.errors import CasparianError, ConfigurationError
from casparian.domain.plugins import code_hash

KEYS = "[plugins] keys"


def check_deployed(settings: Settings, registry: Registry) -> tuple[frozenset[str], list[Finding]]:
    """The plugins that were deployed, and what was found of their code; nothing of a database
    that cannot be used, which is told elsewhere."""
    from casparian.adapters.queue import wall_clock_us

    found = list(_keys(settings))
    try:
        stores = registry.stores(settings, wall_clock_us, create=False)
    except CasparianError:
        return frozenset(), found
    with closing(stores):
        deployed = deployed_plugins(stores.store)
        return deployed, [*found, *_code(settings, stores, deployed)]


def _keys(settings: Settings) -> Iterator[Finding]:
    directory = settings.key_directory
    try:
        entries = KeyDirectory(directory).entries()
    except ConfigurationError as error:
        yield problem(KEYS, str(error), "Until then nothing that was signed is loaded.")
        return
    valid = [entry.id for entry in entries if entry.revoked_at_us is None]
    if valid:
        yield ok(KEYS, f"Valid keys in {directory}: {', '.join(valid)}.")
    elif settings.plugins.require_signature:
        yield problem(
            KEYS,
            f"There is no valid key in {directory}, and only signed code may run.",
            "Make one by `casparian keys new ID`, or lay the ID.pub of your key there.",
        )


def _code(settings: Settings, stores: QueueStores, deployed: frozenset[str]) -> Iterator[Finding]:
    refused, standing = refused_plugins(settings, stores), stores.store.standing()
    for name in settings.plugin:
        where = f"[plugin.{name}]"
        one = standing.get(name)
        if name in refused:
            yield problem(where, refused[name], "Until then it is not run, and its jobs wait.")
        elif one is None and settings.plugins.require_signature:
            yield problem(
                where,
                "It has no code: only what is signed may run, and nothing was deployed.",
                f"`casparian deploy FILE --plugin {name} --key-id ID`, while an engine runs.",
            )
        elif one is not None and name in deployed:
            key = f", signed by {one.signed.key_id}" if one.signed else ""
            yield ok(where, f"Version {one.version} ({one.origin}{key}) is live, and holds.")
            file = settings.plugin_directory / f"{name}.py"
            if file.is_file() and code_hash(file.read_bytes()) != one.content_hash:
                yield warning(
                    str(file),
                    f"It is not used: version {one.version} of plugin {name} was deployed.",
                    f"`casparian rollback {name} --to directory` takes it again; or remove it.",
                )
