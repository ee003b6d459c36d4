"""Attacks on deployment, each through the router of a running engine: nothing may be changed."""

from __future__ import annotations

import json
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq

from casparian import Engine, Settings
from casparian.adapters.keys import KeyDirectory
from casparian.domain.deployments import Signed
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.message_codec import encode
from casparian.domain.messages import Deploy, Deployed, DeployRefused
from casparian.domain.signing import Scheme, hmac_key
from tests.support.deploying import Answer, Sender
from tests.support.project import Project, wait_for

GOOD = b"""
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.publish("output", [{"good": 1}])
# %d
"""
SPY = """
from casparian.domain.messages import Deploy
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.ctx._runtime._send(Deploy({"key_id": "office"}))
        self.publish("spied", [{"a": 1}])
"""


@dataclass
class Target:
    """An engine in this process, with a sender that has its key."""

    project: Project
    engine: Engine
    sender: Sender

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.engine.container.worker().architect.counts)

    def seen(self) -> object:
        """All that a refused deployment must leave as it was."""
        store = self.engine.stores.store
        return store.deployments(), store.live(), store.revision()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    project = Project(tmp_path_factory.mktemp("attacks") / "flow")
    project.csv_to(
        "parquet://./output",
        """
[[rule]]
pattern = "**/*.spy"
tag = "spy"
[plugin.spy]
tags = ["spy"]
[plugin.spy.topics."*"]
sink = "parquet://./spied"
""",
    )
    project.plugin("spy", SPY)
    keys = KeyDirectory(project.directory / "keys")
    keys.create("office", Scheme.HMAC, 1)
    engine = Engine(Settings.load(project.directory / "casparian.toml"))
    running = threading.Thread(target=engine.run)
    running.start()
    try:
        wait_for(lambda: engine._worker is not None and engine._worker.endpoint)
        sender = Sender(engine.container.worker().endpoint, engine.stores, keys)
        wait_for(lambda: engine.stores.store.live())
        yield Target(project, engine, sender)
    finally:
        engine.stop()
        running.join()
        engine.close()


def refused(target: Target, attack: Callable[[Sender], Answer], check: str) -> DeployRefused:
    """What the attack was told; all else is as before, and it is counted and in the audit."""
    before, counted = target.seen(), target.counts.get(check, 0)
    answer = attack(target.sender)
    assert isinstance(answer, DeployRefused), answer
    assert answer.check == check
    assert target.seen() == before
    assert target.counts[check] == counted + 1
    audited = target.engine.stores.store.refusals()[-1]
    assert (audited.check, audited.message) == (check, answer.message)
    return answer


def test_what_is_signed_well_is_installed(target: Target) -> None:
    answer = target.sender.deploy(GOOD % 0)
    assert isinstance(answer, Deployed)
    assert target.engine.stores.store.standing()["csv_table"].version == answer.version


def test_wrong_key(target: Target) -> None:
    forged = hmac_key("office", bytes(32))
    refused(target, lambda s: s.deploy(GOOD % 1, key=forged), "signature")


def test_unknown_key(target: Target) -> None:
    stranger = hmac_key("stranger", bytes(32))
    refused(target, lambda s: s.deploy(GOOD % 1, key=stranger), "key")


def test_revoked_key(target: Target) -> None:
    target.sender.keys.create("leaked", Scheme.HMAC, 1)
    leaked = target.sender.keys.signing("leaked")
    target.sender.keys.revoke("leaked", "me", 2)
    refused(target, lambda s: s.deploy(GOOD % 1, key=leaked), "revoked")


def test_a_key_that_others_can_read(target: Target) -> None:
    """Refused without the path; what to do stands in the engine's log."""
    (file,) = target.sender.keys.create("open", Scheme.HMAC, 1)
    key = target.sender.keys.signing("open")
    file.chmod(0o644)
    try:
        answer = refused(target, lambda s: s.deploy(GOOD % 1, key=key), "key")
    finally:
        file.unlink()
    assert str(file) not in answer.message


def test_expired(target: Target) -> None:
    refused(target, lambda s: s.deploy(GOOD % 1, now=time.time() - 302), "expired")


def test_from_the_future(target: Target) -> None:
    refused(target, lambda s: s.deploy(GOOD % 1, now=time.time() + 400), "future")


def test_replayed_nonce(target: Target) -> None:
    signed = target.sender.signed(GOOD % 2)
    assert isinstance(target.sender.send(signed, GOOD % 2), Deployed)
    refused(target, lambda s: s.send(signed, GOOD % 2), "nonce")


