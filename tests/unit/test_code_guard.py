"""Whether stored code may be loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casparian.app.code_guard import CodeGuard
from casparian.domain.deployments import Deployment, Origin, Signed
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import LivePlugin, PluginConfig, PluginManifest, code_hash
from casparian.domain.signing import VerifyingKey, hmac_key, hmac_verifier, sign

SECRET, HERE, FORMERLY = bytes(32), "0" * 32, "f" * 32
CODE = b"class Handler: ...\n"
HASH = code_hash(CODE)
PLUGIN = LivePlugin(PluginConfig("lines", frozenset()), HASH)
MANIFEST = PluginManifest(HASH, "lines", CODE)
AUDIENCES = frozenset({HERE, FORMERLY})


class Keys:
    """One key."""

    def __init__(self, key: VerifyingKey | None = None) -> None:
        self.key = key or hmac_verifier("office", SECRET)

    def find(self, key_id: str) -> VerifyingKey | None:
        return self.key if key_id == self.key.id else None


class NoKeys:
    def find(self, key_id: str) -> VerifyingKey | None:
        raise ConfigurationError("The key file is refused.")


def signed(version: int = 3, plugin: str = "lines", audience: str = HERE) -> Signed:
    key = hmac_key("office", SECRET)
    return sign(key, plugin, version, CODE, audience, 1, bytes(16))


DEPLOYED = Deployment("lines", 3, HASH, Origin.DEPLOY, 1, signed=signed())
DIRECTORY = Deployment("lines", 3, HASH, Origin.DIRECTORY, 1)


@pytest.mark.parametrize(
    "deployment",
    [
        DIRECTORY,
        DEPLOYED,
        replace(DEPLOYED, signed=signed(audience=FORMERLY)),
        replace(DEPLOYED, version=7, origin=Origin.ROLLBACK),
        replace(DIRECTORY, version=7, origin=Origin.ROLLBACK),
    ],
)
def test_what_may_be_loaded(deployment: Deployment) -> None:
    guard = CodeGuard(Keys(), require_signature=False)
    assert guard.problem(PLUGIN, MANIFEST, deployment, AUDIENCES) == ""
    strict = CodeGuard(Keys(), require_signature=True)
    assert bool(strict.problem(PLUGIN, MANIFEST, deployment, AUDIENCES)) == (
        deployment.signed is None
    )


@pytest.mark.parametrize(
    ("deployment", "problem"),
    [
        (None, "No version of it"),
        (replace(DIRECTORY, content_hash="0" * 64), "No version of it"),
        (replace(DIRECTORY, origin=Origin.DEPLOY), "has no signature"),
        (replace(DEPLOYED, version=4), "signed as version 3"),
        (replace(DEPLOYED, version=2, origin=Origin.ROLLBACK), "signed as version 3"),
        (replace(DEPLOYED, signed=signed(plugin="other")), "for the plugin 'other'"),
        (replace(DEPLOYED, signed=signed(audience="a" * 32)), "another installation"),
        (replace(DEPLOYED, signed=replace(signed(), key_id="home")), "not known here"),
        (replace(DEPLOYED, signed=replace(signed(), signature=b"")), "not that of key"),
    ],
)
def test_what_may_not(deployment: Deployment | None, problem: str) -> None:
    guard = CodeGuard(Keys(), require_signature=False)
    assert problem in guard.problem(PLUGIN, MANIFEST, deployment, AUDIENCES)


@pytest.mark.parametrize("deployment", [DIRECTORY, DEPLOYED])
def test_altered_code(deployment: Deployment) -> None:
    altered = replace(MANIFEST, code=CODE + b"import os\n")
    guard = CodeGuard(Keys(), require_signature=False)
    problem = guard.problem(PLUGIN, altered, deployment, AUDIENCES)
    assert "not the code that its hash is of" in problem
    assert "casparian deploy" in problem


def test_a_revoked_key_and_one_that_cannot_be_read() -> None:
    revoked = replace(hmac_verifier("office", SECRET), revoked=True)
    told = CodeGuard(Keys(revoked), False).problem(PLUGIN, MANIFEST, DEPLOYED, AUDIENCES)
    assert "has been revoked" in told
    told = CodeGuard(NoKeys(), False).problem(PLUGIN, MANIFEST, DEPLOYED, AUDIENCES)
    assert "The key file is refused." in told
