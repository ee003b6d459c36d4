"""Deploy keys in files: who may read them, what an id may be, and how a key ends."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from pathlib import Path

import pytest

from casparian.adapters.keys import KeyDirectory
from casparian.domain.errors import ConfigurationError
from casparian.domain.signing import Scheme

MESSAGE = b"what is signed"
BOTH = pytest.mark.parametrize("scheme", list(Scheme))


@pytest.fixture
def keys(tmp_path: Path) -> KeyDirectory:
    return KeyDirectory(tmp_path / "keys")


def secret_of(keys: KeyDirectory, key_id: str) -> str:
    return str(json.loads((keys.directory / f"{key_id}.key").read_bytes())["secret"])


@BOTH
def test_a_new_key_signs_and_verifies(keys: KeyDirectory, scheme: Scheme) -> None:
    assert keys.find("office") is None
    keys.create("office", scheme, 7)
    signature = keys.signing("office").sign(MESSAGE)
    key = keys.find("office")
    assert key is not None
    assert (key.scheme, key.revoked) == (scheme, False)
    assert key.verifies(MESSAGE, signature)
    assert not key.verifies(MESSAGE + b".", signature)
    assert not key.verifies(MESSAGE, signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not key.verifies(MESSAGE, b"")


@BOTH
def test_only_the_owner_can_read_what_signs(keys: KeyDirectory, scheme: Scheme) -> None:
    before = os.umask(0)
    try:
        files = keys.create("office", scheme, 7)
    finally:
        os.umask(before)
    assert stat.S_IMODE(keys.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert len(base64.b64decode(secret_of(keys, "office"))) == 32
    assert sorted(p.name for p in keys.directory.iterdir()) == sorted(f.name for f in files)


def test_keys_differ(keys: KeyDirectory) -> None:
    keys.create("one", Scheme.HMAC, 7)
    keys.create("other", Scheme.HMAC, 7)
    assert secret_of(keys, "one") != secret_of(keys, "other")
    current, following = keys.find("one"), keys.find("other")
    assert current is not None
    assert following is not None
    signature = keys.signing("one").sign(MESSAGE)
    assert current.verifies(MESSAGE, signature)
    assert not following.verifies(MESSAGE, signature)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_can_read_is_refused(keys: KeyDirectory, mode: int) -> None:
    (file,) = keys.create("office", Scheme.HMAC, 7)
    secret = secret_of(keys, "office")
    file.chmod(mode)
    for use in (keys.find, keys.signing):
        with pytest.raises(ConfigurationError, match=f"chmod 600 {file}") as error:
            use("office")
        assert secret not in str(error.value)


def test_a_directory_that_others_can_look_into_is_refused(keys: KeyDirectory) -> None:
    keys.create("office", Scheme.HMAC, 7)
    keys.directory.chmod(0o755)
    for use in (keys.find, keys.signing):
        with pytest.raises(ConfigurationError, match="chmod 700"):
            use("office")
    with pytest.raises(ConfigurationError, match="chmod 700"):
        keys.create("home", Scheme.HMAC, 7)


def test_one_without_deploy_keys_may_be_looked_into(keys: KeyDirectory) -> None:
    """Keys of the transport lie below it."""
    (keys.directory / "curve").mkdir(parents=True)
    keys.directory.chmod(0o755)
    assert keys.entries() == []
    assert keys.find("office") is None


def test_a_public_half_may_be_read_and_not_written(keys: KeyDirectory) -> None:
    _, public = keys.create("office", Scheme.ED25519, 7)
    public.chmod(0o664)
    with pytest.raises(ConfigurationError, match="chmod 644"):
        keys.find("office")
    public.chmod(0o644)
    assert keys.find("office") is not None


def test_the_engine_needs_the_public_half_only(keys: KeyDirectory) -> None:
    private, _ = keys.create("office", Scheme.ED25519, 7)
    signature = keys.signing("office").sign(MESSAGE)
    private.unlink()
    key = keys.find("office")
    assert key is not None
    assert key.verifies(MESSAGE, signature)
    with pytest.raises(ConfigurationError, match="only the public half"):
        keys.signing("office")
    assert [(e.id, e.signs) for e in keys.entries()] == [("office", False)]


def test_a_link_is_no_key(keys: KeyDirectory, tmp_path: Path) -> None:
    (file,) = keys.create("office", Scheme.HMAC, 7)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keys.find("office")


@pytest.mark.parametrize("key_id", ["../office", "/etc/passwd", "a/b", "", "a.b", "-x", "é", "a\0"])
def test_an_id_is_never_a_path(keys: KeyDirectory, key_id: str, tmp_path: Path) -> None:
    for use in (
        keys.find,
        keys.signing,
        lambda i: keys.create(i, Scheme.HMAC, 7),
        lambda i: keys.revoke(i, "me", 7),
    ):
        with pytest.raises(ConfigurationError, match="cannot be a key id"):
            use(key_id)
    assert list(tmp_path.iterdir()) == []


# --- the end of a key -------------------------------------------------------------------------


@BOTH
def test_a_revoked_key_stays_revoked(keys: KeyDirectory, scheme: Scheme) -> None:
    files = keys.create("office", scheme, 7)
    copies = [(file, file.read_bytes()) for file in files]
    signature = keys.signing("office").sign(MESSAGE)
    entry = keys.revoke("office", "me@here", 9)
    assert (entry.revoked_at_us, entry.revoked_by, entry.scheme) == (9, "me@here", scheme)
    assert not files[0].exists()
    for file, content in copies:
        # A copy that somebody lays back changes nothing.
        file.write_bytes(content)
        file.chmod(0o600)
    again = KeyDirectory(keys.directory)
    key = again.find("office")
    assert key is not None
    assert key.revoked
    assert not key.verifies(MESSAGE, signature)
    with pytest.raises(ConfigurationError, match="revoked"):
        again.signing("office")
    with pytest.raises(ConfigurationError, match="another id"):
        again.create("office", scheme, 10)
    with pytest.raises(ConfigurationError, match="revoked already"):
        again.revoke("office", "me", 11)


@pytest.mark.parametrize("harm", ["others can read it", "others can look", "damaged"])
def test_a_key_that_is_refused_can_be_revoked(keys: KeyDirectory, harm: str) -> None:
    (file,) = keys.create("office", Scheme.HMAC, 7)
    keys.create("home", Scheme.HMAC, 7)[0].chmod(0o644)
    match harm:
        case "others can read it":
            file.chmod(0o644)
        case "others can look":
            keys.directory.chmod(0o755)
        case _:
            file.write_bytes(b"no key")
    assert keys.revoke("office", "me@here", 9).revoked_at_us == 9
    keys.directory.chmod(0o700)
    key = keys.find("office")
    assert key is not None
    assert key.revoked
    assert not file.exists()


def test_an_id_names_one_key(keys: KeyDirectory) -> None:
    keys.create("office", Scheme.HMAC, 7)
    secret = secret_of(keys, "office")
    for scheme in Scheme:
        with pytest.raises(ConfigurationError, match="another id"):
            keys.create("office", scheme, 8)
    assert secret_of(keys, "office") == secret


def test_a_key_that_is_not_there_names_those_that_are(keys: KeyDirectory) -> None:
    keys.create("office", Scheme.HMAC, 7)
    for use in (keys.signing, lambda i: keys.revoke(i, "me", 7)):
        with pytest.raises(ConfigurationError, match="office"):
            use("home")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda c: {**c, "secret": base64.b64encode(bytes(31)).decode()}, "32 bytes"),
        (lambda c: {**c, "secret": "no base64!"}, "cannot be read"),
        (lambda c: {**c, "scheme": "rot13"}, "cannot be read"),
        (lambda c: {**c, "id": "other"}, "another key"),
        (lambda c: {**c, "format": 2}, "cannot be read"),
        (lambda c: [], "cannot be read"),
    ],
)
def test_a_damaged_file_is_told_without_its_secret(
    keys: KeyDirectory, change: object, problem: str
) -> None:
    (file,) = keys.create("office", Scheme.HMAC, 7)
    content = json.loads(file.read_bytes())
    assert callable(change)
    file.write_text(json.dumps(change(content)))
    with pytest.raises(ConfigurationError, match=problem) as error:
        keys.find("office")
    assert content["secret"] not in str(error.value)
    file.write_bytes(content["secret"].encode())
    with pytest.raises(ConfigurationError, match="cannot be read") as error:
        keys.find("office")
    assert error.value.__cause__ is None


def test_without_the_package_its_extra_is_named(
    keys: KeyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    with pytest.raises(ConfigurationError, match=r"casparian-flow\[ed25519\]"):
        keys.create("office", Scheme.ED25519, 7)
    keys.create("home", Scheme.HMAC, 7)
    assert keys.find("home") is not None
