"""What a worker keeps of the database between two looks: plugins, their code, target schemas."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from casparian.adapters.files.plain_access import directory_id
from casparian.app.code_guard import CodeGuard
from casparian.app.environments import Environments
from casparian.domain.deployments import Deployment
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import DirectoryId, LivePlugin
from casparian.domain.ports import PluginStore, PublishLedger
from casparian.domain.publish import Target
from casparian.domain.schemas import TargetSchema

log = structlog.get_logger("casparian.worker")

REFRESH_S = 0.5
# A key that was missing may have been laid there, one that others could read been mended; a sink
# may be there again. But where a look takes long, as at a server that is away, jobs come first.
REFUSED_AGE_S = 2.0
PAUSE_BY_LOOK = 10
SCHEMA_AGE_S = 1.0
# Until a new target's first rows are decided, every job would ask.
NONE_AGE_S = 0.1


class LivePlugins:
    """The plugins to run, asked for again when the store's revision has grown, an environment has
    been made, or another directory stands at a source root: then new sidecars are started, since
    those that run may not read it.

    `guard` refuses code that is not what was applied or signed, and `unusable` tells why a plugin
    is left out, which may pass: who is left out is looked at again after a while. `environments`
    leave plugins out, too; `on_change` is told of every new set. `refresh` belongs to one thread,
    all else to any.
    """

    def __init__(
        self,
        store: PluginStore,
        guard: CodeGuard,
        unusable: Callable[[LivePlugin], str],
        on_change: Callable[[list[LivePlugin]], None],
        environments: Environments,
    ) -> None:
        self._store = store
        self._guard = guard
        self._environments = environments
        self._unusable = unusable
        self._on_change = on_change
        self._live: dict[str, LivePlugin] = {}
        self._seen: dict[str, LivePlugin] = {}
        self._codes: dict[str, bytes] = {}
        self._roots: dict[bytes, DirectoryId | None] = {}
        self._noted: set[tuple[str, str, str]] = set()
        self._revision = (-1, -1)
        self.refused: Mapping[str, str] = {}
        """Why live plugins are not run here, by name."""
        self._verify_again_at = 0.0
        self._refresh_at = 0.0
        self._asked = False
        self.not_looked_for_s: float | None = None
        """After a `refresh` that looked at nothing, since one had just done so: how long until
        one does."""

    @property
    def live(self) -> Mapping[str, LivePlugin]:
        return self._live

    @property
    def behind(self) -> bool:
        """An environment has been made since the last look."""
        return self._revision[1] != self._environments.revision

    def refresh(self) -> Mapping[str, LivePlugin]:
        """The live plugins by name."""
        now = time.monotonic()
        if now < self._refresh_at and not self._asked:
            self.not_looked_for_s = self._refresh_at - now
            return self._live
        self.not_looked_for_s = None
        self._asked = False
        seen = (self._store.revision(), self._environments.revision)
        moved = any(directory_id(root) != before for root, before in self._roots.items())
        if seen != self._revision or moved or (self.refused and now >= self._verify_again_at):
            revision, usable = self._verified()
            self._environments.leave_out_all_but({p.name for p in usable})
            self._roots = {root: directory_id(root) for p in usable for root in p.roots}
            live = {p.name: self._placed(p) for p in usable if self._has_environment(p)}
            self._seen |= live
            self._live, self._revision = live, (revision, seen[1])
            self._on_change(list(live.values()))
        self._refresh_at = now + REFRESH_S
        return self._live

    def _placed(self, plugin: LivePlugin) -> LivePlugin:
        """With what it runs in, which is on record before any job refers to it."""
        environment, digest = self._environments.environment_of(plugin.content_hash), ""
        if environment is not None:
            digest = environment.digest
            noted = (plugin.name, plugin.content_hash, digest)
            if noted not in self._noted:
                self._store.note_environment(plugin.name, plugin.content_hash, environment)
                self._noted.add(noted)
        roots = tuple(self._roots[root] for root in plugin.roots)
        return replace(plugin, root_ids=roots, environment=digest)

    def _has_environment(self, plugin: LivePlugin) -> bool:
        code = self._codes[plugin.content_hash]
        return self._environments.ready(plugin.name, plugin.content_hash, code)

    def look_again(self) -> None:
        """Let the next `refresh` look, however lately one has."""
        self._asked = True

    def _verified(self) -> tuple[int, list[LivePlugin]]:
        """What is live and may be run, as of a revision; the code is at hand afterwards."""
        began = time.monotonic()
        while True:
            revision, store = self._store.revision(), self._store
            live, standing, audiences = store.live(), store.standing(), store.audiences()
            refused: dict[str, str] = {}
            for plugin in live:
                problem = self._problem(plugin, standing.get(plugin.name), audiences)
                if problem:
                    refused[plugin.name] = problem
            if store.revision() == revision:
                break  # else it changed between two of these looks
        problems = {p.name: self._unusable(p) for p in live if p.name not in refused}
        refused |= {name: problem for name, problem in problems.items() if problem}
        for name, problem in refused.items():
            if self.refused.get(name) != problem:
                log.error("plugin not run, its jobs wait", plugin=name, reason=problem)
        self.refused, ended = refused, time.monotonic()
        self._verify_again_at = ended + max(REFUSED_AGE_S, PAUSE_BY_LOOK * (ended - began))
        return revision, [plugin for plugin in live if plugin.name not in self.refused]

    def _problem(
        self, plugin: LivePlugin, standing: Deployment | None, audiences: frozenset[str]
    ) -> str:
        """Why it may not be run; empty where it may, and then its code is at hand."""
        try:
            manifest = self._store.manifest(plugin.content_hash, plugin.name)
        except ConfigurationError as error:
            return str(error)
        problem = self._guard.problem(plugin, manifest, standing, audiences)
        if not problem:
            self._codes[plugin.content_hash] = manifest.code
        return problem

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
