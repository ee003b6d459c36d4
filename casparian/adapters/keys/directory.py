"""The directory of deploy keys: `ID.key` is secret, `ID.pub` is the public half of an Ed25519
key, and `ID.revoked` ends a key for ever, whatever else of it lies there.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from casparian.adapters.keys import ed25519, private_files
from casparian.domain.errors import ConfigurationError
from casparian.domain.signing import (
    SMALLEST_SECRET,
    Scheme,
    SigningKey,
    VerifyingKey,
    check_key_id,
    hmac_key,
    hmac_verifier,
)

FORMAT = 1
ED25519_BYTES = 32


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What may be told of a key. `signs`: what signs with it lies here too."""

    id: str
    scheme: Scheme | None
    created_at_us: int
    signs: bool
    revoked_at_us: int | None = None
    revoked_by: str = ""


@dataclass(frozen=True, slots=True)
class _Stored:
    scheme: Scheme
    created_at_us: int
    material: bytes


class KeyDirectory:
    """See the module. A key id is never used twice: a revoked one cannot be made anew."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    # --- for the engine -------------------------------------------------------------------

    def find(self, key_id: str) -> VerifyingKey | None:
        """The key by which to verify, None where it is not known.

        Raises ConfigurationError for what can be no key's id, and for a file that is not safe or
        cannot be read.
        """
        check_key_id(key_id)
        if key_id not in self._ids():
            return None
        if self._file(key_id, "revoked").exists():
            return VerifyingKey(key_id, Scheme.HMAC, lambda message, signature: False, revoked=True)
        public = self._read(key_id, "pub", secret=False)
        if public is not None:
            return ed25519.verifying_key(key_id, public.material)
        stored = self._read(key_id, "key", secret=True)
        if stored is None or stored.scheme is Scheme.ED25519:
            return None
        return hmac_verifier(key_id, stored.material)

    # --- for its holder -------------------------------------------------------------------

    def signing(self, key_id: str) -> SigningKey:
        """The key to sign with. Raises ConfigurationError naming the keys there are."""
        check_key_id(key_id)
        entries = {entry.id: entry for entry in self.entries()}
        entry = entries.get(key_id)
        if entry is None:
            known = ", ".join(e.id for e in entries.values() if e.signs and not e.revoked_at_us)
            raise ConfigurationError(
                f"There is no key {key_id!r} in {self.directory}; keys to sign with: "
                f"{known or 'none'}. `casparian keys new {key_id}` makes one."
            )
        if entry.revoked_at_us is not None:
            raise ConfigurationError(
                f"The key {key_id!r} has been revoked: sign with another one, which `casparian "
                "keys new` makes."
            )
        stored = self._read(key_id, "key", secret=True)
        if stored is None:
            raise ConfigurationError(
                f"Of the key {key_id!r} only the public half lies in {self.directory}: sign where "
                f"{key_id}.key is."
            )
        if stored.scheme is Scheme.ED25519:
            return ed25519.signing_key(key_id, stored.material)
        return hmac_key(key_id, stored.material)

    def create(self, key_id: str, scheme: Scheme, now_us: int) -> list[Path]:
        """Make a key; the files that hold it, the secret one first. Raises ConfigurationError
        for an id that was used before."""
        check_key_id(key_id)
        private_files.make_private_directory(self.directory)
        for suffix in ("key", "pub", "revoked"):
            if self._file(key_id, suffix).exists():
                raise self._taken(key_id, revoked=suffix == "revoked")
        if scheme is Scheme.HMAC:
            halves = [("key", secrets.token_bytes(SMALLEST_SECRET), 0o600)]
        else:
            private, public = ed25519.new_pair()
            halves = [("key", private, 0o600), ("pub", public, 0o644)]
        files = []
        for suffix, material, mode in halves:
            content = {
                "format": FORMAT,
                "id": key_id,
                "scheme": scheme.value,
                "created_at_us": now_us,
                "public" if suffix == "pub" else "secret": base64.b64encode(material).decode(),
            }
            file = self._file(key_id, suffix)
            if not private_files.write_new(file, json.dumps(content).encode() + b"\n", mode):
                raise self._taken(key_id, revoked=False)
            files.append(file)
        return files

    def revoke(self, key_id: str, actor: str, now_us: int) -> KeyEntry:
        """From now on nothing that this key signed is accepted or loaded; what signs with it is
        removed. Raises ConfigurationError for a key that is not known or is revoked."""
        check_key_id(key_id)
        known = sorted(self._names())
        if key_id not in known:
            raise ConfigurationError(
                f"There is no key {key_id!r} in {self.directory}; keys: "
                f"{', '.join(known) or 'none'}."
            )
        try:
            entry = self._entry(key_id)
        except ConfigurationError:
            # One that others can read, say, or a damaged one, must end like any other.
            entry = KeyEntry(key_id, None, now_us, signs=False)
        content = {
            "format": FORMAT,
            "id": key_id,
            "scheme": entry.scheme.value if entry.scheme else None,
            "created_at_us": entry.created_at_us,
            "revoked_at_us": now_us,
            "revoked_by": actor,
        }
        # The end of the key first: nothing that comes in between leaves it valid.
        written = private_files.write_new(
            self._file(key_id, "revoked"), json.dumps(content).encode() + b"\n"
        )
        private_files.remove(self._file(key_id, "key"))
        if not written:
            raise ConfigurationError(f"The key {key_id!r} is revoked already.")
        return replace(entry, signs=False, revoked_at_us=now_us, revoked_by=actor)

    def entries(self) -> list[KeyEntry]:
        """All keys by id, revoked ones too; empty where there is no directory."""
        return [self._entry(key_id) for key_id in sorted(self._ids())]

    def _ids(self) -> set[str]:
        """As `_names`. Where there is one, nobody else may look into the directory; keys of
        other kinds may lie below it."""
        ids = self._names()
        if ids:
            private_files.check_private_directory(self.directory)
        return ids

    def _names(self) -> set[str]:
        """Ids of keys with any file here."""
        try:
            files = list(self.directory.iterdir())
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise ConfigurationError(
                f"{self.directory}, which [plugins] keys names, cannot be listed: {error.strerror}."
            ) from error
        return {
            file.stem
            for file in files
            if file.suffix in (".key", ".pub", ".revoked") and not file.name.startswith(".")
        }

    # --- files ----------------------------------------------------------------------------

    def _entry(self, key_id: str) -> KeyEntry:
        revoked = private_files.read_private(self._file(key_id, "revoked"), secret=False)
        if revoked is not None:
            fields = self._fields(key_id, "revoked", revoked)
            scheme = Scheme(fields["scheme"]) if fields.get("scheme") else None
            return KeyEntry(
                key_id,
                scheme,
                int(fields["created_at_us"]),
                signs=False,
                revoked_at_us=int(fields["revoked_at_us"]),
                revoked_by=str(fields["revoked_by"]),
            )
        secret = self._read(key_id, "key", secret=True)
        stored = secret or self._read(key_id, "pub", secret=False)
        assert stored is not None
        return KeyEntry(key_id, stored.scheme, stored.created_at_us, signs=secret is not None)

    def _read(self, key_id: str, suffix: str, secret: bool) -> _Stored | None:
        raw = private_files.read_private(self._file(key_id, suffix), secret)
        if raw is None:
            return None
        fields = self._fields(key_id, suffix, raw)
        file = self._file(key_id, suffix)
        try:
            scheme = Scheme(fields["scheme"])
            material = base64.b64decode(fields["secret" if secret else "public"], validate=True)
            created = int(fields["created_at_us"])
        except (KeyError, TypeError, ValueError):
            raise _unreadable(file) from None
        right = (
            len(material) >= SMALLEST_SECRET
            if scheme is Scheme.HMAC
            else len(material) == ED25519_BYTES
        )
        if not right or (scheme is Scheme.HMAC and not secret):
            raise ConfigurationError(
                f"The key file {file} holds no key of its scheme ({scheme}; a secret has "
                f"{SMALLEST_SECRET} bytes or more): make another key by `casparian keys new`."
            )
        return _Stored(scheme, created, material)

    def _fields(self, key_id: str, suffix: str, raw: bytes) -> dict[str, Any]:
        file = self._file(key_id, suffix)
        try:
            fields = json.loads(raw)
        except ValueError:
            # Not chained: the parser's error quotes what it read.
            raise _unreadable(file) from None
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise _unreadable(file)
        if fields.get("id") != key_id:
            raise ConfigurationError(
                f"The key file {file} is of another key than its name says: give it its own name "
                "back."
            )
        return fields

    def _file(self, key_id: str, suffix: str) -> Path:
        return self.directory / f"{key_id}.{suffix}"

    def _taken(self, key_id: str, revoked: bool) -> ConfigurationError:
        what = "was revoked" if revoked else "is there already"
        return ConfigurationError(
            f"A key {key_id!r} {what} in {self.directory}, and an id names one key for ever: "
            "choose another id."
        )


def _unreadable(file: Path) -> ConfigurationError:
    return ConfigurationError(
        f"The key file {file} cannot be read as one: restore it from a copy, or revoke the key "
        "and make another."
    )
