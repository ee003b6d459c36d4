"""Deployment end to end: keys, a running engine, versions, rollback, and what is refused."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import stat
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casparian import Engine, Settings
from casparian.adapters.keys import KeyDirectory
from casparian.adapters.queue import open_sqlite
from casparian.domain.deployments import Deployment, Origin
from casparian.domain.plugins import code_hash
from casparian.domain.signing import Scheme
from tests.support.deploying import Sender
from tests.support.project import CSV_PLUGIN, Project, wait_for

DOUBLED = """
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        with open(file_path) as lines:
            rows = [{"a": int(line) * 2} for line in list(lines)[1:]]
        self.publish("output", rows)
"""
BROKEN = "class Handler: pass\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "flow")
    project.csv_to("parquet://./output")
    (tmp_path / "doubled.py").write_text(DOUBLED)
    (tmp_path / "broken.py").write_text(BROKEN)
    return project


@pytest.fixture
def engine(project: Project) -> Iterator[Project]:
    """A project whose engine runs, with the key `office`."""
    project.casparian("keys", "new", "office")
    with project.running():
        wait_for(lambda: project.database.exists() and _alive(project))
        yield project


def _alive(project: Project) -> bool:
    try:
        return bool(project.query("select 1 from worker_node where endpoint <> '' and not stopped"))
    except Exception:
        return False


def deploy(project: Project, file: str, code: int = 0, key: str = "office") -> str:
    path = str(project.directory.parent / file)
    done = project.casparian(
        "deploy", path, "--plugin", "csv_table", "--key-id", key, "--json", code=code
    )
    return done.stdout if code == 0 else done.stderr


def told(project: Project, command: str = "deployments", *arguments: str) -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = json.loads(
        project.casparian(command, *arguments, "--json").stdout
    )
    return document


def numbers(project: Project) -> list[int]:
    table = project.parquet()
    return sorted(table.column("a").to_pylist()) if table.num_columns else []


def test_deployed_code_runs_the_next_files(engine: Project) -> None:
    engine.drop("one.csv", "a\n1\n")
    wait_for(lambda: numbers(engine) == [1])
    document = json.loads(deploy(engine, "doubled.py"))
    assert (document["plugin"], document["version"]) == ("csv_table", 2)
    engine.drop("two.csv", "a\n5\n")
    wait_for(lambda: numbers(engine) == [1, 10])
    hashes = dict(engine.query("select id, plugin_hash from processing_job"))
    assert hashes[2] == document["content_hash"] != hashes[1]
    (plugin,) = [p for p in told(engine, "plugins") if p["name"] == "csv_table"]
    assert (plugin["origin"], plugin["version"]) == ("deploy", 2)
    assert [(d["version"], d["origin"], d["live"]) for d in told(engine)] == [
        (1, "directory", False),
        (2, "deploy", True),
    ]


def test_code_that_cannot_be_loaded_leaves_what_is_live(engine: Project) -> None:
    error = deploy(engine, "broken.py", code=1)
    assert "recorded, and not live" in error
    assert "configure" in error
    engine.drop("one.csv", "a\n1\n")
    wait_for(lambda: numbers(engine) == [1])
    first, failed = told(engine)
    assert (first["live"], failed["live"], failed["verdict"]) == (True, False, "failed")
    assert "configure" in failed["message"]


def test_a_restart_keeps_what_was_deployed(engine: Project) -> None:
    """Whatever lies in the directory by then; until it is asked for by name."""
    deploy(engine, "doubled.py")
    (engine.plugins / "csv_table.py").write_text(CSV_PLUGIN + "# changed since")
    with engine.running():
        engine.drop("one.csv", "a\n4\n")
        wait_for(lambda: 8 in numbers(engine))
    findings = engine.casparian("check").stdout
    assert "version 2 of plugin csv_table was deployed" in findings
    engine.casparian("rollback", "csv_table")
    engine.casparian("rollback", "csv_table", "--to", "2", "--json")
    assert "live is 4" in engine.casparian("rollback", "csv_table", "--to", "9", code=2).stderr
    engine.casparian("rollback", "csv_table", "--to", "directory")
    versions = [(d["version"], d["origin"], d["live"]) for d in told(engine)]
    assert versions[2:] == [
        (3, "rollback", False),
        (4, "rollback", False),
        (5, "directory", True),
    ]
    assert {d["actor"] is not None for d in told(engine)[2:]} == {True}
    (plugin, _) = told(engine, "plugins")
    (file,) = engine.plugins.glob("csv_table.py")
    assert plugin["content_hash"] == code_hash(file.read_bytes())


@pytest.mark.parametrize(
    "change",
    [
        "update plugin_manifest set code = cast(code || x'0a' as blob) where live",
        "update plugin_deployment set body = x'7b7d' where version = 2",
        "update plugin_deployment set key_id = null where version = 2",
        "update plugin_deployment set signature = zeroblob(32) where version = 2",
        "delete from plugin_deployment where version = 2",
        "update plugin_manifest set live = (version = 1)",
        "update plugin_manifest set code = cast(code as text) where live",
        "update plugin_deployment set signature = 'text' where version = 2",
    ],
)
def test_code_altered_in_the_database_is_not_loaded(tmp_path: Path, change: str) -> None:
    """At every load: its jobs wait, and everybody is told."""
    project = Project(tmp_path / "flow")
    project.csv_to("parquet://./output")
    stores = open_sqlite(str(project.database))
    keys = KeyDirectory(project.directory / "keys")
    keys.create("office", Scheme.HMAC, 1)
    settings = Settings.load(project.directory / "casparian.toml")
    engine = Engine(settings)
    engine.apply()
    engine.close()
    sender = Sender("", stores, keys)
    code = textwrap.dedent(DOUBLED).encode()
    signed = replace(sender.signed(code), scheme="hmac-sha256")
    deployment = Deployment(
        "csv_table", 2, code_hash(code), Origin.DEPLOY, stores.store.deployments()[0].at_us,
        signed=signed,
    )  # fmt: skip
    stores.store.deploy(deployment, code, "0" * 32)
    stores.close()
    connection = sqlite3.connect(project.database)
    connection.execute(change)
    connection.commit()
    connection.close()
    project.drop("one.csv", "a\n1\n")
    if "version = 1" in change or "delete" in change:
        # What is live, or would be by the directory, is whole, and not signed: that is for
        # `require_signature` to refuse.
        project.configure((project.directory / "casparian.toml").read_text() + REQUIRED)
    assert project.drain() == 1
    assert project.statuses() == {"QUEUED": 1}
    assert "plugin not run" in project.log()
    assert "[plugin.csv_table]" in project.casparian("check", code=1).stdout
    (plugin, _) = told(project, "plugins")
    assert plugin["state"] == "refused"
    assert plugin["refused"]


REQUIRED = "\n[plugins]\nrequire_signature = true\n"


def test_only_signed_code_runs_where_that_is_required(project: Project) -> None:
    """And of an Ed25519 key, the engine has the public half alone."""
    configuration = project.directory / "casparian.toml"
    project.configure(configuration.read_text() + REQUIRED)
    told_first = project.casparian("check", code=1).stdout
    assert "only signed code may run" in told_first
    project.casparian("keys", "new", "office", "--scheme", "ed25519")
    elsewhere = project.directory.parent / "office.key"
    (project.directory / "keys" / "office.key").rename(elsewhere)
    project.drop("one.csv", "a\n1\n")
    with project.running():
        wait_for(lambda: _alive(project))
        assert "only the public half" in deploy(project, "doubled.py", code=2)
        holder = project.directory.parent / "holder"
        holder.mkdir(mode=0o700)
        (holder / "office.key").write_bytes(elsewhere.read_bytes())
        (holder / "office.key").chmod(0o600)
        away = {"CASPARIAN_PLUGINS__KEYS": str(holder)}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in away.items():
                patch.setenv(name, value)
            document = json.loads(deploy(project, "doubled.py"))
        assert document["version"] == 1
    assert project.drain() == 0
    assert numbers(project) == [2]
    assert "no signature" not in project.log()


def test_a_key_that_is_laid_there_is_found(engine: Project) -> None:
    """Without a restart: what was refused for want of it runs."""
    deploy(engine, "doubled.py")
    engine.casparian("keys", "new", "home")
    key = engine.directory / "keys" / "office.key"
    away = key.rename(engine.directory / "office.key")
    engine.casparian("keys", "revoke", "home")
    wait_for(lambda: "not known here" in engine.log())
    engine.drop("one.csv", "a\n1\n")
    wait_for(lambda: engine.statuses() == {"QUEUED": 1})
    away.rename(key)
    wait_for(lambda: numbers(engine) == [2])


def test_a_revoked_key_ends_what_it_signed(engine: Project) -> None:
    secret = json.loads((engine.directory / "keys" / "office.key").read_text())["secret"]
    deploy(engine, "doubled.py")
    engine.casparian("keys", "new", "home")
    revoked = engine.casparian("keys", "revoke", "office")
    assert "Plugin csv_table is not run any more" in revoked.stdout
    assert "revoked" in deploy(engine, "doubled.py", code=2)
    wait_for(lambda: "has been revoked" in engine.log())
    engine.drop("one.csv", "a\n1\n")
    wait_for(lambda: engine.statuses() == {"QUEUED": 1})
    assert "another id" in engine.casparian("keys", "new", "office", code=2).stderr
    deploy(engine, "doubled.py", key="home")
    wait_for(lambda: numbers(engine) == [2])
    assert [(k["id"], k["state"], k["signs"]) for k in told(engine, "keys", "list")] == [
        ("home", "valid", True),
        ("office", "revoked", False),
    ]
    shown = engine.log() + revoked.stdout + json.dumps(told(engine)) + told_text(engine)
    for form in (secret, base64.b64decode(secret).hex()):
        assert form not in shown
    assert secret.encode() not in engine.database.read_bytes()


def told_text(project: Project) -> str:
    """What people are shown of keys, versions and plugins."""
    commands = (["keys", "list"], ["deployments"], ["plugins"], ["status"], ["check"])
    return "".join(project.casparian(*command).stdout for command in commands)


def test_without_an_engine_it_is_said_what_to_do(project: Project) -> None:
    project.casparian("keys", "new", "office")
    assert "casparian-engine run" in deploy(project, "doubled.py", code=3)
    assert project.drain() == 0
    assert "start `casparian-engine run`" in deploy(project, "doubled.py", code=3)
    assert "no key 'home'" in deploy(project, "doubled.py", code=2, key="home")
    assert "cannot be read" in deploy(project, "nowhere.py", code=2)
    assert "cannot be a key id" in project.casparian("keys", "new", "../x", code=2).stderr
    (project.directory / "keys" / "office.key").chmod(0o644)
    assert "chmod 600" in deploy(project, "doubled.py", code=2)
    mode = stat.S_IMODE(os.stat(project.directory / "keys").st_mode)
    assert mode == 0o700
