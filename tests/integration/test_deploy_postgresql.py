"""Deployment over a PostgreSQL server: one that goes away, and several engines on it."""

from __future__ import annotations

import threading
from pathlib import Path

from casparian import Engine, Settings
from casparian.adapters.keys import KeyDirectory
from casparian.domain.messages import Deployed, DeployRefused
from casparian.domain.signing import Scheme
from tests.support.deploying import Sender
from tests.support.postgres_server import Server, new_schema
from tests.support.project import Project, wait_for

DEPLOYED = b"""
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.publish("output", [{"deployed": 1}])
"""


def test_nothing_is_half_done_while_the_server_is_away(
    tmp_path: Path, postgresql_server: Server
) -> None:
    """The very same deployment is taken when it is back; the other engine then runs it, too."""
    with new_schema(postgresql_server.url) as url:
        project = Project(tmp_path / "flow")
        project.csv_to("parquet://./output", f'[database]\nurl = "{url}"')
        keys = KeyDirectory(project.directory / "keys")
        keys.create("office", Scheme.HMAC, 1)
        settings = Settings.load(project.directory / "casparian.toml")
        first, second = Engine(settings), Engine(settings, ["worker"])
        threads = [threading.Thread(target=engine.run) for engine in (first, second)]
        try:
            threads[0].start()
            wait_for(lambda: first._worker is not None and first._worker.endpoint)
            sender = Sender(first.container.worker().endpoint, first.stores, keys)
            wait_for(lambda: sender.stores.store.live())
            threads[1].start()
            wait_for(lambda: second._worker is not None and second._worker.live_plugins())
            wait_for(lambda: sum(w["alive"] for w in first.reports.status()["workers"]) == 2)
            signed = sender.signed(DEPLOYED)
            postgresql_server.stop()
            try:
                answer = sender.send(signed, DEPLOYED)
            finally:
                postgresql_server.start()
            assert isinstance(answer, DeployRefused)
            assert answer.check == "database"
            assert [d.version for d in sender.stores.store.deployments()] == [1]
            installed = sender.send(signed, DEPLOYED)
            assert isinstance(installed, Deployed)
            code = installed.content_hash
            wait_for(
                lambda: all(
                    e.container.worker().live_plugins()["csv_table"].content_hash == code
                    for e in (first, second)
                )
            )
        finally:
            for engine in (first, second):
                engine.stop()
            for thread in threads:
                thread.join()
        first.close()
        second.close()
