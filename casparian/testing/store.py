"""The contract of PluginStore. A subclass gives the fixture `stores`; numbers are the port's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import Mode, PluginConfig, TopicConfig, code_hash
from casparian.domain.ports import Applied, PluginStore
from casparian.domain.requirements import Environment
from casparian.domain.routing import RoutingRule
from casparian.domain.sandbox import Grants
from casparian.testing.world import (
    HASH,
    PLUGIN,
    ROOT,
    Stores,
    VirtualClock,
    World,
    applied,
    code,
    plugin,
)

CSV, JSON = RoutingRule("**/*.csv", "csv"), RoutingRule("**/*.json", "json", 3)


APPENDING = TopicConfig("rows", "parquet:///out", Mode.APPEND)


class PluginStoreContract:
    """Hold an adapter to the promises of PluginStore."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def stores(self, clock: VirtualClock) -> Stores:
        raise NotImplementedError("give the adapter under test")

    @pytest.fixture
    def world(self, stores: Stores, clock: VirtualClock) -> World:
        return World(stores, clock)

    @pytest.fixture
    def store(self, world: World) -> PluginStore:
        return world.stores.store

    def test_workers_read_what_was_applied(self, store: PluginStore) -> None:
        """Promise 1: every value as it was given, types included."""
        topics = (
            TopicConfig("b", "parquet:///out/\udcff", Mode.APPEND),
            TopicConfig("*", "sqlite:///out.db/{topic}"),
        )
        config = PluginConfig(
            PLUGIN, frozenset({"csv", "schön"}), {"deep": [1, {"x": None}], "é": "ü"},
            topics, 12.5, 64, 7, 0, Grants(("/data/\udcff", "/etc/é"), True, True),
        )  # fmt: skip
        share = replace(config, plugin="share", max_rejects=0.25, topics=())
        network = replace(config, plugin="network", grants=Grants(allow_network=True), topics=())
        store.apply(applied((CSV, JSON), (config, share, network)))
        both = {live.name: live for live in store.live()}
        assert both[PLUGIN].config == config
        assert isinstance(both[PLUGIN].config.max_rejects, int)
        assert both["share"].config == share
        assert both["network"].config == network
        assert (both[PLUGIN].content_hash, both[PLUGIN].quarantined) == (HASH, False)
        routing = store.routing()
        assert [(r.pattern, r.tag, r.priority) for r in routing.rules] == [
            ("**/*.csv", "csv", 0),
            ("**/*.json", "json", 3),
        ]
        assert len({rule.id for rule in routing.rules} - {0}) == 2
        assert {s.plugin: s.tags for s in routing.subscriptions} == {
            PLUGIN: config.tags,
            "share": config.tags,
            "network": config.tags,
        }

    def test_12_what_code_runs_in_is_on_record(self, world: World, store: PluginStore) -> None:
        """Whatever the same requirements have led to since."""
        store.apply(applied())
        first = Environment("k" * 32, "CPython 3.11.2", ("a==1", "b==2+é"))
        then = replace(first, packages=("a==2",))
        before = store.revision()
        assert store.environments(first.key) == []
        for environment in (first, first, then, first, then):
            store.note_environment(PLUGIN, HASH, environment)
            (told,) = world.stores.reports.status()["plugins"]
            assert told["environment"] == {
                "digest": environment.digest,
                "directory": environment.key,
                "python": environment.python,
                "packages": list(environment.packages),
            }
        assert store.environments(first.key) == [first, then]
        assert store.environments("other") == []
        assert store.revision() == before

    def test_11_plugins_come_with_the_roots_of_their_input(self, store: PluginStore) -> None:
        """Also a change of the roots alone is seen by workers."""
        store.apply(applied(roots=(ROOT, b"/m\xff")))
        before = store.revision()
        assert [live.roots for live in store.live()] == [(ROOT, b"/m\xff")]
        store.apply(applied(roots=(b"/m\xff", b"/third")))
        assert [live.roots for live in store.live()] == [(b"/m\xff", b"/third")]
        assert store.revision() > before

    def test_what_is_gone_is_inactive(self, world: World, store: PluginStore) -> None:
        """Promise 1: and back with the same id."""
        store.apply(applied((CSV, JSON), (plugin(), plugin("other"))))
        first = store.routing().rules
        store.apply(applied((JSON,), (plugin("other", topics=(TopicConfig("t", "x"),)),)))
        assert store.routing().rules == first[1:]
        assert [live.name for live in store.live()] == ["other"]
        assert [live.config.topic_names for live in store.live()] == [["t"]]
        assert {p["name"]: p["active"] for p in world.stores.reports.status()["plugins"]} == {
            "lines": False,
            "other": True,
        }
        store.apply(applied((JSON, CSV), (plugin(), plugin("other"))))
        assert tuple(reversed(store.routing().rules)) == tuple(first)

    def test_the_same_again_changes_nothing(self, world: World, store: PluginStore) -> None:
        """Promise 3 and 4."""
        configuration = applied((CSV, JSON), (plugin(), plugin("other")))
        store.apply(configuration)
        world.record((b"a.csv", "1"))
        revision, live = store.revision(), store.live()
        assert store.apply(configuration) == 0
        assert (store.revision(), store.live()) == (revision, live)

    @pytest.mark.parametrize(
        "changed",
        [
            applied((CSV, JSON)),
            applied((JSON, CSV)),
            applied(plugins=(plugin(), plugin("other"))),
            applied(plugins=(plugin(tags=("json",)),)),
            applied(plugins=(replace(plugin(), settings={"delimiter": ";"}),)),
            applied(plugins=(replace(plugin(), timeout_s=1.0),)),
            applied(plugins=(plugin(topics=(TopicConfig("rows", "parquet:///new"),)),)),
            applied(
                plugins=(plugin(topics=(TopicConfig("rows", "parquet:///out", Mode.APPEND),)),)
            ),
            applied(manifests=(code(source=b"class Handler: pass\n"),)),
            applied(roots=(ROOT, b"/more")),
        ],
    )
    def test_every_change_raises_the_revision(self, store: PluginStore, changed: Applied) -> None:
        """Promise 4."""
        store.apply(applied())
        before = store.revision()
        store.apply(changed)
        assert store.revision() == before + 1
        store.apply(changed)
        assert store.revision() == before + 1

    # --- jobs for files already known ---

    def test_a_new_rule_enqueues(self, world: World, store: PluginStore) -> None:
        """Promise 2: current versions only, with the tag and the rule's priority."""
        store.apply(applied((CSV,), (plugin(tags=("csv", "json")),)))
        world.record((b"a.json", "1"), (b"b.csv", "1"), (b"c.txt", "1"))
        world.record((b"a.json", "2"))
        assert store.apply(applied((CSV, JSON), (plugin(tags=("csv", "json")),))) == 1
        claims = {claim.path: claim for claim in world.claim(10)}
        assert (claims[b"a.json"].ordinal, claims[b"a.json"].priority) == (2, 3)
        assert set(claims) == {b"a.json", b"b.csv"}
        files = {file["path"]: file["tags"] for file in world.stores.reports.files()}
        assert files == {"a.json": ["json"], "b.csv": ["csv"], "c.txt": []}

    def test_a_new_plugin_gets_what_is_there(self, world: World, store: PluginStore) -> None:
        """Promise 2."""
        store.apply(applied())
        world.record_many(3)
        assert store.apply(applied(plugins=(plugin(), plugin("other")))) == 3
        assert [c.plugin for c in world.claim(10, plugins={"other": "h"})] == ["other"] * 3

    def test_a_wider_subscription_enqueues(self, world: World, store: PluginStore) -> None:
        """Promise 2: only what had no job of that plugin."""
        store.apply(applied((CSV, JSON)))
        world.record((b"a.csv", "1"), (b"b.json", "1"))
        wider = applied((CSV, JSON), (plugin(tags=("csv", "json")),))
        assert store.apply(wider) == 1
        assert sorted(claim.path for claim in world.claim(9)) == [b"a.csv", b"b.json"]

    def test_deleted_files_get_no_jobs(self, world: World, store: PluginStore) -> None:
        """Promise 2."""
        store.apply(applied())
        world.record((b"a.csv", "1"))
        location = world.stores.catalog.find(world.root.id, b"a.csv")
        assert location is not None
        world.stores.catalog.missed([location.id])
        world.stores.catalog.missed([location.id])
        assert store.apply(applied(plugins=(plugin(), plugin("other")))) == 0

    def test_a_plugin_that_returns_gets_what_it_missed(
        self, world: World, store: PluginStore
    ) -> None:
        """Promise 2."""
        store.apply(applied(plugins=(plugin(), plugin("other"))))
        world.record((b"a.csv", "1"))
        store.apply(applied())
        world.record((b"a.csv", "2"), (b"b.csv", "1"))
        assert store.apply(applied(plugins=(plugin(), plugin("other")))) == 2

    def test_more_files_than_a_page(self, world: World, store: PluginStore) -> None:
        """Promise 2."""
        store.apply(applied())
        world.record_many(1200)
        assert store.apply(applied(plugins=(plugin(), plugin("other")))) == 1200
        assert store.apply(applied(plugins=(plugin(), plugin("other")))) == 0

    # --- code ---

    def test_code_is_kept_by_its_hash(self, store: PluginStore) -> None:
        """Promise 3 and 6: the last applied is live, versions count up, nothing is lost."""
        sources = [b"first\n", b"second\xff\n"]
        for source in sources:
            store.apply(applied(manifests=(code(source=source),)))
        assert store.live()[0].content_hash == code_hash(sources[1])
        for version, source in enumerate(sources, 1):
            manifest = store.manifest(code_hash(source))
            assert (manifest.code, manifest.version, manifest.plugin) == (source, version, PLUGIN)
        store.apply(applied(manifests=(code(source=sources[0]),)))
        assert store.live()[0].content_hash == code_hash(sources[0])
        assert store.manifest(code_hash(sources[0])).version == 3

    def test_one_code_may_be_two_plugins(self, store: PluginStore) -> None:
        """Promise 3: a manifest is stored once per content hash and plugin."""
        store.apply(applied(plugins=(plugin("a"), plugin("b"))))
        assert [(p.name, p.content_hash) for p in store.live()] == [("a", HASH), ("b", HASH)]

    def test_unknown_code_is_refused(self, store: PluginStore) -> None:
        """The error names the command that lists what there is."""
        with pytest.raises(ConfigurationError, match="casparian plugins"):
            store.manifest("0" * 64)
        with pytest.raises(ConfigurationError, match="casparian plugins"):
            store.quarantine(PLUGIN, "0" * 64, "bad")

    def test_a_plugin_without_code_is_not_live(self, store: PluginStore) -> None:
        """Promise 1: configured, and yet nothing to run."""
        store.apply(applied(plugins=(plugin(), plugin("empty")), manifests=(code(),)))
        assert [live.name for live in store.live()] == [PLUGIN]

    def test_quarantine_marks_one_code(self, world: World, store: PluginStore) -> None:
        """Promise 5 and 4."""
        store.apply(applied(plugins=(plugin(), plugin("other"))))
        revision = store.revision()
        store.quarantine(PLUGIN, HASH, "It kills its host.")
        assert store.revision() == revision + 1
        store.quarantine(PLUGIN, HASH, "Again.")
        assert store.revision() == revision + 1
        assert {p.name: p.quarantined for p in store.live()} == {PLUGIN: True, "other": False}
        store.apply(applied(plugins=(plugin(), plugin("other"))))
        assert store.live()[0].quarantined
        better = (code(source=b"better\n"), code("other"))
        store.apply(applied(plugins=(plugin(), plugin("other")), manifests=better))
        assert not any(live.quarantined for live in store.live())
        (document, _) = world.stores.reports.status()["plugins"]
        assert (document["name"], document["quarantined"]) == (PLUGIN, None)
