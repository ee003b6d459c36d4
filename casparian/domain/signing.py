"""Who may deploy: bytes in, verdict out. No files, no clock: keys and time are arguments.

What is signed is a body that names the plugin, its version, the SHA-256 of the code, the
installation it is for, the key, a time window and a nonce, in the pre-authentication encoding of
DSSE (https://github.com/secure-systems-lab/dsse). The exact bytes that came are verified, and
only then read: a body that is written another way has another signature.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from casparian.domain.deployments import DeployCheck, DeployRefusedError, Signed
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import PLUGIN_NAME, code_hash

PAYLOAD_TYPE = "application/vnd.casparian.deploy.v1+json"
WINDOW_S = 300
SMALLEST_SECRET = 32
NONCE_BYTES = 16
LONGEST_BODY = 4096
LONGEST_SIGNATURE = 128
LARGEST_VERSION = 2**53 - 1
KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_HEX_64, _HEX_32 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{32}")


class Scheme(StrEnum):
    """How a key signs. Whoever can verify an HMAC can also make one; Ed25519 has two halves."""

    HMAC = "hmac-sha256"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A key as the engine has it. `verifies(message, signature)` compares in constant time."""

    id: str
    scheme: Scheme
    verifies: Callable[[bytes, bytes], bool]
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key as its holder has it."""

    id: str
    scheme: Scheme
    sign: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Body:
    """What is signed. Times in whole seconds since the epoch."""

    plugin: str
    version: int
    sha256: str
    audience: str
    key_id: str
    issued: int
    expires: int
    nonce: str

    def encode(self) -> bytes:
        """One way to write it: sorted keys, no spaces, ASCII."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii")


