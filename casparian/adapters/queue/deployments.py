"""The versions of plugins over SQL, and the audit of refused deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from casparian.adapters.queue.altered import deployment_of, refusal_of
from casparian.adapters.queue.common import unknown_manifest
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.statements import storable
from casparian.adapters.queue.tables.installation import adoption, installation
from casparian.adapters.queue.tables.plugins import (
    deploy_nonce,
    deploy_refusal,
    plugin_deployment,
    plugin_manifest,
)
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
from casparian.domain.signing import LARGEST_VERSION

_code, _version, _nonce, _refusal = (
    plugin_manifest.c,
    plugin_deployment.c,
    deploy_nonce.c,
    deploy_refusal.c,
)


class SqlDeployments:
    """The part of PluginStore that is about versions."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def deploy(
        self,
        deployment: Deployment,
        code: bytes | None = None,
        nonce: str = "",
        nonces_since_us: int = 0,
    ) -> Deployment:
        with self._db.write() as connection:
            if nonce:
                _take_nonce(connection, deployment, nonce, nonces_since_us)
            newest = _newest(connection, deployment.plugin)
            installed = replace(deployment, version=deployment.version or newest + 1)
            if installed.version <= newest:
                raise used_version(installed.plugin, installed.version, newest)
            _store_code(connection, installed, code)
            _note_version(connection, installed)
            if installed.verdict is Verdict.INSTALLED:
                _make_live(connection, installed)
                well = {"quarantined_at_us": None, "quarantine_reason": None}
                mine = update(plugin_manifest).where(*_mine(installed))
                connection.execute(mine.values(**well))
                raise_revision(connection)
        self._db.waiters.wake()
        return installed

    def refuse(self, refused: RefusedDeploy) -> None:
        with self._db.write() as connection:
            connection.execute(
                insert(deploy_refusal).values(
                    at_us=refused.at_us,
                    failed_check=refused.check.value,
                    message=storable(refused.message),
                    plugin_name=(storable(refused.plugin) or "")[:100],
                    version=refused.version,
                    key_id=(storable(refused.key_id) or "")[:100],
                )
            )
            newest = connection.execute(select(func.max(_refusal.id))).scalar_one()
            connection.execute(delete(deploy_refusal).where(_refusal.id <= newest - MOST_REFUSALS))

    def deployments(self, plugin: str | None = None) -> Sequence[Deployment]:
        statement = select(plugin_deployment)
        if plugin is not None:
            statement = statement.where(_version.plugin_name == plugin)
        with self._db.read() as connection:
            rows = connection.execute(statement.order_by(_version.plugin_name, _version.version))
            return [deployment_of(row) for row in rows]

    def refusals(self, plugin: str | None = None) -> Sequence[RefusedDeploy]:
        statement = select(deploy_refusal)
        if plugin is not None:
            statement = statement.where(_refusal.plugin_name == plugin)
        with self._db.read() as connection:
            rows = connection.execute(statement.order_by(_refusal.id))
            return [refusal_of(row) for row in rows]

    def standing(self) -> Mapping[str, Deployment]:
        same = (_version.plugin_name == _code.plugin_name) & (_version.version == _code.version)
        statement = select(plugin_deployment).join(plugin_manifest, same).where(_code.live)
        with self._db.read() as connection:
            rows = connection.execute(statement.order_by(_version.plugin_name))
            return {one.plugin: one for one in map(deployment_of, rows)}

    def newest_version(self, plugin: str) -> int:
        with self._db.read() as connection:
            return _newest(connection, plugin)

    def knows_nonce(self, nonce: str) -> bool:
        with self._db.read() as connection:
            return _knows(connection, nonce)

    def audiences(self) -> frozenset[str]:
        with self._db.read() as connection:
            now = connection.execute(select(installation.c.uuid)).scalars()
            before = connection.execute(select(adoption.c.former_uuid)).scalars()
            return frozenset([*now, *before])


