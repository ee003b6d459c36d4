"""Signed deployments: the bytes that are signed, and every check by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian.domain.deployments import DeployCheck, DeployRefusedError, Signed
from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import code_hash
from casparian.domain.signing import (
    LARGEST_VERSION,
    Body,
    Scheme,
    SigningKey,
    VerifyingKey,
    check_deploy,
    check_key_id,
    check_stored,
    claimed,
    hmac_key,
    hmac_verifier,
    pae,
    sign,
    verified_body,
)

SECRET = bytes(range(32))
CODE = b"class Handler: ...\n"
NOW = 1_700_000_000
HERE = "0123456789abcdef" * 2
KEY = hmac_verifier("office", SECRET)
SIGNING = hmac_key("office", SECRET)

BODY = (
    b'{"audience":"0123456789abcdef0123456789abcdef","expires":1700000300,"issued":1700000000,'
    b'"key_id":"office","nonce":"000102030405060708090a0b0c0d0e0f","plugin":"lines",'
    b'"sha256":"016ec39678a4c210bdc16a17e7b36ed8ae29e744cb506dd681011d187fc738b5","version":3}'
)

GOLDEN_HMAC = "0283b88cfcf7e9b32a644cb8921a5befc4d0b61e0323323c209ed298b8eeef08"


def signed(key: SigningKey = SIGNING, now: int = NOW, audience: str = HERE) -> Signed:
    return sign(key, "lines", 3, CODE, audience, now, bytes(range(16)))


def resigned(change: Callable[[dict[str, Any]], Any]) -> Signed:
    """A body that its key's holder wrote otherwise, and signed."""
    fields = json.loads(signed().body)
    changed = change(fields)
    raw = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
    return Signed("office", "hmac-sha256", raw, SIGNING.sign(pae(raw)))


def refusal(call: Callable[[], object]) -> DeployCheck:
    with pytest.raises(DeployRefusedError) as error:
        call()
    assert SECRET.hex() not in str(error.value)
    return error.value.check


# --- the bytes --------------------------------------------------------------------------------


def test_the_signed_bytes_do_not_change() -> None:
    """As DSSE writes them; a change of these bytes is a change of the protocol."""
    assert pae(b"hello world", "http://example.com/HelloWorld") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    body = signed().body
    assert body == BODY
    kind = b"application/vnd.casparian.deploy.v1+json"
    assert pae(body) == b"DSSEv1 40 " + kind + b" " + str(len(body)).encode() + b" " + body


def test_the_signature_does_not_change() -> None:
    body = b'{"plugin":"lines"}'
    assert SIGNING.sign(pae(body)).hex() == GOLDEN_HMAC
    assert KEY.verifies(pae(body), bytes.fromhex(GOLDEN_HMAC))


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_two_bodies_have_the_same_signed_bytes(one: bytes, other: bytes) -> None:
    assert (pae(one) == pae(other)) == (one == other)


# --- what is accepted -------------------------------------------------------------------------


def test_what_was_signed_here_and_now_is_accepted() -> None:
    body = verified_body(signed(), KEY)
    assert body == Body(
        "lines", 3, code_hash(CODE), HERE, "office", NOW, NOW + 300, bytes(range(16)).hex()
    )
    for now in (NOW - 300, NOW, NOW + 0.5, NOW + 300):
        check_deploy(body, CODE, HERE, now)


def test_a_stored_version_is_verified_without_its_window() -> None:
    assert check_stored(signed(now=1000), KEY, "lines", CODE).version == 3


# --- what is refused --------------------------------------------------------------------------


def test_the_key_must_be_known_valid_and_the_right_one() -> None:
    revoked = VerifyingKey("office", Scheme.HMAC, KEY.verifies, revoked=True)
    other = hmac_verifier("office", SECRET[::-1])
    assert refusal(lambda: verified_body(signed(), None)) is DeployCheck.KEY
    assert refusal(lambda: verified_body(signed(), revoked)) is DeployCheck.REVOKED
    assert refusal(lambda: verified_body(signed(), other)) is DeployCheck.SIGNATURE
    for path in ("../office", "/etc/passwd", "a/b", "..", "", ".office", "a\0b", "x" * 65, "é"):
        told = Signed(path, "", signed().body, signed().signature)
        assert refusal(lambda told=told: verified_body(told, KEY)) is DeployCheck.KEY
        with pytest.raises(ConfigurationError, match="key id"):
            check_key_id(path)


@pytest.mark.parametrize("position", range(0, len(BODY), 7))
def test_any_changed_byte_is_seen(position: int) -> None:
    good = signed()
    raw = bytearray(good.body)
    raw[position] ^= 1
    changed = Signed("office", "", bytes(raw), good.signature)
    assert refusal(lambda: verified_body(changed, KEY)) is DeployCheck.SIGNATURE


