"""The contract of PluginStore's versions. A subclass gives the fixture `stores`; numbers are the
port's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casparian.domain.deployments import (
    MOST_REFUSALS,
    DeployCheck,
    Deployment,
    DeployRefusedError,
    Origin,
    RefusedDeploy,
    Signed,
    Verdict,
)
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import code_hash
from casparian.domain.ports import PluginStore
from casparian.testing.world import CODE, HASH, PLUGIN, Stores, VirtualClock, applied, code, plugin

BETTER, WORSE = b"better\n", b"worse\x00\xff\n"
SIGNED = Signed("office", "hmac-sha256", b'{"plugin":"lines"}', bytes(range(32)))
NONCE = "0123456789abcdef" * 2


def deployed(source: bytes = BETTER, version: int = 2, at_us: int = 1_000_000) -> Deployment:
    return Deployment(PLUGIN, version, code_hash(source), Origin.DEPLOY, at_us, signed=SIGNED)


def refused(message: str, plugin: str = PLUGIN) -> RefusedDeploy:
    return RefusedDeploy(7, DeployCheck.SIGNATURE, message, plugin, 3, "office")


class DeploymentsContract:
    """Hold an adapter to what PluginStore promises of versions."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def stores(self, clock: VirtualClock) -> Stores:
        raise NotImplementedError("give the adapter under test")

    @pytest.fixture
    def store(self, stores: Stores) -> PluginStore:
        stores.store.apply(applied())
        return stores.store

    def test_the_directory_makes_versions(self, store: PluginStore, clock: VirtualClock) -> None:
        """Promise 6: also of code that was there before."""
        for source in (BETTER, CODE, CODE):
            store.apply(applied(manifests=(code(source=source),)))
        told = [(d.version, d.content_hash, d.origin, d.verdict) for d in store.deployments(PLUGIN)]
        installed, directory = Verdict.INSTALLED, Origin.DIRECTORY
        assert told == [
            (1, HASH, directory, installed),
            (2, code_hash(BETTER), directory, installed),
            (3, HASH, directory, installed),
        ]
        assert {d.at_us for d in store.deployments()} == {clock()}
        assert {d.signed for d in store.deployments()} == {None}
        assert store.standing()[PLUGIN].version == 3

    def test_a_deployment_is_live_as_it_was_given(self, store: PluginStore) -> None:
        """Promise 8 and 4: every value, the signed bytes to the last."""
        before = store.revision()
        given = replace(deployed(), actor="é@host", message="ok")
        assert store.deploy(given, BETTER, NONCE) == given
        assert store.revision() == before + 1
        assert store.live()[0].content_hash == code_hash(BETTER)
        assert store.standing() == {PLUGIN: given}
        assert list(store.deployments(PLUGIN))[1:] == [given]
        manifest = store.manifest(code_hash(BETTER), PLUGIN)
        assert (manifest.code, manifest.origin, manifest.version) == (BETTER, "deploy", 2)
        assert store.knows_nonce(NONCE)
        assert not store.knows_nonce(NONCE[::-1])

    def test_the_directory_does_not_override(self, store: PluginStore) -> None:
        """Promise 7: whatever is in it, and however often it is applied."""
        store.deploy(deployed(), BETTER, NONCE)
        revision = store.revision()
        for source in (CODE, WORSE):
            store.apply(applied(manifests=(code(source=source),)))
        assert store.live()[0].content_hash == code_hash(BETTER)
        assert store.revision() == revision
        assert store.newest_version(PLUGIN) == 2

    def test_the_directory_again(self, store: PluginStore) -> None:
        """Promise 7: once a version of the directory is installed on purpose."""
        store.deploy(deployed(), BETTER, NONCE)
        store.deploy(Deployment(PLUGIN, 0, HASH, Origin.DIRECTORY, 5, actor="me@here"), CODE)
        store.apply(applied(manifests=(code(source=WORSE),)))
        assert store.live()[0].content_hash == code_hash(WORSE)
        assert store.newest_version(PLUGIN) == 4

    def test_a_version_is_given_once(self, store: PluginStore) -> None:
        """Promise 8: nothing changes, not even the nonce."""
        store.deploy(deployed(version=7), BETTER, NONCE)
        seen = (store.revision(), store.deployments(), store.live())
        for version in (7, 6, 1):
            with pytest.raises(DeployRefusedError, match="not above") as error:
                store.deploy(deployed(WORSE, version), WORSE, "f" * 32)
            assert error.value.check is DeployCheck.VERSION
        assert (store.revision(), store.deployments(), store.live()) == seen
        assert not store.knows_nonce("f" * 32)
        with pytest.raises(ConfigurationError):
            store.manifest(code_hash(WORSE))
        store.deploy(deployed(WORSE, 8), WORSE, "f" * 32)
        assert store.live()[0].content_hash == code_hash(WORSE)

    def test_a_nonce_is_taken_once(self, store: PluginStore) -> None:
        """Promise 8: for as long as it is kept."""
        store.deploy(deployed(at_us=100), BETTER, NONCE, 0)
        seen = (store.revision(), store.deployments(), store.live())
        with pytest.raises(DeployRefusedError) as error:
            store.deploy(deployed(WORSE, 3, 200), WORSE, NONCE, 100)
        assert error.value.check is DeployCheck.NONCE
        assert (store.revision(), store.deployments(), store.live()) == seen
        store.deploy(deployed(WORSE, 3, 300), WORSE, NONCE, 101)
        assert store.newest_version(PLUGIN) == 3

    def test_a_failed_version_is_not_live(self, store: PluginStore) -> None:
        """Promise 8: recorded with its code; its number and nonce are used up."""
        revision = store.revision()
        failed = replace(deployed(), verdict=Verdict.FAILED, message="no Handler")
        store.deploy(failed, BETTER, NONCE)
        assert store.live()[0].content_hash == HASH
        assert store.revision() == revision
        assert store.deployments(PLUGIN)[-1] == failed
        assert store.manifest(code_hash(BETTER)).code == BETTER
        assert (store.newest_version(PLUGIN), store.knows_nonce(NONCE)) == (2, True)
        store.apply(applied(manifests=(code(source=WORSE),)))
        assert store.standing()[PLUGIN].version == 3

    def test_back_to_code_that_is_there(self, store: PluginStore) -> None:
        """Promise 6 and 8: a new version, without its code being sent again."""
        store.deploy(deployed(), BETTER, NONCE)
        back = Deployment(PLUGIN, 0, HASH, Origin.ROLLBACK, 9, actor="me@here")
        assert store.deploy(back).version == 3
        assert store.live()[0].content_hash == HASH
        assert store.manifest(HASH).origin == "rollback"
        assert store.standing()[PLUGIN] == replace(back, version=3)
        with pytest.raises(ConfigurationError, match="casparian plugins"):
            store.deploy(replace(back, content_hash="0" * 64))
        assert store.newest_version(PLUGIN) == 3

    def test_a_plugin_without_code_can_be_deployed(self, store: PluginStore) -> None:
        """Promise 8: its first code comes by deployment."""
        store.apply(applied(plugins=(plugin("new"),), manifests=(code(),)))
        assert set(store.configured()) == {"new"}
        assert store.live() == []
        store.deploy(replace(deployed(version=1), plugin="new"), BETTER, NONCE)
        assert [live.name for live in store.live()] == ["new"]

    def test_deployed_code_is_well_and_whole(self, store: PluginStore) -> None:
        """Promise 9."""
        store.deploy(deployed(), BETTER, NONCE)
        store.quarantine(PLUGIN, code_hash(BETTER), "It kills its host.")
        assert store.live()[0].quarantined
        store.deploy(deployed(version=3), BETTER, "a" * 32)
        assert not store.live()[0].quarantined
        assert store.manifest(code_hash(BETTER)).version == 3

    def test_the_same_code_of_two_plugins(self, store: PluginStore) -> None:
        """Promise 3: each has its own manifest and versions."""
        store.apply(applied(plugins=(plugin(), plugin("other")), manifests=(code(),)))
        store.deploy(replace(deployed(CODE, 5), plugin="other"), CODE, NONCE)
        assert store.manifest(HASH, "other").version == 5
        assert store.manifest(HASH, PLUGIN).version == 1
        with pytest.raises(ConfigurationError, match="third"):
            store.manifest(HASH, "third")
        assert [d.plugin for d in store.deployments()] == [PLUGIN, "other"]

    def test_refused_ones_are_kept(self, store: PluginStore) -> None:
        """Promise 10: what they say of themselves is cut to what fits."""
        revision = store.revision()
        store.refuse(refused("first"))
        store.refuse(replace(refused("second", "x" * 500), key_id="k" * 500, version=0))
        first, second = store.refusals()
        assert first == refused("first")
        assert (second.plugin, second.key_id, second.version) == ("x" * 100, "k" * 100, 0)
        assert store.refusals(PLUGIN) == [first]
        assert store.revision() == revision

    def test_refused_ones_do_not_fill_the_database(self, store: PluginStore) -> None:
        """Promise 10."""
        for number in range(MOST_REFUSALS + 20):
            store.refuse(refused(str(number)))
        kept = store.refusals()
        assert [len(kept), kept[0].message, kept[-1].message] == [
            MOST_REFUSALS, "20", str(MOST_REFUSALS + 19)
        ]  # fmt: skip

    def test_whom_a_deployment_may_be_for(self, stores: Stores, store: PluginStore) -> None:
        assert store.audiences() == {stores.ledger.installation}

    def test_a_recheck_is_seen_by_workers(self, store: PluginStore) -> None:
        """Promise 4."""
        before = store.revision()
        store.recheck()
        assert store.revision() == before + 1
