"""Deployments: every version that a plugin ever had, where it came from, and who signed it.

Versions of a plugin count up over all origins and are never used twice, so that an old version
can only come back as a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from casparian.domain.errors import CasparianError

NONCE_KEPT_S = 24 * 3600
"""A nonce is taken once in this time; a signature lasts far less."""
MOST_REFUSALS = 500
"""Refused deployments that are kept for the audit: strangers must not fill the database."""
LARGEST_PLUGIN_BYTES = 8 << 20
INSTALLED = "installed"
"""What is counted of deployments that no check refused."""


class Origin(StrEnum):
    """Where a version of a plugin came from."""

    DIRECTORY = "directory"
    DEPLOY = "deploy"
    ROLLBACK = "rollback"


class Verdict(StrEnum):
    """What became of a version whose signature held."""

    INSTALLED = "installed"
    FAILED = "failed"


class DeployCheck(StrEnum):
    """The check that a refused deployment failed."""

    SENDER = "sender"
    SIZE = "size"
    BUSY = "busy"
    SUPERSEDED = "superseded"
    STOPPING = "stopping"
    FORM = "form"
    KEY = "key"
    REVOKED = "revoked"
    SIGNATURE = "signature"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    FUTURE = "future"
    CODE_HASH = "code_hash"
    PLUGIN = "plugin"
    NONCE = "nonce"
    VERSION = "version"
    CONTRACT = "contract"
    DATABASE = "database"
    ENGINE = "engine"


class DeployRefusedError(CasparianError):
    """A deployment was refused, and nothing is live that was not before.

    The text says which check failed, not what would pass.
    """

    def __init__(self, check: DeployCheck, message: str) -> None:
        super().__init__(message)
        self.check = check


def used_nonce(plugin: str) -> DeployRefusedError:
    return DeployRefusedError(
        DeployCheck.NONCE,
        "Refused, and nothing was changed: this very deployment came before. `casparian "
        f"deployments {plugin}` says what came of it; if that is not enough, deploy again, which "
        "signs anew.",
    )


def used_version(plugin: str, version: int, newest: int) -> DeployRefusedError:
    return DeployRefusedError(
        DeployCheck.VERSION,
        f"Refused, and nothing was changed: version {version} of plugin {plugin} is not above its "
        f"newest, {newest}. Look at it by `casparian deployments {plugin}`, and deploy again.",
    )


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature with the exact bytes that it is of, kept to be verified at every load."""

    key_id: str
    scheme: str
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Deployment:
    """One version of a plugin. `version` 0 asks the store for the next one. `actor` is who asked
    for it, user@host, empty for what the engine did by its configuration."""

    plugin: str
    version: int
    content_hash: str
    origin: Origin
    at_us: int
    verdict: Verdict = Verdict.INSTALLED
    message: str = ""
    actor: str = ""
    signed: Signed | None = None
    altered: str = ""
    """What the database holds of it that this program never wrote, as sentences."""


def not_loaded(deployment: Deployment) -> DeployRefusedError:
    return DeployRefusedError(
        DeployCheck.CONTRACT,
        f"Version {deployment.version} of plugin {deployment.plugin} is recorded, and not live, "
        f"since it could not be loaded: {deployment.message}",
    )


@dataclass(frozen=True, slots=True)
class RefusedDeploy:
    """A deployment that was refused before it had a version; what it said of itself is not
    to be believed. `version` is 0 where it could not be read."""

    at_us: int
    check: DeployCheck
    message: str
    plugin: str = ""
    version: int = 0
    key_id: str = ""
