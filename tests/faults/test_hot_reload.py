"""Code is deployed again and again while files come in: no job is lost, doubled, or recorded for
code that did not run it, and what was installed last is live.

Every version publishes rows that say which one it is. CASPARIAN_HOT_RELOAD=full deploys ten times a
second for a minute, and prints what came of it.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from casparian import Settings
from casparian.adapters.keys import KeyDirectory
from casparian.adapters.queue import open_sqlite, wall_clock_us
from casparian.app.access import client_access
from casparian.app.deploying import send
from casparian.domain.deployments import DeployRefusedError
from casparian.domain.documents.status import WorkerDocument
from casparian.domain.errors import UnavailableError
from casparian.domain.plugins import code_hash
from casparian.domain.signing import NONCE_BYTES, sign
from tests.support.audit import violations_of
from tests.support.project import Project, wait_for

FULL = os.environ.get("CASPARIAN_HOT_RELOAD") == "full"
SECONDS = 60 if FULL else 4
A_SECOND = 10
FILES_A_SECOND = 40
BUSY = "busy"

CODE = """
import time
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        time.sleep(0.01)
        with open(file_path) as file:
            self.publish("output", [{"name": file.read(), "mark": %d}])
"""


class Deployer:
    """Deploys from many threads, each version once."""

    def __init__(self, project: Project) -> None:
        self.settings = Settings.load(project.directory / "casparian.toml")
        self.key = KeyDirectory(self.settings.key_directory).signing("office")
        with closing(open_sqlite(str(project.database), wall_clock_us, create=False)) as stores:
            self.audience = stores.ledger.installation
            self.worker: WorkerDocument = next(
                w for w in stores.reports.status()["workers"] if w["endpoint"]
            )
        self.outcomes: Counter[str] = Counter()
        self.installed: set[int] = set()
        self._lock = threading.Lock()

    def deploy(self, version: int) -> None:
        code = (CODE % version).encode()
        nonce, now = secrets.token_bytes(NONCE_BYTES), int(time.time())
        signed = sign(self.key, "csv_table", version, code, self.audience, now, nonce)
        try:
            send(self.worker, signed, code, client_access(self.settings))
            outcome = "installed"
        except DeployRefusedError as error:
            outcome = str(error.check)
        except UnavailableError:
            # So many came at once that there was no room for it.
            outcome = BUSY
        with self._lock:
            self.outcomes[outcome] += 1
            if outcome == "installed":
                self.installed.add(version)


def test_deployments_under_load(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.plugin("csv_table", CODE % 1)
    project.casparian("keys", "new", "office")
    project.drop("first.csv", "first.csv")
    dropped = {"first.csv"}
    with project.running():
        wait_for(lambda: project.statuses().get("COMPLETED") == 1)
        deployer = Deployer(project)
        end, version = time.monotonic() + SECONDS, 1
        with ThreadPoolExecutor(16) as threads:
            while time.monotonic() < end:
                version += 1
                threads.submit(deployer.deploy, version)
                for _ in range(FILES_A_SECOND // A_SECOND):
                    name = f"{len(dropped)}.csv"
                    project.drop(name, name)
                    dropped.add(name)
                time.sleep(1 / A_SECOND)
        # One more when it is calm: it is taken, and what comes then is its.
        deployer.deploy(version + 1)
        project.drop("last.csv", "last.csv")
        dropped.add("last.csv")
        wait_for(lambda: project.statuses() == {"COMPLETED": len(dropped)}, timeout=120)
    made = {row["name"]: row["mark"] for row in project.parquet().to_pylist()}
    assert (len(made), project.parquet().num_rows) == (len(dropped), len(dropped))
    assert made.keys() == dropped
    assert deployer.installed
    assert version + 1 in deployer.installed
    # Each is recorded against the code that made its rows, which was live at some time.
    recorded = project.query(
        "select l.path, j.plugin_hash from processing_job j "
        "join file_location l on l.id = j.location_id"
    )
    assert len(recorded) == len(dropped)
    for path, plugin_hash in recorded:
        assert plugin_hash == code_hash((CODE % made[path.decode()]).encode())
    assert set(made.values()) <= deployer.installed | {1}
    assert made["last.csv"] == version + 1
    ((live,),) = project.query("select content_hash from plugin_manifest where live")
    assert live == code_hash((CODE % (version + 1)).encode())
    assert set(deployer.outcomes) <= {"installed", "superseded", BUSY, "version"}
    assert violations_of(project.database) == []
    if FULL:
        print(
            f"\n{version} deployments in {SECONDS} s: {dict(deployer.outcomes)}; {len(dropped)} "
            f"files, by {len(set(made.values()))} versions of the code"
        )
