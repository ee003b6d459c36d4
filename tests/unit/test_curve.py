"""Key files: made private, read with care, and never said."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from casparian.adapters.transport.curve import (
    KeyPair,
    KnownClients,
    new_key_pair,
    read_pair,
    read_public,
)
from casparian.domain.errors import ConfigurationError


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def keys(tmp_path: Path) -> str:
    return str(tmp_path / "keys")


def test_a_new_pair_is_private_whatever_the_umask(keys: str) -> None:
    before = os.umask(0)
    try:
        public, secret = new_key_pair(keys, "engine")
    finally:
        os.umask(before)
    assert (mode(keys), mode(public), mode(secret)) == (0o700, 0o600, 0o600)
    pair = read_pair(secret)
    assert pair.public == read_public(public) == read_public(secret)
    assert pair.secret.decode() not in Path(public).read_text()
    assert pair.secret.decode() not in repr(pair)


def test_what_lies_above_is_made_private_too(tmp_path: Path) -> None:
    new_key_pair(str(tmp_path / "keys" / "curve"), "engine")
    assert mode(tmp_path / "keys") == 0o700


def test_the_format_is_that_of_zmq(keys: str) -> None:
    from zmq.auth import load_certificate

    public, secret = new_key_pair(keys, "engine")
    pair = read_pair(secret)
    assert load_certificate(secret) == (pair.public, pair.secret)
    assert load_certificate(public) == (pair.public, None)


def test_a_key_is_never_overwritten(keys: str) -> None:
    _, secret = new_key_pair(keys, "engine")
    before = read_pair(secret)
    with pytest.raises(ConfigurationError, match=r"engine.key_secret.*never overwritten"):
        new_key_pair(keys, "engine")
    assert read_pair(secret) == before
    os.unlink(secret)
    with pytest.raises(ConfigurationError, match=r"engine.key'.*never overwritten"):
        new_key_pair(keys, "engine")
    assert not os.path.exists(secret)


@pytest.mark.parametrize(
    "name", ["", "../up", "a/b", ".hidden", "-x", "a b", "é", "x" * 101, "a.key"]
)
def test_a_name_is_no_path(keys: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of a key"):
        new_key_pair(keys, name)
    assert not os.path.exists(keys)


def test_a_directory_that_others_may_use_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigurationError, match=f"mode 0755.*chmod 700 {tmp_path}"):
        new_key_pair(str(tmp_path), "engine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("others", [0o640, 0o604, 0o620])
def test_a_secret_that_others_may_read_is_refused(keys: str, others: int) -> None:
    _, secret = new_key_pair(keys, "engine")
    os.chmod(secret, others)
    with pytest.raises(ConfigurationError, match=f"mode {others:04o}.*chmod 600"):
        read_pair(secret)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 100, b'secret-key = "short"\n', b'secret-key = "' + b"\xc3\xa9" * 40 + b'"\n'],
)
def test_what_is_no_key_file_is_told_without_what_it_holds(keys: str, content: bytes) -> None:
    _, secret = new_key_pair(keys, "engine")
    Path(secret).write_bytes(content)
    with pytest.raises(ConfigurationError, match="key") as told:
        read_pair(secret)
    assert "short" not in str(told.value)


def test_halves_that_are_no_pair_are_told(keys: str) -> None:
    (_, one), (_, other) = new_key_pair(keys, "one"), new_key_pair(keys, "other")
    first, second = read_pair(one), read_pair(other)
    text = Path(one).read_text().replace(first.public.decode(), second.public.decode())
    Path(one).write_text(text)
    with pytest.raises(ConfigurationError, match="no pair"):
        read_pair(one)


def test_digits_that_make_no_key_are_told(keys: str) -> None:
    _, one = new_key_pair(keys, "one")
    text = Path(one).read_text().replace(read_pair(one).secret.decode(), "#" * 40)
    Path(one).write_text(text)
    with pytest.raises(ConfigurationError, match="no pair"):
        read_pair(one)


def test_a_public_file_is_no_secret_one(keys: str) -> None:
    public, _ = new_key_pair(keys, "engine")
    with pytest.raises(ConfigurationError, match="holds no secret key"):
        read_pair(public)


def test_a_fifo_or_a_device_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.key", 0o600)
    for path in (tmp_path / "pipe.key", Path("/dev/zero")):
        with pytest.raises(ConfigurationError, match="no key file"):
            read_public(str(path))


class TestKnownClients:
    def test_are_read_anew_for_each(self, keys: str) -> None:
        known = KnownClients(keys)
        public, secret = new_key_pair(keys, "friend")
        key = read_pair(secret).public
        assert known.check() == 1
        assert known.refusal(key) == ""
        os.unlink(public)
        assert known.check() == 0
        assert known.refusal(key) == "its key is not known"

    def test_nobody_is_known_without_a_directory(self) -> None:
        assert KnownClients().check() == 0
        assert KnownClients().refusal(b"x") == "its key is not known"

    def test_a_file_that_cannot_be_read_admits_nobody_and_is_told(self, keys: str) -> None:
        public, secret = new_key_pair(keys, "friend")
        key = read_pair(secret).public
        Path(keys, "broken.key").write_text("nothing")
        known = KnownClients(keys)
        with pytest.raises(ConfigurationError, match=r"broken.key' is no key file"):
            known.check()
        assert known.refusal(key) == ""
        os.unlink(public)
        assert "broken.key" in known.refusal(key)

    def test_a_directory_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="No such file"):
            KnownClients(str(tmp_path / "nowhere")).check()


def test_access_holds_both_sides() -> None:
    assert KeyPair(b"p", b"s").access(b"e") == {"server": "e", "public": "p", "secret": "s"}
