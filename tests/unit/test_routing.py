"""Globs against a reference that tries every way, and the routing table."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian.domain.errors import ConfigurationError
from casparian.domain.routing import (
    RoutingRule,
    RoutingTable,
    Subscription,
    check_rules,
    compile_glob,
    due_us,
)
from tests.support.examples import examples


def name_matches(pattern: str, name: str) -> bool:
    """`*` and `?` within one name; anything else stands for itself."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(name_matches(pattern[1:], name[i:]) for i in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and name_matches(pattern[1:], name[1:])


def reference(pattern: list[str], path: list[str]) -> bool:
    """Name by name; `**` before others stands for any number of directories, and at the end
    for anything below."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(path)
        return any(reference(pattern[1:], path[i:]) for i in range(len(path) + 1))
    return bool(path) and name_matches(pattern[0], path[0]) and reference(pattern[1:], path[1:])


PLAIN = "ab.^$+(|é\n"
NAMES = st.text(PLAIN, min_size=1, max_size=4)
GLOBS = st.text(PLAIN + "*?", min_size=1, max_size=4).filter(lambda glob: "**" not in glob)


def globs_made_of(names: list[str]) -> st.SearchStrategy[list[str]]:
    """Patterns that have a chance to match these names."""
    one = st.one_of(GLOBS, st.just("**"), st.just("*"), st.sampled_from(names))
    return st.lists(one, min_size=1, max_size=4)


@given(st.data(), st.lists(NAMES, min_size=1, max_size=4))
def test_globs_are_what_the_reference_says(data: st.DataObject, path: list[str]) -> None:
    pattern = data.draw(globs_made_of(path))
    rule = RoutingRule("/".join(pattern), "tag")
    assert rule.matches("/".join(path).encode()) == reference(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path", "matched"),
    [
        ("**/*.csv", b"a.csv", True),
        ("**/*.csv", b"x/y/a.csv", True),
        ("*.csv", b"x/a.csv", False),
        ("**", b"x/y", True),
        ("x/**", b"x", False),
        ("x/**", b"x/y/z", True),
        ("x/**/y", b"x/y", True),
        ("x**y", b"x/y", False),
        ("x**y", b"xxyy", True),
        ("[ab]", b"b", True),
        ("[!ab]", b"c", True),
        ("[!ab]", b"a", False),
        ("[!ab]", b"/", False),
        ("x[!a]y", b"x/y", False),
        ("[a-c]", b"b", True),
        ("[]]", b"]", True),
        ("[!]]", b"]", False),
        ("[^a]", b"^", True),
        ("[+--]", b"-", True),
        ("[a-]", b"-", True),
        ("[-a]", b"-", True),
        ("[--a]", b"A", True),
        ("[a-c-e]", b"d", False),
        ("[a-c-e]", b"-", True),
        ("[&&a||b~~c]", b"&", True),
        ("[\\d]", b"\\", True),
        ("[\\d]", b"5", False),
        ("*", b"\xff\xfe", True),
        ("?", "\N{PILE OF POO}".encode(), True),
        (".*", b".hidden", True),
        ("*", b".hidden", True),
        ("A", b"a", False),
    ],
)
def test_globs_by_example(pattern: str, path: bytes, matched: bool) -> None:
    assert RoutingRule(pattern, "tag").matches(path) is matched


@pytest.mark.parametrize("pattern", ["", "/abs", "a[b", "[", "[!]", "[b-a]", "[?--]"])
def test_a_pattern_that_cannot_be_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="The pattern"):
        check_rules([RoutingRule(pattern, "tag")])


@settings(max_examples=examples(300))
@given(st.text("ab[]!^-\\*?/&|~", max_size=8))
def test_any_pattern_is_compiled_or_refused_by_a_sentence(pattern: str) -> None:
    refused = ""
    try:
        compile_glob(pattern)
    except ConfigurationError as error:
        refused = str(error)
    assert not refused or refused.endswith(".")


def test_tags_plugins_and_priority() -> None:
    low, high, equal = (
        RoutingRule("**", "csv", 1, id=1),
        RoutingRule("**/*.csv", "csv", 5, id=2),
        RoutingRule("*.csv", "csv", 5, id=3),
    )
    other = RoutingRule("in/**", "in", -2, id=4)
    table = RoutingTable(
        [low, high, equal, other],
        [
            Subscription("z", frozenset({"csv", "none"})),
            Subscription("a", frozenset({"in"})),
            Subscription("nobody", frozenset({"none"})),
        ],
    )
    routed = table.route(b"a.csv")
    assert routed.tags == {"csv": high}
    assert (routed.plugins, routed.priority) == (("z",), 5)
    assert table.route(b"in/x").plugins == ("a", "z")
    assert table.route(b"in/x").priority == 1
    nothing = RoutingTable([other], []).route(b"x")
    assert (nothing.tags, nothing.plugins, nothing.priority) == ({}, (), 0)


def test_age_beats_priority_in_the_end_unless_ageing_is_off() -> None:
    minute = 60_000_000
    assert due_us(0, 0, minute) < due_us(10 * minute, 5, minute)
    assert due_us(10 * minute, 5, minute) < due_us(6 * minute, 0, minute)
    assert due_us(10**15, 1, 0) < due_us(0, 0, 0)