@pytest.mark.parametrize(
    "written",
    [
        lambda fields: json.dumps(fields).encode(),
        lambda fields: json.dumps(dict(reversed(fields.items()))).encode(),
        lambda fields: json.dumps(fields, indent=1).encode(),
        lambda fields: json.dumps(fields, separators=(",", ":")).replace("l", "\\u006c").encode(),
        lambda fields: json.dumps(fields, separators=(",", ":")).encode() + b"\n",
        lambda fields: json.dumps(fields).encode("utf-16"),
    ],
)
def test_the_same_body_written_another_way_is_another(written: Callable[[Any], bytes]) -> None:
    good = signed()
    raw = written(json.loads(good.body))
    changed = Signed("office", "", raw, good.signature)
    assert refusal(lambda: verified_body(changed, KEY)) is DeployCheck.SIGNATURE


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_signature_of_another_length(size: int) -> None:
    short = Signed("office", "", signed().body, bytes(size))
    assert refusal(lambda: verified_body(short, KEY)) is DeployCheck.SIGNATURE


def test_what_is_too_long_is_not_verified() -> None:
    asked: list[bytes] = []
    key = VerifyingKey("office", Scheme.HMAC, lambda m, s: asked.append(m) is None)
    for told in (Signed("office", "", bytes(5000), b"x"), Signed("office", "", b"{}", bytes(500))):
        assert refusal(lambda told=told: verified_body(told, key)) is DeployCheck.FORM
    assert asked == []


@pytest.mark.parametrize(
    "change",
    [
        lambda f: b"not JSON",
        lambda f: b"[" * 2000,
        lambda f: [],
        lambda f: {k: v for k, v in f.items() if k != "nonce"},
        lambda f: {**f, "more": 1},
        lambda f: {**f, "version": "3"},
        lambda f: {**f, "version": True},
        lambda f: {**f, "version": 0},
        lambda f: {**f, "version": LARGEST_VERSION + 1},
        lambda f: {**f, "version": 3.0},
        lambda f: {**f, "plugin": "../lines"},
        lambda f: {**f, "sha256": "AB" * 32},
        lambda f: {**f, "nonce": "0" * 31},
        lambda f: {**f, "audience": None},
        lambda f: {**f, "key_id": "../x"},
        lambda f: {**f, "key_id": "another"},
        lambda f: {**f, "expires": f["issued"] + 301},
        lambda f: {**f, "expires": f["issued"] - 1},
        lambda f: json.dumps(f).encode()[:-1] + b',"version":9}',
    ],
)
def test_a_signed_body_of_the_wrong_form(change: Callable[[dict[str, Any]], Any]) -> None:
    assert refusal(lambda: verified_body(resigned(change), KEY)) is DeployCheck.FORM


@pytest.mark.parametrize(
    ("now", "check"),
    [
        (NOW - 301, DeployCheck.FUTURE),
        (NOW + 300.5, DeployCheck.EXPIRED),
        (NOW + 86_400, DeployCheck.EXPIRED),
    ],
)
def test_the_window(now: float, check: DeployCheck) -> None:
    body = verified_body(signed(), KEY)
    assert refusal(lambda: check_deploy(body, CODE, HERE, now)) is check


def test_for_whom_and_what_it_was_signed() -> None:
    body = verified_body(signed(), KEY)
    other = HERE[::-1]
    assert refusal(lambda: check_deploy(body, CODE, other, NOW)) is DeployCheck.AUDIENCE
    assert refusal(lambda: check_deploy(body, CODE + b" ", HERE, NOW)) is DeployCheck.CODE_HASH
    assert refusal(lambda: check_stored(signed(), KEY, "lines", b"")) is DeployCheck.CODE_HASH
    assert refusal(lambda: check_stored(signed(), KEY, "other", CODE)) is DeployCheck.PLUGIN
    assert refusal(lambda: check_stored(signed(), None, "lines", CODE)) is DeployCheck.KEY


def test_a_short_secret_signs_nothing() -> None:
    with pytest.raises(ValueError, match="32"):
        hmac_key("office", bytes(31)).sign(b"x")
    with pytest.raises(ValueError, match="32"):
        hmac_verifier("office", b"").verifies(b"x", b"")


@given(st.binary(max_size=200))
def test_whatever_a_body_claims_can_be_noted(raw: bytes) -> None:
    plugin, version = claimed(raw)
    assert len(plugin) <= 100
    assert 0 <= version <= LARGEST_VERSION


def test_a_claim_is_what_the_body_names() -> None:
    assert claimed(signed().body) == ("lines", 3)
    assert claimed(b'{"plugin": "../x", "version": -1}') == ("", 0)
    assert claimed(b"[" * 3000) == ("", 0)
