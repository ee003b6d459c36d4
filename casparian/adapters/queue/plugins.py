"""PluginStore over SQL: what the configuration says, as workers see it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, case, insert, select, update

from casparian.adapters.queue.altered import manifest_of
from casparian.adapters.queue.changes import RoutingChange
from casparian.adapters.queue.common import unknown_manifest
from casparian.adapters.queue.deployments import SqlDeployments, raise_revision, take_directory
from casparian.adapters.queue.duplicate_choices import apply_choices, skipping_plugins
from casparian.adapters.queue.duplicates import Due
from casparian.adapters.queue.enqueue import enqueue_added
from casparian.adapters.queue.environments import (
    environments_in,
    is_noted,
    note_environment,
)
from casparian.adapters.queue.rows import dumps
from casparian.adapters.queue.statements import storable
from casparian.adapters.queue.tables.files import source_root
from casparian.adapters.queue.tables.installation import installation
from casparian.adapters.queue.tables.jobs import processing_job
from casparian.adapters.queue.tables.plugins import (
    plugin_config,
    plugin_manifest,
    routing_rule,
    topic_config,
)
from casparian.domain.files import path_bytes, path_text
from casparian.domain.jobs import JobStatus
from casparian.domain.plugins import (
    Duplicates,
    LivePlugin,
    Mode,
    PluginConfig,
    PluginManifest,
    TopicConfig,
)
from casparian.domain.ports import Applied
from casparian.domain.requirements import Environment
from casparian.domain.routing import (
    BACKFILL_PRIORITY,
    BEHIND_US,
    RoutingRule,
    RoutingTable,
    Subscription,
)
from casparian.domain.sandbox import Grants

_root, _rule, _config, _topic, _code = (
    source_root.c,
    routing_rule.c,
    plugin_config.c,
    topic_config.c,
    plugin_manifest.c,
)


class SqlPlugins(SqlDeployments):
    """Plugin code and configuration."""

    # --- apply ---

    def apply(self, applied: Applied) -> int:
        with self._db.write() as connection:
            before, was_active = _routing(connection), _active_roots(connection)
            skipped_before = skipping_plugins(connection)
            changed = [
                self._apply_roots(connection, applied),
                self._apply_rules(connection, applied),
                self._apply_configs(connection, applied),
                self._apply_manifests(connection, applied),
                self._apply_ageing(connection, applied.ageing_us),
            ]
            if any(changed):
                raise_revision(connection)
            active = _active_roots(connection)
            due = Due(self._db.clock(), applied.ageing_us)
            jobs = apply_choices(connection, skipped_before, due)
            jobs += enqueue_added(
                connection,
                RoutingChange(before, _routing(connection)),
                active,
                active - was_active,
                skipping_plugins(connection),
                self._db.clock(),
                applied.ageing_us,
            )
        if jobs or any(changed):
            self._db.waiters.wake()
        return jobs

    def _apply_roots(self, connection: Connection, applied: Applied) -> bool:
        known = {row.path: row for row in connection.execute(select(source_root))}
        wanted = {path: {"path": path, "active": True} for path in applied.roots}
        return _make(connection, source_root, "path", known, wanted)

    def _apply_rules(self, connection: Connection, applied: Applied) -> bool:
        rows = connection.execute(select(routing_rule))
        known = {(row.pattern, row.tag, row.priority): row for row in rows}
        wanted: dict[Any, dict[str, Any]] = {}
        for rule in applied.rules:
            values = {"pattern": rule.pattern, "tag": rule.tag, "priority": rule.priority}
            position = {"position": len(wanted), "active": True}
            wanted.setdefault(tuple(values.values()), values | position)
        return _make(connection, routing_rule, "id", known, wanted)

    def _apply_configs(self, connection: Connection, applied: Applied) -> bool:
        known = {row.plugin_name: row for row in connection.execute(select(plugin_config))}
        wanted = {config.plugin: _config_values(config) for config in applied.plugins}
        configs = _make(connection, plugin_config, "plugin_name", known, wanted)
        rows = connection.execute(select(topic_config))
        known = {(row.plugin_name, row.topic): row for row in rows}
        topics = {
            (config.plugin, topic.topic): _topic_values(config.plugin, position, topic)
            for config in applied.plugins
            for position, topic in enumerate(config.topics)
        }
        return _make(connection, topic_config, "id", known, topics) or configs

    def _apply_manifests(self, connection: Connection, applied: Applied) -> bool:
        now, changed = self._db.clock(), False
        for manifest in applied.manifests:
            changed = take_directory(connection, manifest, now) or changed
        return changed

    def _apply_ageing(self, connection: Connection, ageing_us: int) -> bool:
        changed = update(installation).where(installation.c.ageing_us != ageing_us)
        if not connection.execute(changed.values(ageing_us=ageing_us)).rowcount:
            return False
        job = processing_job.c
        due = job.enqueued_at_us - job.priority * ageing_us if ageing_us else -job.priority
        behind = BEHIND_US + job.enqueued_at_us
        due = case((job.priority <= BACKFILL_PRIORITY, behind), else_=due)
        over = (JobStatus.COMPLETED.value, JobStatus.SUPERSEDED.value)
        connection.execute(update(processing_job).where(job.status.not_in(over)).values(due=due))
        return True

    # --- what workers read ---

    def routing(self) -> RoutingTable:
        with self._db.read() as connection:
            return _routing(connection)

    def live(self) -> Sequence[LivePlugin]:
        with self._db.read() as connection:
            configs = read_configs(connection, only_active=True)
            statement = select(
                _code.plugin_name, _code.content_hash, _code.quarantined_at_us
            ).where(_code.live)
            rows = connection.execute(statement.order_by(_code.plugin_name)).all()
            active = select(_root.path).where(_root.active).order_by(_root.id)
            roots = tuple(connection.execute(active).scalars())
        return [
            LivePlugin(configs[plugin], content_hash, quarantined is not None, roots)
            for plugin, content_hash, quarantined in rows
            if plugin in configs
        ]

    def configured(self) -> Mapping[str, PluginConfig]:
        with self._db.read() as connection:
            return read_configs(connection, only_active=True)

    def manifest(self, content_hash: str, plugin: str | None = None) -> PluginManifest:
        statement = select(plugin_manifest).where(_code.content_hash == content_hash)
        if plugin is not None:
            statement = statement.where(_code.plugin_name == plugin)
        with self._db.read() as connection:
            row = connection.execute(statement.order_by(_code.plugin_name)).first()
        if row is None:
            raise unknown_manifest(content_hash, plugin)
        return manifest_of(row)

    def revision(self) -> int:
        ((revision,),) = self._db.look(_REVISION)
        return int(revision)

    def recheck(self) -> None:
        with self._db.write() as connection:
            raise_revision(connection)

    def quarantine(self, plugin: str, content_hash: str, reason: str) -> None:
        mine = (_code.plugin_name == plugin, _code.content_hash == content_hash)
        with self._db.write() as connection:
            if connection.execute(select(_code.id).where(*mine)).first() is None:
                raise unknown_manifest(content_hash, plugin)
            first = update(plugin_manifest).where(*mine, _code.quarantined_at_us.is_(None))
            values = {"quarantined_at_us": self._db.clock(), "quarantine_reason": storable(reason)}
            if connection.execute(first.values(**values)).rowcount:
                raise_revision(connection)

    def note_environment(self, plugin: str, content_hash: str, environment: Environment) -> None:
        with self._db.read() as connection:
            if is_noted(connection, plugin, content_hash, environment):
                return  # As at every start but the first: nobody is waited for.
        with self._db.write() as connection:
            now = self._db.clock()
            note_environment(connection, plugin, content_hash, environment, now)

    def environments(self, key: str) -> Sequence[Environment]:
        with self._db.read() as connection:
            return environments_in(connection, key)


_REVISION = select(installation.c.revision)


def _make(
    connection: Connection, table: Any, key: str, known: dict[Any, Row[Any]], wanted: dict[Any, Any]
) -> bool:
    """Insert what is new, change what differs, and end what is gone; True if anything was done.

    `key` is the column by which a known row is found again.
    """
    column, changed = table.c[key], False
    for identity, values in wanted.items():
        row = known.get(identity)
        if row is None:
            connection.execute(insert(table).values(**values))
            changed = True
        elif any(getattr(row, name) != value for name, value in values.items()):
            mine = column == getattr(row, key)
            connection.execute(update(table).where(mine).values(**values))
            changed = True
    for identity, row in known.items():
        if identity not in wanted and row.active:
            mine = column == getattr(row, key)
            connection.execute(update(table).where(mine).values(active=False))
            changed = True
    return changed


def _active_roots(connection: Connection) -> set[int]:
    return set(connection.execute(select(_root.id).where(_root.active)).scalars())


def _routing(connection: Connection) -> RoutingTable:
    rules = connection.execute(select(routing_rule).where(_rule.active).order_by(_rule.position))
    tags = select(_config.plugin_name, _config.tags).where(_config.active)
    plugins = connection.execute(tags.order_by(_config.plugin_name))
    skipping = skipping_plugins(connection)
    return RoutingTable(
        tuple(RoutingRule(row.pattern, row.tag, row.priority, row.id) for row in rules),
        tuple(
            Subscription(name, frozenset(json.loads(text)), name in skipping)
            for name, text in plugins
        ),
    )


def _config_values(config: PluginConfig) -> dict[str, Any]:
    return {
        "plugin_name": config.plugin,
        "tags": dumps(sorted(config.tags)),
        "settings": config.settings_json(),
        "timeout_s": float(config.timeout_s),
        "memory_mb": config.memory_mb,
        "cpu_s": config.cpu_s,
        "max_rejects": json.dumps(config.max_rejects),
        "grants": config.grants.to_json(),
        "active": True,
    }


def _topic_values(plugin: str, position: int, topic: TopicConfig) -> dict[str, Any]:
    return {
        "plugin_name": plugin,
        "topic": topic.topic,
        "sink": path_bytes(topic.sink),
        "mode": topic.mode.value,
        "duplicates": topic.duplicates.value,
        "position": position,
        "active": True,
    }


def read_configs(connection: Connection, only_active: bool) -> dict[str, PluginConfig]:
    """Every plugin's configuration by name."""
    topics: dict[str, list[TopicConfig]] = {}
    rows = connection.execute(select(topic_config).order_by(_topic.position))
    for row in rows:
        if row.active or not only_active:
            sink, mode = path_text(row.sink), Mode(row.mode)
            topic = TopicConfig(row.topic, sink, mode, Duplicates(row.duplicates))
            topics.setdefault(row.plugin_name, []).append(topic)
    return {
        row.plugin_name: PluginConfig(
            row.plugin_name,
            frozenset(json.loads(row.tags)),
            json.loads(row.settings),
            tuple(topics.get(row.plugin_name, ())),
            row.timeout_s,
            row.memory_mb,
            row.cpu_s,
            json.loads(row.max_rejects),
            Grants.from_json(row.grants),
        )
        for row in connection.execute(select(plugin_config).order_by(_config.plugin_name))
        if row.active or not only_active
    }
