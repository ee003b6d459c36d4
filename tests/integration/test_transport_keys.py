"""Whole engines over TCP with keys, and while strangers knock: real processes, real sockets."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from casparian.adapters.transport import _doorkeeper, connection_for
from casparian.adapters.transport._gate import Gate
from casparian.adapters.transport.curve import new_key_pair, read_pair, read_public
from casparian.adapters.transport.zmq_tcp import ZmqTcpTransport
from casparian.app.access import client_access
from casparian.app.settings import Settings
from casparian.domain.errors import ConfigurationError, UnavailableError
from tests.support.project import Project, documents, wait_for

KEYS = """
[transport]
adapter = "zmq-tcp"
endpoint = "127.0.0.1:0"
[transport.settings]
key = "keys/curve/engine.key_secret"
clients = "clients"
[metrics]
listen = "127.0.0.1:0"
"""


@pytest.fixture
def with_keys(project: Project) -> Project:
    project.csv_to("parquet://./output", KEYS)
    (project.directory / "clients").mkdir()
    done = project.casparian("keys", "curve", "engine", "--json")
    made = json.loads(done.stdout)
    assert stat.S_IMODE(os.stat(made["secret"]).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(Path(made["secret"]).parent).st_mode) == 0o700
    return project


def worker(project: Project) -> dict[str, Any]:
    """The one that is alive, as `status` lists it."""

    def alive() -> list[dict[str, Any]]:
        if not project.database.exists():
            return []
        status = json.loads(project.casparian("status", "--json").stdout)
        return [w for w in status["workers"] if w["alive"]]

    (found,) = wait_for(alive)
    return dict(found)


def test_sidecars_get_their_key_by_themselves(with_keys: Project) -> None:
    with_keys.drop("a.csv", "a\n1\n2\n")
    assert with_keys.drain() == 0
    assert with_keys.parquet().num_rows == 2
    check = json.loads(with_keys.casparian("check", "--json").stdout)
    (found,) = (f["what"] for f in check["findings"] if f["where"] == "[transport]")
    assert found == "zmq-tcp can be used; it asks for keys, and knows 0 clients."


def test_clients_are_admitted_by_their_keys_and_others_counted(with_keys: Project) -> None:
    directory = with_keys.directory
    public, secret = new_key_pair(str(directory / "mine"), "friend")
    shown = read_pair(secret).access(read_public(str(directory / "keys/curve/engine.key")))
    with with_keys.running():
        endpoint = worker(with_keys)["endpoint"]
        for refused in (shown, None):
            with pytest.raises(UnavailableError, match="does not admit"):
                connection_for(endpoint, refused)
        os.rename(public, directory / "clients" / "friend.key")
        connection_for(endpoint, shown).close()
        wait_for(lambda: worker(with_keys)["load"]["refused"] == 2)
        said = with_keys.casparian("status").stdout
        assert "has refused 2 connections: its log says why." in said
        log = documents(with_keys.log())
        reasons = [d["reason"] for d in log if d["event"] == "connections refused"]
        assert len(reasons) == 2
        assert reasons[0] == "its key is not known"
        url = next(d["url"] for d in log if d["event"] == "metrics")
        metrics = urllib.request.urlopen(url, timeout=30).read().decode()
        assert "casparian_connections_refused_total 2.0" in metrics


def test_a_command_shows_the_key_that_the_file_names(with_keys: Project) -> None:
    directory = with_keys.directory
    file = directory / "casparian.toml"
    of_engine = client_access(Settings.load(file))
    assert of_engine["public"] == of_engine["server"]
    new_key_pair(str(directory / "mine"), "friend")
    text = file.read_text()
    file.write_text(text.replace("[metrics]", 'client_key = "mine/friend.key_secret"\n[metrics]'))
    shown = client_access(Settings.load(file))
    assert shown["server"] == of_engine["server"]
    assert shown["secret"] == read_pair(str(directory / "mine/friend.key_secret")).secret.decode()
    file.write_text(file.read_text().replace("\nkey = ", "\n# key = "))
    with pytest.raises(ConfigurationError, match="client_key needs server"):
        client_access(Settings.load(file))


def test_a_deployment_travels_by_keys(with_keys: Project) -> None:
    """By the engine's own, from where it runs, and by a client's from elsewhere."""
    directory = with_keys.directory
    with_keys.casparian("keys", "new", "office")
    code = (with_keys.plugins / "csv_table.py").read_text()
    public, _ = new_key_pair(str(directory / "mine"), "friend")
    os.rename(public, directory / "clients" / "friend.key")
    far = (directory / "casparian.toml").read_text()
    far = far.replace("[metrics]", 'client_key = "mine/friend.key_secret"\n[metrics]')
    strange = far.replace("friend", "stranger")
    new_key_pair(str(directory / "mine"), "stranger")
    deploy = ("deploy", "new.py", "--plugin", "csv_table", "--key-id", "office", "--json")
    with with_keys.running():
        worker(with_keys)
        for number, text in enumerate((None, far), 1):
            (directory / "new.py").write_text(f"{code}\n# {number}\n")
            if text is not None:
                (directory / "far.toml").write_text(text)
            more = ("--config", "far.toml") if text is not None else ()
            installed = json.loads(with_keys.casparian(*deploy, *more).stdout)
            assert installed["version"] == 1 + number
        (directory / "far.toml").write_text(strange)
        refused = with_keys.casparian(*deploy, "--config", "far.toml", code=3)
        assert "does not admit this peer" in refused.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('endpoint = "127.0.0.1:0', 'endpoint = "192.0.2.1:5570'), "cannot listen at 192.0.2.1"),
        (('endpoint = "127.0.0.1:0', 'endpoint = "0.0.0.0:5570'), "every address of this machine"),
        (("engine.key_secret", "other.key_secret"), "other.key_secret' cannot be read"),
        (("engine.key_secret", "engine.key"), "holds no secret key"),
        (('clients = "clients"', 'clients = "nowhere"'), "nowhere"),
    ],
)
def test_an_engine_without_its_keys_does_not_start(
    with_keys: Project, change: tuple[str, str], told: str
) -> None:
    file = with_keys.directory / "casparian.toml"
    file.write_text(file.read_text().replace(*change))
    assert with_keys.drain() == 2
    assert told in with_keys.log()


def test_an_engine_that_others_can_reach_does_not_start_without_a_key(project: Project) -> None:
    project.csv_to(
        "parquet://./output", '[transport]\nadapter = "zmq-tcp"\nendpoint = "192.0.2.1:5570"'
    )
    assert project.drain() == 2
    assert "needs encryption and authentication by CURVE" in project.log()
    assert "CURVE" in project.casparian("check", code=1).stdout


def test_an_engine_serves_while_strangers_knock(project: Project) -> None:
    """Sockets that never speak, that begin and never go on, and garbage; more than there is
    room for."""
    project.csv_to(
        "parquet://./output", '[transport]\nadapter = "zmq-tcp"\nendpoint = "127.0.0.1:0"'
    )
    project.drop("first.csv", "a\n1\n")
    with project.running() as engine:
        endpoint = worker(project)["endpoint"]
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        wait_for(lambda: project.statuses().get("COMPLETED") == 1)
        before = descriptors(engine.pid)
        done = threading.Event()
        flood = [
            threading.Thread(target=knock, args=((host, int(port)), said, done))
            for said in (b"", b"\xff", b"GET / HTTP/1.1\r\n\r\n" * 50)
        ]
        for knocking in flood:
            knocking.start()
        most = 0
        try:
            for number in range(20):
                project.drop(f"{number}.csv", "a\n1\n")
                most = max(most, descriptors(engine.pid))
                wait_for(lambda n=number: project.statuses().get("COMPLETED") == 2 + n)
        finally:
            done.set()
            for knocking in flood:
                knocking.join()
        assert most < before + 1024 + 200
        wait_for(lambda: worker(project)["load"]["refused"] > 100)
        wait_for(lambda: descriptors(engine.pid) < before + 20)
    # Many a knock, and few lines of it.
    lines = [d for d in documents(project.log()) if d["event"] == "connections refused"]
    assert 0 < len(lines) < 100


def test_a_door_that_cannot_be_closed_is_served_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel keeps a filter for it, for which it may have no memory."""

    def full(gate: Gate) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(_doorkeeper, "MOST_OPEN", 1)
    monkeypatch.setattr(Gate, "close", full)
    transport = ZmqTcpTransport("127.0.0.1:0")
    try:
        host, _, port = transport.bind().removeprefix("tcp://").rpartition(":")
        held = [socket.create_connection((host, int(port))) for _ in range(3)]
        wait_for(lambda: len(transport._door._open) == 3)
        for made in held:
            made.close()
        wait_for(lambda: not transport._door._open)
    finally:
        transport.close()


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def knock(address: tuple[str, int], said: bytes, done: threading.Event) -> None:
    """At most 500 at a time: the oldest makes place for the next."""
    held: list[socket.socket] = []
    while not done.is_set():
        made = socket.socket()
        made.setblocking(False)
        made.connect_ex(address)
        time.sleep(0.001)
        with suppress(OSError):
            made.send(said)
        held.append(made)
        if len(held) > 500:
            held.pop(0).close()
    for made in held:
        made.close()
