"""From the settings to what the database holds: paths absolute, sinks parsed, plugins hashed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from casparian.app.expectations import expectations_of
from casparian.app.loader import PluginRegistry
from casparian.app.root_rules import root_rules, version_archive
from casparian.app.settings import Settings
from casparian.app.settings_plugins import PluginSection
from casparian.app.targets import Targets
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import (
    EVERY_TOPIC,
    Duplicates,
    PluginConfig,
    TopicConfig,
    check_plugin_name,
    check_topic_name,
)
from casparian.domain.ports import Applied
from casparian.domain.publish import Target
from casparian.domain.routing import RoutingRule, check_rules
from casparian.domain.sandbox import Grants

SECOND_US = 1_000_000
REJECTS = "_rejects"


def resolve(settings: Settings, targets: Targets, deployed: Collection[str] = ()) -> Applied:
    """The configuration as the database is to hold it.

    `deployed` names the plugins whose code was deployed: they need no file, and one that is there
    is not taken; nor is any where signatures are required.

    Raises ConfigurationError for a plugin without its file, a sink that is none, two topics
    with one target, a pattern that cannot be compiled, rules of a source root or expected
    files that cannot be used.
    """
    registry = PluginRegistry(settings.plugin_directory)
    rules = tuple(RoutingRule(r.pattern, r.tag, r.priority) for r in settings.rule)
    check_rules(rules)
    expectations_of(settings)
    version_archive(settings)
    plugins = tuple(
        _plugin(settings, targets, name, section) for name, section in settings.plugin.items()
    )
    from_directory = [p.plugin for p in plugins if p.plugin not in deployed]
    if settings.plugins.require_signature:
        from_directory = []
    return Applied(
        roots=tuple(root_rules(settings)),
        rules=rules,
        plugins=plugins,
        manifests=tuple(registry.manifest(name) for name in from_directory),
        ageing_us=int(settings.queue.ageing_s * SECOND_US),
    )


def _plugin(
    settings: Settings, targets: Targets, name: str, section: PluginSection
) -> PluginConfig:
    check_plugin_name(name)
    if isinstance(section.max_rejects, float) and not 0 <= section.max_rejects <= 1:
        raise ConfigurationError(
            f"{settings.place('plugin', name, 'max_rejects')} = {section.max_rejects}: a share "
            "lies between 0.0 and 1.0; a count is written without a point."
        )
    base = str(settings.base)
    topics: list[TopicConfig] = []
    used: dict[Target, str] = {}
    for topic, table in section.topics.items():
        where = settings.place("plugin", name, "topics", topic)
        with _at(settings.place("plugin", name, "topics", topic, "sink")):
            uri = targets.absolute(table.sink, base)
        if topic == EVERY_TOPIC:
            _check_every_topic(targets, uri, name, where)
        else:
            bad = check_topic_name(topic) if topic != REJECTS else None
            if bad is not None:
                raise ConfigurationError(f"{where}: the topic's name {bad}.")
            with _at(where):
                target = targets.parse(uri, base, name, topic)
            if target in used:
                raise ConfigurationError(
                    f"{where}: topic {used[target]!r} of the same plugin already goes to "
                    f"{target}; give each topic a target of its own."
                )
            used[target] = topic
        topics.append(TopicConfig(topic, uri, table.mode, table.duplicates))
    _check_duplicates(settings, name, topics)
    return PluginConfig(
        plugin=name,
        tags=frozenset(section.tags),
        settings=section.settings,
        topics=tuple(topics),
        timeout_s=section.timeout_s,
        memory_mb=section.memory_mb,
        cpu_s=section.cpu_s,
        max_rejects=section.max_rejects,
        grants=Grants(
            tuple(str(settings.path(path)) for path in section.allow_read),
            section.allow_network,
            section.allow_subprocess,
        ),
    )


def _check_duplicates(settings: Settings, plugin: str, topics: Sequence[TopicConfig]) -> None:
    """A job publishes all topics of its plugin, or is skipped for all of them."""
    rows = [topic for topic in topics if topic.topic != REJECTS]
    skipping = [topic for topic in topics if topic.duplicates is Duplicates.SKIP]
    if not skipping:
        return
    where = settings.place("plugin", plugin, "topics", skipping[0].topic, "duplicates")
    others = [topic.topic for topic in rows if topic.duplicates is not Duplicates.SKIP]
    if others:
        raise ConfigurationError(
            f'{where} = "skip", and topic {others[0]!r} of the same plugin does not say so: a file '
            "is skipped for all topics of a plugin or for none. Write it into each of their "
            "tables, or split the plugin in two."
        )
    modes = {topic.mode for topic in rows}
    if len(modes) > 1:
        raise ConfigurationError(
            f'{where} = "skip" needs topics of one mode, and those of {plugin} have both: when a '
            "file is corrected, the rows of its former content would go from some and stay in "
            "others. Give them one mode, or split the plugin in two."
        )


@contextmanager
def _at(place: str) -> Iterator[None]:
    """What is wrong with a value is told with its place."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error}") from error


def _check_every_topic(targets: Targets, uri: str, plugin: str, where: str) -> None:
    """Under "*", two topics must not end in one target."""
    with _at(where):
        one, other = (targets.parse(uri, "/", plugin, topic) for topic in ("one", "other"))
    if one == other:
        raise ConfigurationError(
            f'{where}: under "*" every topic needs a target of its own, but {uri} is one for '
            "all; put {topic} into the table's name, as in sqlite://out.db/{topic}."
        )