def pae(body: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """The pre-authentication encoding: the bytes that are signed for a body."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def check_key_id(key_id: str) -> None:
    """Raise ConfigurationError unless `key_id` can be a key's: it names a file."""
    if not KEY_ID.fullmatch(key_id):
        raise ConfigurationError(
            f"{key_id!r:.80} cannot be a key id: letters, digits, '-' and '_', beginning with a "
            "letter or digit, at most 64."
        )


# --- HMAC-SHA256 ------------------------------------------------------------------------------


def hmac_key(key_id: str, secret: bytes) -> SigningKey:
    return SigningKey(key_id, Scheme.HMAC, lambda message: _hmac(secret, message))


def hmac_verifier(key_id: str, secret: bytes, revoked: bool = False) -> VerifyingKey:
    def verifies(message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(_hmac(secret, message), signature)

    return VerifyingKey(key_id, Scheme.HMAC, verifies, revoked)


def _hmac(secret: bytes, message: bytes) -> bytes:
    if len(secret) < SMALLEST_SECRET:
        raise ValueError(f"a secret of {len(secret)} bytes, at least {SMALLEST_SECRET} are needed")
    return hmac.new(secret, message, hashlib.sha256).digest()


# --- signing ----------------------------------------------------------------------------------


def sign(
    key: SigningKey, plugin: str, version: int, code: bytes, audience: str, now_s: int, nonce: bytes
) -> Signed:
    """A deployment of `code`, good from now for the length of the window."""
    body = Body(
        plugin, version, code_hash(code), audience, key.id, now_s, now_s + WINDOW_S, nonce.hex()
    ).encode()
    return Signed(key.id, key.scheme.value, body, key.sign(pae(body)))


# --- verifying --------------------------------------------------------------------------------


def verified_body(signed: Signed, key: VerifyingKey | None) -> Body:
    """The body, when the key made the signature of exactly these bytes.

    Raises DeployRefusedError. `key` is what is known by the id, None for nothing.
    """
    if not KEY_ID.fullmatch(signed.key_id):
        raise _refused(DeployCheck.KEY, f"{signed.key_id!r:.80} cannot be a key id")
    if key is None:
        raise _refused(DeployCheck.KEY, f"the key {signed.key_id!r} is not known here")
    if key.revoked:
        raise _refused(DeployCheck.REVOKED, f"the key {signed.key_id!r} has been revoked")
    if len(signed.body) > LONGEST_BODY or len(signed.signature) > LONGEST_SIGNATURE:
        raise _refused(DeployCheck.FORM, "the signed body, or the signature, is too long")
    if not key.verifies(pae(signed.body), signed.signature):
        text = f"the signature is not that of key {signed.key_id!r} over these bytes"
        raise _refused(DeployCheck.SIGNATURE, text)
    body = _read(signed.body)
    if body.key_id != signed.key_id:
        raise _refused(DeployCheck.FORM, "the body was signed for another key")
    return body


def claimed(raw: bytes) -> tuple[str, int]:
    """The plugin and version that an unverified body names, for the audit of a refusal; "" and 0
    where it does not. Nobody is to believe them."""
    if len(raw) > LONGEST_BODY:
        return "", 0
    try:
        fields: Any = json.loads(raw)
    except (ValueError, RecursionError):
        return "", 0
    if not isinstance(fields, dict):
        return "", 0
    plugin, version = fields.get("plugin"), fields.get("version")
    return (
        plugin if isinstance(plugin, str) and _is_right("plugin", plugin) else "",
        version if isinstance(version, int) and _is_right("version", version) else 0,
    )


def check_deploy(body: Body, code: bytes, audience: str, now_s: float) -> None:
    """Raise DeployRefusedError unless a verified body is for this code, here and now."""
    if body.audience != audience:
        raise _refused(DeployCheck.AUDIENCE, "it was signed for another installation")
    if body.issued > now_s + WINDOW_S:
        raise _refused(
            DeployCheck.FUTURE,
            f"it was issued more than {WINDOW_S} s from now: the clocks of the two hosts differ",
        )
    if now_s > body.expires or now_s > body.issued + WINDOW_S:
        raise _refused(DeployCheck.EXPIRED, "the signature has expired")
    _check_code(body, code)


def check_stored(signed: Signed, key: VerifyingKey | None, plugin: str, code: bytes) -> Body:
    """The body of a version that was accepted once, verified again before its code is loaded.

    The window is over by then, and its nonce used; all else must hold still. Whether the body's
    audience and version are right is for the caller, who knows what they were then.
    """
    body = verified_body(signed, key)
    if body.plugin != plugin:
        raise _refused(DeployCheck.PLUGIN, f"it was signed for the plugin {body.plugin!r}")
    _check_code(body, code)
    return body


def _check_code(body: Body, code: bytes) -> None:
    if not hmac.compare_digest(body.sha256, code_hash(code)):
        raise _refused(DeployCheck.CODE_HASH, "the code is not the code that was signed")


def _read(raw: bytes) -> Body:
    """A verified body's fields, all there and of their types; nothing else in it."""
    try:
        fields: Any = json.loads(raw.decode("utf-8"), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise _refused(DeployCheck.FORM, f"the signed body is not JSON: {error}") from error
    if not isinstance(fields, dict) or set(fields) != set(Body.__slots__):
        wanted = ", ".join(Body.__slots__)
        raise _refused(DeployCheck.FORM, f"the signed body must be an object of {wanted}")
    if not all(_is_right(name, value) for name, value in fields.items()):
        raise _refused(DeployCheck.FORM, "a field of the signed body is of the wrong form")
    body = Body(**fields)
    if not body.issued <= body.expires <= body.issued + WINDOW_S:
        raise _refused(DeployCheck.FORM, f"a signature may be good for {WINDOW_S} s at most")
    return body


def _each_once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands in it twice")
    return dict(pairs)


def _is_right(name: str, value: Any) -> bool:
    match name:
        case "version":
            return type(value) is int and 0 < value <= LARGEST_VERSION
        case "issued" | "expires":
            return type(value) is int and 0 <= value <= LARGEST_VERSION
        case "plugin":
            return isinstance(value, str) and PLUGIN_NAME.fullmatch(value) is not None
        case "key_id":
            return isinstance(value, str) and KEY_ID.fullmatch(value) is not None
        case "sha256":
            return isinstance(value, str) and _HEX_64.fullmatch(value) is not None
        case _:
            return isinstance(value, str) and _HEX_32.fullmatch(value) is not None


def _refused(check: DeployCheck, reason: str) -> DeployRefusedError:
    return DeployRefusedError(check, f"Refused, and nothing was changed: {reason}.")
