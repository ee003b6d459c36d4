"""Rows that this program did not write: SQLite keeps any kind of value in any column, whatever its
type says, and who alters what is signed need not go by types."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from casparian.domain.deployments import (
    DeployCheck,
    Deployment,
    Origin,
    RefusedDeploy,
    Signed,
    Verdict,
)
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import PluginManifest

Kinds = Mapping[str, type]

_MANIFEST: Kinds = {
    "plugin_name": str, "content_hash": str, "code": bytes, "origin": str, "version": int,
}  # fmt: skip
_DEPLOYMENT: Kinds = {
    "plugin_name": str, "version": int, "content_hash": str, "origin": Origin, "verdict": Verdict,
    "message": str, "at_us": int, "actor": str,
}  # fmt: skip
_SIGNED: Kinds = {"key_id": str, "scheme": str, "body": bytes, "signature": bytes}
_REFUSAL: Kinds = {
    "at_us": int, "failed_check": DeployCheck, "message": str, "plugin_name": str, "version": int,
    "key_id": str,
}  # fmt: skip
_NAMES = {str: "a text", bytes: "bytes", int: "a whole number", float: "a number"}


def wrong_in(row: Row[Any], table: str, kinds: Kinds) -> str:
    """What a row holds that its columns do not, as sentences; empty for nothing."""
    said = [_wrong(table, name, getattr(row, name), kind) for name, kind in kinds.items()]
    return " ".join(one for one in said if one)


def _wrong(table: str, name: str, value: Any, kind: type) -> str:
    if issubclass(kind, StrEnum):
        known = [one.value for one in kind]
        if value in known:
            return ""
        wanted = f"one of {', '.join(known)}"
    elif type(value) is kind:
        return ""
    else:
        wanted = _NAMES[kind]
    holds = "nothing" if value is None else _NAMES.get(type(value), "something")
    return f"{table}.{name} holds {holds}, and not {wanted}."


def _whole(value: Any) -> int:
    """0 for what is no number of ours."""
    return value if type(value) is int else 0


def manifest_of(row: Row[Any]) -> PluginManifest:
    """Raises ConfigurationError for one that was altered."""
    wrong = wrong_in(row, "plugin_manifest", _MANIFEST)
    if wrong:
        raise ConfigurationError(
            f"The code of plugin {row.plugin_name} was altered in the database: {wrong} Deploy it "
            f"again: `casparian deploy FILE --plugin {row.plugin_name}`."
        )
    return PluginManifest(
        row.content_hash,
        row.plugin_name,
        row.code,
        row.origin,
        row.version,
        _whole(row.created_at_us),
    )


def deployment_of(row: Row[Any]) -> Deployment:
    """With what is wrong with it in `altered`."""
    wrong = wrong_in(row, "plugin_deployment", _DEPLOYMENT)
    signed = None
    if row.key_id is not None:
        wrong = " ".join(filter(None, (wrong, wrong_in(row, "plugin_deployment", _SIGNED))))
        if not wrong:
            signed = Signed(row.key_id, row.scheme, row.body, row.signature)
    if not wrong:
        return Deployment(
            row.plugin_name,
            row.version,
            row.content_hash,
            Origin(row.origin),
            row.at_us,
            Verdict(row.verdict),
            row.message,
            row.actor,
            signed,
        )
    return Deployment(
        str(row.plugin_name),
        _whole(row.version),
        str(row.content_hash),
        # Not of the directory: its file is not taken in place of what somebody altered.
        Origin.DEPLOY,
        _whole(row.at_us),
        Verdict.FAILED,
        f"It was altered in the database: {wrong}",
        altered=wrong,
    )


def refusal_of(row: Row[Any]) -> RefusedDeploy:
    """One that was altered says so, and nothing else."""
    wrong = wrong_in(row, "deploy_refusal", _REFUSAL)
    if wrong:
        text = f"It was altered in the database: {wrong}"
        return RefusedDeploy(_whole(row.at_us), DeployCheck.FORM, text)
    return RefusedDeploy(
        row.at_us,
        DeployCheck(row.failed_check),
        row.message,
        row.plugin_name,
        row.version,
        row.key_id,
    )
