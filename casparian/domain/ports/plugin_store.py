"""The port to plugins: their code, configuration and deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from casparian.domain.deployments import Deployment, RefusedDeploy
from casparian.domain.plugins import LivePlugin, PluginConfig, PluginManifest
from casparian.domain.requirements import Environment
from casparian.domain.routing import RoutingRule, RoutingTable


@dataclass(frozen=True, slots=True)
class Applied:
    """The configuration as the database is to hold it: all paths absolute."""

    roots: tuple[bytes, ...]
    rules: tuple[RoutingRule, ...]
    plugins: tuple[PluginConfig, ...]
    manifests: tuple[PluginManifest, ...]
    ageing_us: int = 60_000_000


class PluginStore(Protocol):
    """Plugin code and configuration, as workers see them.

    1. `apply` makes rules, roots, plugins and topics what the configuration says, in one
       transaction; what is gone from it is inactive, never deleted.
    2. Jobs are enqueued for every current version of a file that is not deleted, which a new
       or changed rule or subscription matches and which has no job of that plugin.
    3. Code is stored once per content hash and plugin; its manifest tells the newest version
       that it is. The code applied last is live. Applying the same again changes nothing and
       raises no revision.
    4. `revision` grows with every change that a worker must see.
    5. `quarantine` marks one content hash of a plugin; other code of it is not affected.
    6. Each version of a plugin is a Deployment. Versions count up over all origins and are
       never given twice, also where the code is one that the plugin had before.
    7. `apply` takes code for a plugin only while its newest installed version is of origin
       DIRECTORY, or there is none: what was deployed, or rolled back to, stays.
    8. `deploy` stores code, version and nonce, and makes the code live, in one transaction; a
       version with the verdict FAILED is stored and leaves what is live. It returns what it
       stored. It raises DeployRefusedError, and changes nothing, for a nonce that was used since
       `nonces_since_us`, and for a version that is not above every other of the plugin.
    9. Deployed code is no longer under quarantine, and its bytes are those deployed, whatever
       was made of them in the database.
    10. `refuse` keeps the last MOST_REFUSALS of refused deployments.
    11. `live` names the active source roots with each plugin: that is where its input lies.
    12. `note_environment` says what code of a plugin runs in from now on; an environment is kept
        for good, once, however many plugins and jobs refer to it by its digest.
    """

    def apply(self, applied: Applied) -> int:
        """Returns how many jobs were enqueued by it."""
        ...

    def routing(self) -> RoutingTable: ...

    def live(self) -> Sequence[LivePlugin]: ...

    def configured(self) -> Mapping[str, PluginConfig]:
        """The active plugins' configurations by name, also of those without code."""
        ...

    def manifest(self, content_hash: str, plugin: str | None = None) -> PluginManifest:
        """Of this plugin, or of any that has the code."""
        ...

    def revision(self) -> int: ...

    def recheck(self) -> None:
        """Raise the revision: every worker verifies again what it runs."""
        ...

    def quarantine(self, plugin: str, content_hash: str, reason: str) -> None: ...

    def note_environment(
        self, plugin: str, content_hash: str, environment: Environment
    ) -> None: ...

    def environments(self, key: str) -> Sequence[Environment]:
        """All that were noted of this key: which packages it leads to may change with time."""
        ...

    # --- versions -------------------------------------------------------------------------

    def deploy(
        self,
        deployment: Deployment,
        code: bytes | None = None,
        nonce: str = "",
        nonces_since_us: int = 0,
    ) -> Deployment:
        """`code` None: the plugin has it already, as in a rollback."""
        ...

    def refuse(self, refused: RefusedDeploy) -> None: ...

    def deployments(self, plugin: str | None = None) -> Sequence[Deployment]:
        """Every version, of one plugin or of all, by plugin and version."""
        ...

    def refusals(self, plugin: str | None = None) -> Sequence[RefusedDeploy]:
        """Refused deployments, oldest first."""
        ...

    def standing(self) -> Mapping[str, Deployment]:
        """By plugin, the version that is live."""
        ...

    def newest_version(self, plugin: str) -> int:
        """The highest version of any verdict; 0 for none."""
        ...

    def knows_nonce(self, nonce: str) -> bool: ...

    def audiences(self) -> frozenset[str]:
        """This installation's UUID, and those that it had before rows were adopted."""
        ...
