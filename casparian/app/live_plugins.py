"""What a worker keeps of the database between two looks: plugins, their code, target schemas."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import PluginStore, PublishLedger
from casparian.domain.publish import Target
from casparian.domain.schemas import TargetSchema

REFRESH_S = 0.5
SCHEMA_AGE_S = 1.0
# Until a new target's first rows are decided, every job would ask.
NONE_AGE_S = 0.1


class LivePlugins:
    """The plugins to run, asked for again when the store's revision has grown.

    `usable` leaves plugins out; `on_change` is told of every new set. `refresh` belongs to
    one thread, all else to any.
    """

    def __init__(
        self,
        store: PluginStore,
        usable: Callable[[LivePlugin], bool],
        on_change: Callable[[list[LivePlugin]], None],
    ) -> None:
        self._store = store
        self._usable = usable
        self._on_change = on_change
        self._live: dict[str, LivePlugin] = {}
        self._seen: dict[str, LivePlugin] = {}
        self._codes: dict[str, bytes] = {}
        self._revision = -1
        self._refresh_at = 0.0
        self.not_looked_for_s: float | None = None
        """After a `refresh` that looked at nothing, since one had just done so: how long until
        one does."""

    @property
    def live(self) -> Mapping[str, LivePlugin]:
        return self._live

    def refresh(self) -> Mapping[str, LivePlugin]:
        """The live plugins by name."""
        now = time.monotonic()
        if now < self._refresh_at:
            self.not_looked_for_s = self._refresh_at - now
            return self._live
        self.not_looked_for_s = None
        revision = self._store.revision()
        if revision != self._revision:
            live = {p.name: p for p in self._store.live() if self._usable(p)}
            for plugin in live.values():
                if plugin.content_hash not in self._codes:
                    manifest = self._store.manifest(plugin.content_hash)
                    self._codes[plugin.content_hash] = manifest.code
            self._seen |= live
            self._live, self._revision = live, revision
            self._on_change(list(live.values()))
        self._refresh_at = now + REFRESH_S
        return self._live

    def last_seen(self, name: str) -> LivePlugin:
        """A plugin's configuration, also after it has gone: its running jobs keep it."""
        return self._seen[name]

    def code(self, content_hash: str) -> bytes:
        return self._codes[content_hash]


class KnownSchemas:
    """Target schemas, a little out of date at most: S2 holds rows against those of its moment."""

    def __init__(self, ledger: PublishLedger) -> None:
        self._ledger = ledger
        self._known: dict[Target, tuple[float, TargetSchema | None]] = {}

    def of(self, target: Target) -> TargetSchema | None:
        now = time.monotonic()
        entry = self._known.get(target)
        if entry is not None and now - entry[0] <= (SCHEMA_AGE_S if entry[1] else NONE_AGE_S):
            return entry[1]
        schema = self._ledger.schemas([target]).get(target)
        self._known[target] = (now, schema)
        return schema