def test_older_version(target: Target) -> None:
    newest = target.engine.stores.store.newest_version("csv_table")
    for version in (1, newest):
        refused(target, lambda s, v=version: s.deploy(GOOD % 1, version=v), "version")


def test_changed_code_with_kept_signature(target: Target) -> None:
    signed = target.sender.signed(GOOD % 1)
    refused(target, lambda s: s.send(signed, GOOD % 1 + b" "), "code_hash")
    refused(target, lambda s: s.send(signed, b""), "code_hash")


@pytest.mark.parametrize(
    "write",
    [
        lambda fields: json.dumps(dict(reversed(fields.items())), separators=(",", ":")).encode(),
        lambda fields: json.dumps(fields).encode(),
        lambda fields: json.dumps({**fields, "version": 99}, separators=(",", ":")).encode(),
    ],
    ids=["reordered", "re-encoded", "changed"],
)
def test_body_written_another_way(target: Target, write: Callable[[Any], bytes]) -> None:
    refused(target, lambda s: s.rewritten(GOOD % 1, write), "signature")


def test_another_installations_audience(target: Target) -> None:
    refused(target, lambda s: s.deploy(GOOD % 1, audience="f" * 32), "audience")


@pytest.mark.parametrize("key_id", ["../keys/office", "/etc/passwd", "", "office.key", "a\0b"])
def test_key_id_that_is_a_path(target: Target, key_id: str) -> None:
    signed = target.sender.signed(GOOD % 1)
    refused(target, lambda s: s.send(signed, GOOD % 1, key_id=key_id), "key")


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"key_id": "office"},
        {"key_id": 1, "body": "", "signature": ""},
        {"key_id": "office", "body": "no base64!", "signature": ""},
        {"key_id": "office", "body": "e30=", "signature": "e30=", "more": 1},
        {"key_id": "office", "body": "A" * 9000, "signature": ""},
    ],
)
def test_metadata_that_is_none(target: Target, metadata: dict[str, Any]) -> None:
    refused(target, lambda s: s.say(metadata, b"code"), "form")


def test_a_plugin_that_is_not_configured(target: Target) -> None:
    other = Sender(target.sender.endpoint, target.sender.stores, target.sender.keys, "other")
    refused(target, lambda s: other.deploy(GOOD % 1), "plugin")


def test_more_code_than_a_plugin_may_have(target: Target) -> None:
    code = bytes(9 << 20)
    refused(target, lambda s: s.deploy(code), "size")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (b"import os\nos._exit(3)\n", "exit code 3"),
        (b"raise SystemExit(0)\n", "SystemExit"),
        (b"class Handler: pass\n", "configure"),
        (b"Handler = 1\n", "no class named Handler"),
        (b"def broken(:\n", "SyntaxError"),
        (b"x = bytes(20 << 30)\n", "MemoryError"),
        (b"import os\nos.kill(os.getpid(), 9)\n", "signal 9"),
    ],
    ids=["exits", "leaves", "no contract", "no Handler", "no Python", "memory", "kills itself"],
)
def test_code_that_cannot_be_loaded(target: Target, code: bytes, reason: str) -> None:
    """Its version is recorded with the verdict; what was live stays."""
    store = target.engine.stores.store
    live, revision, newest = store.live(), store.revision(), store.newest_version("csv_table")
    answer = target.sender.deploy(code)
    assert isinstance(answer, DeployRefused)
    assert answer.check == "contract"
    assert reason in answer.message
    assert (store.live(), store.revision()) == (live, revision)
    recorded = store.deployments("csv_table")[-1]
    assert (recorded.version, recorded.verdict) == (newest + 1, "failed")
    assert reason in recorded.message


