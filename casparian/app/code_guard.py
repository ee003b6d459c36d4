"""Whether stored code may be loaded: the hash at every load, and the signature again.

Who can write to the database can change what lies in it; whoever signed is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from casparian.domain.deployments import Deployment, DeployRefusedError, Origin
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import LivePlugin, PluginManifest, code_hash
from casparian.domain.ports import PluginStore
from casparian.domain.signing import VerifyingKey, check_stored


class Keys(Protocol):
    """Where keys to verify with are found."""

    def find(self, key_id: str) -> VerifyingKey | None: ...


class CodeGuard:
    """Goes by the keys of this host, and by its `[plugins] require_signature`."""

    def __init__(self, keys: Keys, require_signature: bool) -> None:
        self._keys = keys
        self._require_signature = require_signature

    def problem(
        self,
        plugin: LivePlugin,
        manifest: PluginManifest,
        deployment: Deployment | None,
        audiences: frozenset[str],
    ) -> str:
        """Why this code may not run, as sentences with what to do; empty where it may.

        `deployment` is the version that made it live, None where the store knows of none;
        `audiences` whom it may have been signed for.
        """
        again = f"Deploy the plugin again: `casparian deploy FILE --plugin {plugin.name}`."
        if deployment is not None and deployment.altered:
            return f"Its version was altered in the database: {deployment.altered} {again}"
        if code_hash(manifest.code) != plugin.content_hash:
            return f"Its code in the database is not the code that its hash is of. {again}"
        if deployment is None or deployment.content_hash != plugin.content_hash:
            return f"No version of it is this code: the database was altered. {again}"
        if deployment.signed is None:
            if deployment.origin is Origin.DEPLOY:
                return f"It is said to be deployed, and has no signature. {again}"
            if self._require_signature:
                return f"It is not signed, and [plugins] require_signature is true. {again}"
            return ""
        try:
            key = self._keys.find(deployment.signed.key_id)
            body = check_stored(deployment.signed, key, plugin.name, manifest.code)
        except DeployRefusedError as error:
            reason = str(error).removeprefix("Refused, and nothing was changed: ")
            return f"Its signature does not hold: {reason} {again}"
        except ConfigurationError as error:
            return f"Its signature cannot be verified: {error}"
        if body.audience not in audiences:
            return f"It was signed for another installation. {again}"
        rolled_back = deployment.origin is Origin.ROLLBACK
        if body.version > deployment.version or (
            not rolled_back and body.version != deployment.version
        ):
            return f"It was signed as version {body.version}, and not as this one. {again}"
        return ""


def deployed_plugins(store: PluginStore) -> frozenset[str]:
    """Plugins whose code does not come from the directory any more."""
    standing = store.standing()
    return frozenset(n for n, one in standing.items() if one.origin is not Origin.DIRECTORY)


def problems(
    store: PluginStore, guard: CodeGuard, live: Mapping[str, LivePlugin]
) -> dict[str, str]:
    """Why plugins of these may not run, by name; the code is read anew."""
    standing, audiences = store.standing(), store.audiences()
    found = {}
    for name, plugin in live.items():
        try:
            manifest = store.manifest(plugin.content_hash, name)
        except ConfigurationError as error:
            found[name] = str(error)
            continue
        problem = guard.problem(plugin, manifest, standing.get(name), audiences)
        if problem:
            found[name] = problem
    return found