def raise_revision(connection: Connection) -> None:
    connection.execute(update(installation).values(revision=installation.c.revision + 1))


def take_directory(connection: Connection, manifest: PluginManifest, now_us: int) -> bool:
    """Make the directory's code live, where it is the directory that the plugin's code comes
    from; True if that changed anything."""
    mine = _version.plugin_name == manifest.plugin
    installed = select(_version.origin).where(mine, _version.verdict == Verdict.INSTALLED.value)
    newest = connection.execute(installed.order_by(_version.version.desc())).first()
    if newest is not None and newest.origin != Origin.DIRECTORY.value:
        return False
    live = select(_code.content_hash).where(_code.plugin_name == manifest.plugin, _code.live)
    if connection.execute(live).scalar() == manifest.content_hash:
        return False
    version = _newest(connection, manifest.plugin) + 1
    deployment = Deployment(
        manifest.plugin, version, manifest.content_hash, Origin.DIRECTORY, now_us
    )
    if not _has_code(connection, deployment):
        _store_code(connection, deployment, manifest.code)
    _note_version(connection, deployment)
    _make_live(connection, deployment)
    return True


def _newest(connection: Connection, plugin: str) -> int:
    # What somebody has put there that is no version must not become the newest for ever.
    able = (_version.plugin_name == plugin, _version.version <= LARGEST_VERSION)
    newest = connection.execute(select(func.max(_version.version)).where(*able)).scalar()
    return int(newest or 0)


def _knows(connection: Connection, nonce: str) -> bool:
    return connection.execute(select(_nonce.nonce).where(_nonce.nonce == nonce)).first() is not None


def _take_nonce(connection: Connection, deployment: Deployment, nonce: str, since_us: int) -> None:
    connection.execute(delete(deploy_nonce).where(_nonce.used_at_us < since_us))
    if _knows(connection, nonce):
        raise used_nonce(deployment.plugin)
    connection.execute(insert(deploy_nonce).values(nonce=nonce, used_at_us=deployment.at_us))


def _has_code(connection: Connection, deployment: Deployment) -> bool:
    return connection.execute(select(_code.id).where(*_mine(deployment))).first() is not None


def _store_code(connection: Connection, deployment: Deployment, code: bytes | None) -> None:
    if _has_code(connection, deployment):
        if code is not None:
            connection.execute(update(plugin_manifest).where(*_mine(deployment)).values(code=code))
        return
    if code is None:
        raise unknown_manifest(deployment.content_hash, deployment.plugin)
    connection.execute(
        insert(plugin_manifest).values(
            plugin_name=deployment.plugin,
            content_hash=deployment.content_hash,
            code=code,
            origin=deployment.origin.value,
            version=deployment.version,
            created_at_us=deployment.at_us,
            live=False,
        )
    )


def _make_live(connection: Connection, deployment: Deployment) -> None:
    same_plugin = _code.plugin_name == deployment.plugin
    connection.execute(update(plugin_manifest).where(same_plugin, _code.live).values(live=False))
    values = {"live": True, "origin": deployment.origin.value, "version": deployment.version}
    connection.execute(update(plugin_manifest).where(*_mine(deployment)).values(**values))


def _mine(deployment: Deployment) -> tuple[Any, Any]:
    return (
        _code.plugin_name == deployment.plugin,
        _code.content_hash == deployment.content_hash,
    )


def _note_version(connection: Connection, deployment: Deployment) -> None:
    signed = deployment.signed
    connection.execute(
        insert(plugin_deployment).values(
            plugin_name=deployment.plugin,
            version=deployment.version,
            content_hash=deployment.content_hash,
            origin=deployment.origin.value,
            verdict=deployment.verdict.value,
            message=storable(deployment.message),
            at_us=deployment.at_us,
            actor=(storable(deployment.actor) or "")[:200],
            key_id=signed.key_id if signed else None,
            scheme=signed.scheme if signed else None,
            body=signed.body if signed else None,
            signature=signed.signature if signed else None,
        )
    )
