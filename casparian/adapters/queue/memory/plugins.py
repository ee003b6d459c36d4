"""PluginStore in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from casparian.adapters.queue.changes import Added, RoutingChange
from casparian.adapters.queue.common import unknown_manifest
from casparian.adapters.queue.memory.deployments import MemoryDeployments
from casparian.adapters.queue.memory.duplicates import MemoryDuplicates
from casparian.domain.duplicates import Wanted
from casparian.domain.files import FileLocation
from casparian.domain.jobs import JobKind
from casparian.domain.plugins import LivePlugin, PluginConfig, PluginManifest
from casparian.domain.ports import Applied
from casparian.domain.requirements import Environment
from casparian.domain.routing import RoutingTable, Subscription


class MemoryPlugins(MemoryDeployments, MemoryDuplicates):
    """Plugin code and configuration."""

    def apply(self, applied: Applied) -> int:
        with self.lock:
            before, was_active = self.routing(), set(self.active_roots)
            seen_before, skipped_before = self._seen_by_workers(), self._skipping()
            self._apply_roots(applied)
            self._apply_rules(applied)
            self.configs.update((config.plugin, config) for config in applied.plugins)
            self.active_plugins = {config.plugin for config in applied.plugins}
            for manifest in applied.manifests:
                self._take_directory(manifest)
            self.ageing_us = applied.ageing_us
            changed = self._seen_by_workers() != seen_before
            self.changes += changed
            fresh = self.active_roots - was_active
            jobs = self._apply_choices(skipped_before)
            jobs += self._enqueue_added(RoutingChange(before, self.routing()), fresh)
        if jobs or changed:
            self.waiters.wake()
        return jobs

    def _seen_by_workers(self) -> object:
        return (
            frozenset(self.active_roots),
            list(self.rules),
            {name: self.configs[name] for name in self.active_plugins},
            dict(self.code),
            self.ageing_us,
        )

    def _apply_roots(self, applied: Applied) -> None:
        ids = {path: root_id for root_id, path in self.root_paths.items()}
        for path in applied.roots:
            if path not in ids:
                ids[path] = self.next_id("source_root")
                self.root_paths[ids[path]] = path
        self.active_roots = {ids[path] for path in applied.roots}

    def _apply_rules(self, applied: Applied) -> None:
        self.rules = []
        for rule in applied.rules:
            identity = (rule.pattern, rule.tag, rule.priority)
            if identity not in self.rule_ids:
                self.rule_ids[identity] = self.next_id("routing_rule")
            numbered = replace(rule, id=self.rule_ids[identity])
            if numbered not in self.rules:
                self.rules.append(numbered)

    def _enqueue_added(self, change: RoutingChange, fresh: set[int]) -> int:
        if not change and not fresh:
            return 0
        jobs = 0
        done = {
            (job.file_version_id, job.plugin)
            for job in self.job_by_id.values()
            if job.kind is JobKind.RUN
        }
        shared: list[Wanted] = []
        for location in sorted(self.location_by_id.values(), key=lambda known: known.id):
            root_id = location.source_root_id
            if not location.deleted and root_id in self.active_roots:
                added = change.added(location.path, root_id in fresh)
                jobs += self._add(location, added, done, shared)
        return jobs + self._enqueue_shared(shared)

    def _add(
        self,
        location: FileLocation,
        added: Added,
        done: set[tuple[int, str]],
        shared: list[Wanted],
    ) -> int:
        if location.current_version_id is None:
            return 0
        version = self.versions[location.current_version_id]
        for tag, rule in added.tags.items():
            self.tags[version.id].setdefault(tag, rule)
        plugins = [plugin for plugin in added.plugins if (version.id, plugin) not in done]
        skipping = self._skipping()
        alone = [plugin for plugin in plugins if plugin not in skipping]
        for plugin in alone:
            self.enqueue(plugin, version, added.priority)
        shared += [
            Wanted(
                plugin, version.content_hash, version.id, location.id, version.ordinal,
                added.priority,
            )
            for plugin in plugins
            if plugin in skipping
        ]  # fmt: skip
        return len(alone)

    def routing(self) -> RoutingTable:
        with self.lock:
            subscriptions = [
                Subscription(name, self.configs[name].tags, self.configs[name].skips_duplicates)
                for name in sorted(self.active_plugins)
            ]
            return RoutingTable(tuple(self.rules), tuple(subscriptions))

    def live(self) -> Sequence[LivePlugin]:
        with self.lock:
            roots = tuple(self.root_paths[root_id] for root_id in sorted(self.active_roots))
            return [
                LivePlugin(self.configs[plugin], content_hash, code.quarantined is not None, roots)
                for (plugin, content_hash), code in sorted(self.code.items())
                if code.live and plugin in self.active_plugins
            ]

    def configured(self) -> Mapping[str, PluginConfig]:
        with self.lock:
            return {name: self.configs[name] for name in sorted(self.active_plugins)}

    def manifest(self, content_hash: str, plugin: str | None = None) -> PluginManifest:
        with self.lock:
            for key, code in sorted(self.code.items()):
                if key[1] == content_hash and plugin in (None, key[0]):
                    return code.manifest
        raise unknown_manifest(content_hash, plugin)

    def revision(self) -> int:
        with self.lock:
            return self.changes

    def recheck(self) -> None:
        with self.lock:
            self.changes += 1

    def quarantine(self, plugin: str, content_hash: str, reason: str) -> None:
        with self.lock:
            code = self.code.get((plugin, content_hash))
            if code is None:
                raise unknown_manifest(content_hash, plugin)
            if code.quarantined is None:
                self.code[plugin, content_hash] = replace(code, quarantined=reason)
                self.changes += 1

    def note_environment(self, plugin: str, content_hash: str, environment: Environment) -> None:
        with self.lock:
            digest = environment.digest
            self.environment_by_digest.setdefault(digest, environment)
            code = self.code.get((plugin, content_hash))
            if code is not None:
                self.code[plugin, content_hash] = replace(code, environment=digest)

    def environments(self, key: str) -> Sequence[Environment]:
        with self.lock:
            return [one for one in self.environment_by_digest.values() if one.key == key]
