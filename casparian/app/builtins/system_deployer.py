"""The system deployer: the one path by which code becomes live that is not the directory's.

What is signed is verified before anything is stored. Code, version, nonce and what is live then
change in one transaction, or nothing does. Which code runs is told to workers by the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from casparian.app.code_guard import CodeGuard
from casparian.domain.deployments import (
    NONCE_KEPT_S,
    DeployCheck,
    Deployment,
    DeployRefusedError,
    Origin,
    RefusedDeploy,
    Signed,
    Verdict,
    used_nonce,
    used_version,
)
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import LivePlugin, PluginConfig
from casparian.domain.ports import Clock, PluginStore
from casparian.domain.signing import KEY_ID, Body, VerifyingKey, check_deploy, verified_body

SECOND_US = 1_000_000


class Keys(Protocol):
    """Where keys to verify with are found."""

    def find(self, key_id: str) -> VerifyingKey | None: ...


@dataclass(frozen=True, slots=True)
class Verified:
    """A deployment whose signature holds, here and now."""

    body: Body
    signed: Signed
    config: PluginConfig
    code: bytes


class SystemDeployer:
    """See the module. `installation` is whom a deployment must be for."""

    def __init__(
        self,
        store: PluginStore,
        keys: Keys,
        installation: Callable[[], str],
        clock: Clock,
    ) -> None:
        self._store = store
        self._keys = keys
        self._installation = installation
        self._clock = clock

    def verify(self, signed: Signed, code: bytes) -> Verified:
        """What was signed, and the configuration of its plugin. Nothing is stored by this.

        Raises DeployRefusedError, UnavailableError; ConfigurationError for a file of keys that
        cannot be used.
        """
        key = self._keys.find(signed.key_id) if KEY_ID.fullmatch(signed.key_id) else None
        body = verified_body(signed, key)
        check_deploy(body, code, self._installation(), self._clock() / SECOND_US)
        config = self._store.configured().get(body.plugin)
        if config is None:
            raise DeployRefusedError(
                DeployCheck.PLUGIN,
                f"Refused, and nothing was changed: the engine's configuration has no "
                f"[plugin.{body.plugin}], which says what it is for and where its rows go.",
            )
        if self._store.knows_nonce(body.nonce):
            raise used_nonce(body.plugin)
        newest = self._store.newest_version(body.plugin)
        if body.version <= newest:
            raise used_version(body.plugin, body.version, newest)
        scheme = key.scheme.value if key is not None else ""
        return Verified(body, replace(signed, scheme=scheme), config, code)

    def install(self, verified: Verified, failure: str = "") -> Deployment:
        """Store a verified version and make it live; with a `failure`, only store it.

        Raises DeployRefusedError for a version or a nonce that somebody else was quicker with.
        """
        now, body = self._clock(), verified.body
        deployment = Deployment(
            body.plugin,
            body.version,
            body.sha256,
            Origin.DEPLOY,
            now,
            Verdict.FAILED if failure else Verdict.INSTALLED,
            failure,
            signed=verified.signed,
        )
        since = now - NONCE_KEPT_S * SECOND_US
        return self._store.deploy(deployment, verified.code, body.nonce, since)

    def refused(
        self, error: DeployRefusedError, plugin: str = "", version: int = 0, key_id: str = ""
    ) -> None:
        """Note in the audit what was refused."""
        at_us = self._clock()
        self._store.refuse(RefusedDeploy(at_us, error.check, str(error), plugin, version, key_id))

    def roll_back(
        self, plugin: str, version: int | None, guard: CodeGuard, actor: str
    ) -> Deployment:
        """Make an earlier version live, as a new one; None for the one before the live one.

        Raises ConfigurationError for a version that there is not, or whose code or signature does
        not hold any more.
        """
        chosen = self._earlier(plugin, version)
        manifest = self._store.manifest(chosen.content_hash, plugin)
        live = LivePlugin(PluginConfig(plugin, frozenset()), chosen.content_hash)
        problem = guard.problem(live, manifest, chosen, self._store.audiences())
        if problem:
            raise ConfigurationError(
                f"Version {chosen.version} of plugin {plugin} cannot come back: {problem} Nothing "
                "was changed."
            )
        return self._store.deploy(
            Deployment(
                plugin,
                0,
                chosen.content_hash,
                Origin.ROLLBACK,
                self._clock(),
                message=f"version {chosen.version} again",
                actor=actor,
                signed=chosen.signed,
            )
        )

    def _earlier(self, plugin: str, version: int | None) -> Deployment:
        versions = self._store.deployments(plugin)
        standing = self._store.standing().get(plugin)
        if standing is None:
            known = ", ".join(self._store.standing()) or "none"
            raise ConfigurationError(
                f"There is no plugin {plugin!r} with live code; known: {known}."
            )
        able = [
            one
            for one in versions
            if one.verdict is Verdict.INSTALLED
            and one.version < standing.version
            and one.content_hash != standing.content_hash
        ]
        if version is None:
            if not able:
                raise ConfigurationError(
                    f"Plugin {plugin} has no earlier version with other code; its live one is "
                    f"{standing.version}. `casparian deployments {plugin}` lists all."
                )
            return able[-1]
        for one in able:
            if one.version == version:
                return one
        numbers = ", ".join(str(one.version) for one in able) or "none"
        raise ConfigurationError(
            f"Plugin {plugin} cannot go back to version {version}: live is {standing.version}; "
            f"earlier ones with other code: {numbers}. `casparian deployments {plugin}` "
            "lists all."
        )


def own_hash() -> str:
    """The identity of this plugin's code, as other plugins have one."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