def test_of_two_at_once_one_wins(target: Target) -> None:
    store = target.engine.stores.store
    version = store.newest_version("csv_table") + 1
    codes = [GOOD % number for number in range(20, 24)]
    signed = [target.sender.signed(code, version=version) for code in codes]
    answers: list[Answer] = []

    def send(one: Signed, code: bytes) -> None:
        answers.append(target.sender.send(one, code))

    threads = [threading.Thread(target=send, args=pair) for pair in zip(signed, codes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [a for a in answers if isinstance(a, Deployed)]
    losers = [a.check for a in answers if isinstance(a, DeployRefused)]
    assert losers == ["version"] * 3
    assert store.standing()["csv_table"].content_hash == winner.content_hash
    assert store.newest_version("csv_table") == winner.version == version


WAITS = b"""
import os, time
while not os.path.exists(%r):
    time.sleep(0.01)
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.publish("output", [{"good": 1}])
"""


def test_the_newest_waits_while_another_is_tried(target: Target, tmp_path: Path) -> None:
    """Of those that come meanwhile only the newest is tried; the others are told so at once."""
    store, architect = target.engine.stores.store, target.engine.container.worker().architect
    first = store.newest_version("csv_table") + 1
    answers: dict[int, Answer] = {}

    def deploy(version: int, code: bytes) -> threading.Thread:
        def send() -> None:
            answers[version] = target.sender.deploy(code, version=version)

        thread = threading.Thread(target=send)
        thread.start()
        return thread

    counted = target.counts.get("superseded", 0)
    threads = [deploy(first, WAITS % os.fspath(tmp_path / "go"))]
    wait_for(lambda: architect._try_outs._running)
    threads.append(deploy(first + 1, GOOD % 40))
    wait_for(lambda: architect._waiting._waiting)
    for version in (first + 3, first + 2):
        threads.append(deploy(version, GOOD % (40 + version - first)))
        wait_for(lambda n=version: first + (2 if n == first + 2 else 1) in answers)
    (tmp_path / "go").touch()
    for thread in threads:
        thread.join()
    told = {v: a.check for v, a in answers.items() if isinstance(a, DeployRefused)}
    assert told == {first + 1: "superseded", first + 2: "superseded"}
    assert target.counts["superseded"] == counted + 2
    audited = [(r.version, r.check) for r in store.refusals()[-2:]]
    assert audited == [(first + 1, "superseded"), (first + 2, "superseded")]
    versions = [one.version for one in store.deployments("csv_table")]
    assert versions[-2:] == [first, first + 3]
    assert store.standing()["csv_table"].version == first + 3


def test_the_database_is_away(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the check, and at the very end: a clear refusal, nothing half done."""
    store = target.engine.stores.store
    signed = target.sender.signed(GOOD % 30)
    before = target.seen()

    def away(*_: object) -> Any:
        raise UnavailableError("The database is away.")

    for method in ("configured", "deploy"):
        with monkeypatch.context() as patch:
            patch.setattr(type(store), method, away)
            answer = target.sender.send(signed, GOOD % 30)
        assert isinstance(answer, DeployRefused)
        assert answer.check == "database"
        assert "deploy again" in answer.message
        assert target.seen() == before
    # It was taken for nothing: the very same is accepted when the database is back.
    assert isinstance(target.sender.send(signed, GOOD % 30), Deployed)


def test_a_refusal_that_cannot_be_noted_is_told_all_the_same(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the database says, and the next one is heard."""

    def forbidden(*_: object) -> None:
        raise ConfigurationError("The database refuses what the engine needs.")

    with monkeypatch.context() as patch:
        patch.setattr(type(target.engine.stores.store), "refuse", forbidden)
        answer = target.sender.deploy(GOOD % 31, now=time.time() - 302)
        assert isinstance(answer, DeployRefused)
        assert answer.check == "expired"
    assert isinstance(target.sender.deploy(GOOD % 31), Deployed)


def test_a_sidecar_that_sends_deploy(target: Target) -> None:
    """It is ended, its attempt fails, and it is counted and in the audit under its plugin."""
    live = target.engine.stores.store.live()
    target.project.drop("a.spy", "x")
    audited = wait_for(lambda: target.engine.stores.store.refusals("spy"), 20)
    assert audited[0].check == "sender"
    assert target.counts["sender"] >= 1
    errors = wait_for(
        lambda: [
            job["error"]
            for job in target.engine.reports.jobs(plugin="spy")
            if job["error"] and job["error"]["class"] == "PROTOCOL"
        ]
    )
    assert "DEPLOY" in errors[0]["message"]
    assert [p for p in target.engine.stores.store.live() if not p.quarantined] == live
    assert not list((target.project.directory / "spied").glob("**/*.parquet"))


def test_a_gigabyte_grows_nothing(target: Target) -> None:
    """The transport ends the connection; who deploys after it is served."""
    peak = _peak_mb()
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    socket.setsockopt(zmq.RECONNECT_IVL, -1)
    # Its pages are all the one page of zeros, so that only the receiver could grow.
    nothing = mmap.mmap(-1, 1 << 30)
    socket.connect(target.sender.endpoint)
    socket.send(encode(Deploy({})), zmq.SNDMORE)
    socket.send(zmq.Frame(memoryview(nothing), copy=False), copy=False)
    assert monitor.poll(30_000), "the engine took it"
    monitor.close()
    context.destroy(linger=0)
    assert _peak_mb() - peak < 100
    assert isinstance(target.sender.deploy(GOOD % 40), Deployed)


def _peak_mb() -> int:
    """The most memory of its own that this process ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
