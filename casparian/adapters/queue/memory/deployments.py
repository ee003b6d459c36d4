"""The versions of plugins in memory, and the audit of refused deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from casparian.adapters.queue.common import unknown_manifest
from casparian.adapters.queue.memory.state import Code, MemoryState
from casparian.domain.deployments import (
    MOST_REFUSALS,
    Deployment,
    Origin,
    RefusedDeploy,
    Verdict,
    used_nonce,
    used_version,
)
from casparian.domain.plugins import PluginManifest


class MemoryDeployments(MemoryState):
    """The part of PluginStore that is about versions."""

    def deploy(
        self,
        deployment: Deployment,
        code: bytes | None = None,
        nonce: str = "",
        nonces_since_us: int = 0,
    ) -> Deployment:
        with self.lock:
            kept = {n: at for n, at in self.nonces.items() if at >= nonces_since_us}
            if nonce in kept:
                raise used_nonce(deployment.plugin)
            newest = self.newest_version(deployment.plugin)
            installed = replace(deployment, version=deployment.version or newest + 1)
            if installed.version <= newest:
                raise used_version(installed.plugin, installed.version, newest)
            self._store_code(installed, code)
            if nonce:
                self.nonces = {**kept, nonce: deployment.at_us}
            self.versions_of_plugins[installed.plugin, installed.version] = installed
            if installed.verdict is Verdict.INSTALLED:
                self._make_live(installed)
                key = (installed.plugin, installed.content_hash)
                self.code[key] = replace(self.code[key], quarantined=None)
                self.changes += 1
        self.waiters.wake()
        return installed

    def refuse(self, refused: RefusedDeploy) -> None:
        with self.lock:
            plugin, key_id = refused.plugin[:100], refused.key_id[:100]
            self.refused_deploys.append(replace(refused, plugin=plugin, key_id=key_id))
            del self.refused_deploys[:-MOST_REFUSALS]

    def deployments(self, plugin: str | None = None) -> Sequence[Deployment]:
        with self.lock:
            known = sorted(self.versions_of_plugins.items())
            return [one for (name, _), one in known if plugin in (None, name)]

    def refusals(self, plugin: str | None = None) -> Sequence[RefusedDeploy]:
        with self.lock:
            return [one for one in self.refused_deploys if plugin in (None, one.plugin)]

    def standing(self) -> Mapping[str, Deployment]:
        with self.lock:
            return {
                plugin: self.versions_of_plugins[plugin, code.manifest.version]
                for (plugin, _), code in sorted(self.code.items())
                if code.live
            }

    def newest_version(self, plugin: str) -> int:
        with self.lock:
            return max((v for name, v in self.versions_of_plugins if name == plugin), default=0)

    def knows_nonce(self, nonce: str) -> bool:
        with self.lock:
            return nonce in self.nonces

    def audiences(self) -> frozenset[str]:
        return frozenset([self.uuid])

    def _take_directory(self, manifest: PluginManifest) -> None:
        """Make the directory's code live, where it is the directory that the plugin's code comes
        from."""
        plugin = manifest.plugin
        installed = [d for d in self.deployments(plugin) if d.verdict is Verdict.INSTALLED]
        if installed and installed[-1].origin is not Origin.DIRECTORY:
            return
        known = self.code.get((plugin, manifest.content_hash))
        if known is not None and known.live:
            return
        version = self.newest_version(plugin) + 1
        deployment = Deployment(
            plugin, version, manifest.content_hash, Origin.DIRECTORY, self.clock()
        )
        if known is None:
            self._store_code(deployment, manifest.code)
        self.versions_of_plugins[plugin, version] = deployment
        self._make_live(deployment)

    def _store_code(self, deployment: Deployment, code: bytes | None) -> None:
        key = (deployment.plugin, deployment.content_hash)
        known = self.code.get(key)
        if known is not None and code is not None:
            self.code[key] = replace(known, manifest=replace(known.manifest, code=code))
        elif known is None:
            if code is None:
                raise unknown_manifest(deployment.content_hash, deployment.plugin)
            manifest = PluginManifest(
                deployment.content_hash,
                deployment.plugin,
                code,
                deployment.origin.value,
                deployment.version,
                deployment.at_us,
            )
            self.code[key] = Code(manifest, live=False)

    def _make_live(self, deployment: Deployment) -> None:
        for key, other in list(self.code.items()):
            if key[0] == deployment.plugin and other.live:
                self.code[key] = replace(other, live=False)
        key = (deployment.plugin, deployment.content_hash)
        known = self.code[key]
        manifest = replace(
            known.manifest, origin=deployment.origin.value, version=deployment.version
        )
        self.code[key] = replace(known, manifest=manifest, live=True)
