"""Deployments beside each other: one that takes long keeps up nobody but its own plugin."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from casparian import Engine, Settings
from casparian.adapters.keys import KeyDirectory
from casparian.app.architect import BUSY, MOST_UNVERIFIED
from casparian.app.builtins import SystemDeployer
from casparian.domain.messages import Deployed, DeployRefused
from casparian.domain.signing import Scheme
from tests.support.deploying import Answer, Sender
from tests.support.project import CSV_PLUGIN, Project, wait_for
from tests.support.wheels import HeldIndex, held_index, write_wheel

OTHER = """
[plugin.other]
tags = ["csv"]
[plugin.other.topics.output]
sink = "parquet://./other"
"""
PACKAGES = """# /// script
# dependencies = ["units"]
# ///
"""


def code(number: int, head: str = "") -> bytes:
    return f"{head}{CSV_PLUGIN}\n# {number}\n".encode()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldIndex]:
    write_wheel(tmp_path / "index", "units", "1.2", "")
    with held_index(tmp_path / "index") as index:
        for name, value in index.variables.items():
            monkeypatch.setenv(name, value)
        yield index


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    project = Project(tmp_path / "flow")
    project.csv_to("parquet://./output", OTHER)
    project.plugin("other", CSV_PLUGIN)
    KeyDirectory(project.directory / "keys").create("office", Scheme.HMAC, 1)
    engine = Engine(Settings.load(project.directory / "casparian.toml"))
    running = threading.Thread(target=engine.run)
    running.start()
    try:
        wait_for(lambda: engine._worker is not None and engine._worker.endpoint)
        wait_for(lambda: len(engine.stores.store.live()) == 2)
        yield engine
    finally:
        engine.stop()
        running.join()
        engine.close()


def sender(engine: Engine, plugin: str = "csv_table") -> Sender:
    keys = KeyDirectory(engine.settings.key_directory)
    return Sender(engine.container.worker().endpoint, engine.stores, keys, plugin)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as threads:
        yield threads


def test_another_plugin_does_not_wait_for_packages(
    engine: Engine, index: HeldIndex, threads: ThreadPoolExecutor
) -> None:
    long = threads.submit(sender(engine).deploy, code(1, PACKAGES))
    assert index.asked.wait(30)
    # Of the same plugin the next waits; of another all goes on.
    newer = threads.submit(sender(engine).deploy, code(2), version=3)
    for number in (3, 4):
        assert isinstance(sender(engine, "other").deploy(code(number)), Deployed)
    assert not long.done()
    assert not newer.done()
    index.release.set()
    assert [one.result(60) for one in (long, newer)] == [
        Deployed("csv_table", version, answer.content_hash)
        for version, answer in ((2, long.result()), (3, newer.result()))
        if isinstance(answer, Deployed)
    ]
    standing = engine.stores.store.standing()
    assert (standing["csv_table"].version, standing["other"].version) == (3, 3)


def test_the_engine_ends_while_packages_are_installed(
    engine: Engine, index: HeldIndex, threads: ThreadPoolExecutor
) -> None:
    """Its sender is told, and nothing of it is on record: it may be sent again."""
    before = engine.stores.store.deployments()
    answer: Future[Answer] = threads.submit(sender(engine).deploy, code(1, PACKAGES))
    assert index.asked.wait(30)
    engine.stop()
    refused = answer.result(30)
    assert isinstance(refused, DeployRefused)
    assert refused.check == "stopping"
    assert engine.stores.store.deployments() == before
    assert not index.release.is_set()


def test_who_comes_to_a_full_house_is_told_and_counted(
    engine: Engine, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify, goes_on = SystemDeployer.verify, threading.Event()

    def slowly(*given: Any) -> Any:
        goes_on.wait(60)
        return verify(*given)

    monkeypatch.setattr(SystemDeployer, "verify", slowly)
    counts = engine.container.worker().architect.counts
    # One is looked at, and as many wait as may.
    sent = [
        threads.submit(sender(engine).deploy, code(1), version=2)
        for _ in range(1 + MOST_UNVERIFIED + 2)
    ]
    wait_for(lambda: counts["busy"] == 2)
    goes_on.set()
    answers = [one.result(60) for one in sent]
    busy = [a for a in answers if isinstance(a, DeployRefused) and a.check == "busy"]
    assert [a.message for a in busy] == [BUSY] * 2
    assert "Deploy again in a few seconds" in BUSY
    assert len([a for a in answers if isinstance(a, Deployed)]) == 1
    (audited,) = [r for r in engine.stores.store.refusals() if r.check == "busy"]
    assert audited.message == f"{BUSY} (Refused so: 2.)"
