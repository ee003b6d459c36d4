"""A DEPLOY as it arrived: its form is checked here, and nothing of it is believed yet."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from casparian.domain.deployments import DeployCheck, DeployRefusedError, Signed
from casparian.domain.instructions import TakeDeploy
from casparian.domain.signing import claimed
from casparian.domain.wire import Json

LONGEST_FIELD = 8192


@dataclass(frozen=True, slots=True)
class Arrived:
    """A deployment. The plugin and version that it names are not to be believed unverified."""

    peer: bytes
    signed: Signed
    code: bytes
    plugin: str
    version: int


def arrived_by(order: TakeDeploy) -> Arrived:
    """Raises DeployRefusedError for what is no deployment."""
    signed = _signed(order.metadata)
    return Arrived(order.peer, signed, bytes(order.payload), *claimed(signed.body))


def not_the_newest(older: Arrived, version: int) -> DeployRefusedError:
    """Another one waits, of that version."""
    other = f"Refused, and nothing was changed: version {version} of plugin {older.plugin} came "
    if version == older.version:
        return DeployRefusedError(DeployCheck.VERSION, f"{other}before.")
    text = f"{other}before version {older.version} was tried."
    return DeployRefusedError(DeployCheck.SUPERSEDED, text)


def _signed(metadata: Mapping[str, Json]) -> Signed:
    """What a DEPLOY's metadata holds. Raises DeployRefusedError for anything else."""
    try:
        if set(metadata) != {"key_id", "body", "signature"}:
            raise ValueError
        fields = [metadata[name] for name in ("key_id", "body", "signature")]
        if not all(isinstance(f, str) and len(f) <= LONGEST_FIELD for f in fields):
            raise ValueError
        key_id, body, signature = (str(f) for f in fields)
        return Signed(
            key_id,
            "",
            base64.b64decode(body, validate=True),
            base64.b64decode(signature, validate=True),
        )
    except ValueError as error:
        raise DeployRefusedError(
            DeployCheck.FORM,
            "Refused, and nothing was changed: a DEPLOY has the metadata key_id, body and "
            "signature, the latter two in base64.",
        ) from error
