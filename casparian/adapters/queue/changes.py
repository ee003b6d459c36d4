"""What a change of rules and subscriptions adds to files that are already known."""

from __future__ import annotations

from dataclasses import dataclass

from casparian.domain.ports import Applied
from casparian.domain.routing import RoutingRule, RoutingTable, Subscription


@dataclass(frozen=True, slots=True)
class Added:
    """What one current version gains: tags with their rules, plugins, the jobs' priority."""

    tags: dict[str, RoutingRule]
    plugins: tuple[str, ...]
    priority: int


class RoutingChange:
    """Two routing tables compared.

    A plugin is added to a version where a rule that is new gives a tag that it wants, or
    where it newly wants a tag that the version has. Files whose root was not watched
    before (`fresh`) are held against the whole new table.
    """

    def __init__(self, old: RoutingTable, new: RoutingTable) -> None:
        self._new = new
        known = {_identity(rule) for rule in old.rules}
        self._new_rules = [rule for rule in new.rules if _identity(rule) not in known]
        wanted = {s.plugin: s.tags for s in old.subscriptions}
        newly = [
            Subscription(s.plugin, s.tags - wanted.get(s.plugin, frozenset()), s.skips_duplicates)
            for s in new.subscriptions
        ]
        self._newly_wanted = [s for s in newly if s.tags]

    def __bool__(self) -> bool:
        return bool(self._new_rules or self._newly_wanted)

    def added(self, path: bytes, fresh: bool = False) -> Added:
        routed = self._new.route(path)
        if fresh:
            return Added(routed.tags, routed.plugins, routed.priority)
        given = {rule.tag for rule in self._new_rules if rule.matches(path)}
        plugins = {s.plugin for s in self._new.subscriptions if not s.tags.isdisjoint(given)}
        plugins |= {s.plugin for s in self._newly_wanted if not s.tags.isdisjoint(routed.tags)}
        return Added(
            {tag: routed.tags[tag] for tag in given}, tuple(sorted(plugins)), routed.priority
        )


def _identity(rule: RoutingRule) -> tuple[str, str, int]:
    return rule.pattern, rule.tag, rule.priority


def subscriptions_of(applied: Applied) -> list[Subscription]:
    return [
        Subscription(c.plugin, c.tags, c.skips_duplicates)
        for c in sorted(applied.plugins, key=lambda c: c.plugin)
    ]
