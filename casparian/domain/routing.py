"""Routing: glob rules give tags, subscriptions turn tags into jobs, priority and age order them.

Globs are matched against the path below its source root, with `/` on every system:
`*` and `?` stay within one name, `[...]` is one character, `**` spans directories.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from casparian.domain.errors import ConfigurationError
from casparian.domain.files import path_text

BACKFILL_PRIORITY = -1_000_000
"""The priority of jobs that wait until nothing else does, as lower ones are."""
BEHIND_US = 1 << 60
"""What `due` of such a job is later by: more than any other's ever is."""


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """A pattern that gives a tag; a version's priority is the highest of its rules'."""

    pattern: str
    tag: str
    priority: int = 0
    id: int = 0

    def matches(self, path: bytes) -> bool:
        return compile_glob(self.pattern).fullmatch(path_text(path)) is not None


@dataclass(frozen=True, slots=True)
class Subscription:
    """A plugin and the tags whose files it wants."""

    plugin: str
    tags: frozenset[str]
    skips_duplicates: bool = False


@dataclass(frozen=True, slots=True)
class Routed:
    """What routing made of one path: each tag with the rule that gave it, and the plugins, of
    which some skip duplicates (`skipping`)."""

    tags: dict[str, RoutingRule]
    plugins: tuple[str, ...]
    priority: int
    skipping: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RoutingTable:
    """All rules and subscriptions, as one value."""

    rules: Sequence[RoutingRule]
    subscriptions: Sequence[Subscription]

    @cached_property
    def _patterns(self) -> list[tuple[int, re.Pattern[str]]]:
        return [(n, compile_glob(rule.pattern)) for n, rule in enumerate(self.rules)]

    @cached_property
    def _routed(self) -> dict[tuple[int, ...], Routed]:
        """What was made of the paths so far, by which rules match: few differ."""
        return {}

    def route(self, path: bytes) -> Routed:
        """Tags, plugins and priority of a path.

        Of several rules that give one tag, the one of highest priority is recorded as its
        reason, then the one that stands first.
        """
        text = path_text(path)
        matching = tuple([n for n, pattern in self._patterns if pattern.fullmatch(text)])
        if matching not in self._routed:
            self._routed[matching] = self._route([self.rules[n] for n in matching])
        return self._routed[matching]

    def _route(self, matching: Sequence[RoutingRule]) -> Routed:
        tags: dict[str, RoutingRule] = {}
        for rule in matching:
            known = tags.get(rule.tag)
            if known is None or rule.priority > known.priority:
                tags[rule.tag] = rule
        wanting = [s for s in self.subscriptions if not s.tags.isdisjoint(tags)]
        plugins = tuple(sorted(s.plugin for s in wanting))
        skipping = frozenset(s.plugin for s in wanting if s.skips_duplicates)
        priority = max((r.priority for r in tags.values()), default=0)
        return Routed(tags, plugins, priority, skipping)


def due_us(enqueued_at_us: int, priority: int, ageing_us: int) -> int:
    """The key by which jobs are claimed, smallest first, then by id.

    Each step of priority is worth `ageing_us` of waiting, so nothing starves; with
    `ageing_us` 0 priority is strict. Backfills are behind everything else, and do not age.
    """
    if priority <= BACKFILL_PRIORITY:
        return BEHIND_US + enqueued_at_us
    return enqueued_at_us - priority * ageing_us if ageing_us else -priority


def check_rules(rules: Iterable[RoutingRule]) -> None:
    """Raise ConfigurationError for a pattern that cannot be compiled."""
    for rule in rules:
        compile_glob(rule.pattern)


@lru_cache(maxsize=1024)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """A glob as a regular expression to be used with `fullmatch`."""
    if not pattern or pattern.startswith("/"):
        raise ConfigurationError(
            f"The pattern {pattern!r} is matched against the path below the source root: "
            "it must not be empty or start with '/'."
        )
    try:
        return re.compile("".join(_translate(pattern)), re.DOTALL)
    except re.error as error:
        # All but the ranges of a class is escaped.
        raise ConfigurationError(
            f"The pattern {pattern!r} has a range in [...] that runs backwards: "
            "write the lower character first."
        ) from error


def _translate(pattern: str) -> Iterable[str]:
    i, n = 0, len(pattern)
    while i < n:
        char = pattern[i]
        at_start = i == 0 or pattern[i - 1] == "/"
        if at_start and pattern.startswith("**/", i):
            yield "(?:[^/]+/)*"
            i += 3
        elif at_start and pattern[i:] == "**":
            yield ".+"
            i += 2
        elif char == "*":
            yield "[^/]*"
            i += 1
        elif char == "?":
            yield "[^/]"
            i += 1
        elif char == "[":
            end = pattern.find("]", i + 2 + (pattern[i + 1 : i + 2] == "!"))
            if end < 0:
                raise ConfigurationError(
                    f"The pattern {pattern!r} has a '[' at position {i} without its ']'."
                )
            yield _character_class(pattern[i + 1 : end])
            i = end + 1
        else:
            yield re.escape(char)
            i += 1


def _character_class(body: str) -> str:
    negated = body.startswith("!")
    members = body[1:] if negated else body
    parts: list[str] = []
    i = 0
    while i < len(members):
        # A range is a character, a hyphen and a character; any other hyphen is itself.
        end = i + 3 if members[i + 1 : i + 2] == "-" and i + 2 < len(members) else i + 1
        parts.append("-".join(re.escape(char) for char in members[i:end:2]))
        i = end
    return f"(?!/)[{'^' if negated else ''}{''.join(parts)}]"
