"""Ed25519, by the package `cryptography`, imported when a key of it is met."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from casparian.domain.errors import ConfigurationError
from casparian.domain.signing import Scheme, SigningKey, VerifyingKey


def new_pair() -> tuple[bytes, bytes]:
    """A private key and its public half, 32 bytes each."""
    private = _library().Ed25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def signing_key(key_id: str, private: bytes) -> SigningKey:
    key = _library().Ed25519PrivateKey.from_private_bytes(private)
    sign: Callable[[bytes], bytes] = key.sign
    return SigningKey(key_id, Scheme.ED25519, sign)


def verifying_key(key_id: str, public: bytes) -> VerifyingKey:
    key = _library().Ed25519PublicKey.from_public_bytes(public)
    from cryptography.exceptions import InvalidSignature

    def verifies(message: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return VerifyingKey(key_id, Scheme.ED25519, verifies)


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "Keys of the scheme ed25519 need a package that is not installed: "
            'pip install "casparian-flow[ed25519]".'
        ) from error
    return ed25519
