"""SIGKILL of an engine in place of each call by which it changes files while it takes a deployment.

Files come in meanwhile, and the new code asks for packages. Afterwards another engine goes on, one
that was started then or one that ran beside it: it runs the old code or the new, never half of it,
and no file is lost, published twice, or recorded for code that did not make its rows.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from casparian.adapters.keys import KeyDirectory
from casparian.adapters.queue import QueueStores, open_sqlite, wall_clock_us
from casparian.app.deploying import deploy_to, send
from casparian.domain.deployments import Deployment, DeployRefusedError, Signed
from casparian.domain.documents.status import WorkerDocument
from casparian.domain.errors import CasparianError, UnavailableError
from casparian.domain.plugins import code_hash
from casparian.domain.ports import PluginStore
from casparian.domain.signing import NONCE_BYTES, sign
from tests.support import forked
from tests.support.audit import violations_of
from tests.support.crash_points import TIMEOUT_S, seeded, struck, until_killed
from tests.support.project import Engine, Project, wait_for
from tests.support.wheels import only_from, write_wheel

PACKAGES = """
# /// script
# dependencies = ["units!=0.MARK"]
# ///
import units
"""
CODE = """
import time
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        time.sleep(0.4)
        with open(file_path) as file:
            self.publish("output", [{"name": file.read(), "mark": MARK}])
"""
FILES = 3
"""That come in with each deployment."""


@dataclass
class Site:
    """A project whose plugin is deployed again and again. `live`: the mark of the code that is."""

    project: Project
    shim: Path
    stores: QueueStores
    index: Path
    live: int = 1
    versions: int = 1
    head: str = PACKAGES
    more: str = ""
    dropped: set[str] = field(default_factory=set)

    @property
    def armed(self) -> Path:
        return self.project.directory / "armed"

    @property
    def calls(self) -> Path:
        return self.project.directory / "calls"

    # --- engines --------------------------------------------------------------------------

    @contextmanager
    def engine(
        self, *arguments: str, at: int | None = None, shim: bool = False
    ) -> Iterator[Engine]:
        """One that runs, until it is killed or the block ends."""
        variables = {**os.environ, **only_from(self.index)}
        if shim:
            self.armed.unlink(missing_ok=True)
            self.calls.unlink(missing_ok=True)
            variables |= {"CRASH_LOG": str(self.calls), "CRASH_FROM": str(self.armed)}
            variables |= {} if at is None else {"CRASH_AT": str(at)}
        with (self.project.directory / "engine.log").open("ab") as log:
            process = forked.start(
                "casparian-engine", "run", *arguments, cwd=self.project.directory, stderr=log,
                env=variables, shim=self.shim if shim else None,
            )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)

    def node(self, engine: Engine) -> WorkerDocument:
        """Once it can be reached."""

        def found() -> WorkerDocument | None:
            workers = self.stores.reports.status()["workers"]
            mine = [w for w in workers if w["pid"] == engine.pid and w["endpoint"]]
            return mine[0] if mine and not mine[0]["stopped"] else None

        node: WorkerDocument = wait_for(found)
        return node

    # --- deployments ----------------------------------------------------------------------

    def code(self, mark: int) -> bytes:
        return (self.head + CODE + self.more).replace("MARK", str(mark)).encode()

    def signed(self, mark: int) -> Signed:
        key = KeyDirectory(self.project.directory / "keys").signing("office")
        version = self.stores.store.newest_version("csv_table") + 1
        audience, nonce = self.stores.ledger.installation, secrets.token_bytes(NONCE_BYTES)
        return sign(key, "csv_table", version, self.code(mark), audience, int(time.time()), nonce)

    def drop(self) -> None:
        for _ in range(FILES):
            name = f"{len(self.dropped)}.csv"
            self.project.move_in(name, name)
            self.dropped.add(name)

    # --- what must hold -------------------------------------------------------------------

    def installed(self, mark: int) -> bool:
        """Whether the code of this mark is live, with all that belongs to it; or nothing of it."""
        recorded = self.stores.store.deployments("csv_table")
        new = [d for d in recorded if d.content_hash == code_hash(self.code(mark))]
        standing = self.stores.store.standing()["csv_table"]
        manifest = self.stores.store.manifest(standing.content_hash, "csv_table")
        assert code_hash(manifest.code) == standing.content_hash
        assert standing.content_hash == code_hash(self.code(mark if new else self.live))
        assert [d.version for d in recorded] == list(range(1, self.versions + len(new) + 1))
        assert [d.verdict for d in new] in ([], ["installed"])
        # The first came from the directory.
        assert self.project.query("select count(*) from deploy_nonce") == [(len(recorded) - 1,)]
        return bool(new)

    def check_rows(self) -> None:
        """Each file once, and made by the code that its job is recorded for."""
        rows = self.project.parquet().to_pylist()
        assert Counter(row["name"] for row in rows) == Counter(self.dropped)
        marks = {row["name"]: row["mark"] for row in rows}
        recorded = self.project.query(
            "select l.path, j.plugin_hash, e.packages from processing_job j "
            "join file_location l on l.id = j.location_id "
            "left join plugin_environment e on e.digest = j.environment"
        )
        assert len(recorded) == len(self.dropped)
        for path, plugin_hash, packages in recorded:
            assert plugin_hash == code_hash(self.code(marks[path.decode()]))
            assert "units==1.2" in packages
        # What a dead engine had staged is swept by the one beside it every minute, and at its end.
        found = violations_of(self.project.database)
        assert [text for text in found if not text.startswith("I9 ")] == []


@pytest.fixture
def site(project: Project, shim: Path, tmp_path: Path) -> Iterator[Site]:
    project.csv_to("parquet://./output")
    text = (project.directory / "casparian.toml").read_text()
    project.configure(text.replace("[worker]", "[worker]\nlease_s = 3\nrenew_s = 1\nsweep_s = 0.5"))
    project.casparian("keys", "new", "office")
    write_wheel(tmp_path / "index", "units", "1.2", "")
    stores = open_sqlite(str(project.database), wall_clock_us)
    site = Site(project, shim, stores, tmp_path / "index")
    project.plugin("csv_table", site.code(1).decode())
    yield site
    site.stores.close()


def verdict(node: WorkerDocument, signed: Signed, code: bytes) -> CasparianError | None:
    """What was told instead of the good news."""
    try:
        send(node, signed, code)
    except (UnavailableError, DeployRefusedError) as error:
        return error
    return None


@dataclass
class Fire:
    """A deployment to an engine that is to die at a call: `code` is the engine's exit code,
    `calls` those that it made until the verdict, or its death."""

    signed: Signed
    code: int
    calls: list[str]


def under_fire(site: Site, mark: int, at: int | None, *role: str) -> Fire:
    """Files come in while the code of this mark is deployed."""
    with site.engine(*role, at=at, shim=True) as engine:
        node, signed = site.node(engine), site.signed(mark)
        site.drop()
        site.armed.touch()
        unheard = verdict(node, signed, site.code(mark))
        if unheard is not None:
            assert isinstance(unheard, UnavailableError)
            assert "ended before its verdict came" in str(unheard)
            engine.wait(30)
        calls = site.calls.read_text(errors="replace").splitlines()
    assert engine.returncode is not None
    return Fire(signed, engine.returncode, calls)


class Rounds:
    """Deployments, each of which an engine dies of. `other` runs beside it, or is started then."""

    def __init__(self, site: Site, other: Engine | None) -> None:
        self.site, self.other = site, other
        self.killed: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()

    @contextmanager
    def next_engine(self) -> Iterator[Engine]:
        if self.other is not None:
            yield self.other
        else:
            with self.site.engine() as engine:
                yield engine

    def run(self, at: int | None) -> int:
        """Returns how many calls were made until the verdict."""
        site, mark = self.site, self.site.live + 1
        fire = under_fire(site, mark, at, *(("--role", "worker") if self.other else ()))
        if at is not None and struck(fire.code, at, fire.calls):
            self.killed[fire.calls[-1].split()[1]] += 1
        installed = site.installed(mark)
        self.outcomes["installed" if installed else "nothing of it"] += 1
        with self.next_engine() as engine:
            # The same message again is taken where it was not before, and else known.
            refusal = verdict(site.node(engine), fire.signed, site.code(mark))
            assert (refusal is not None) == installed
            if isinstance(refusal, DeployRefusedError):
                assert refusal.check == "nonce"
                assert "`casparian deployments csv_table` says" in str(refusal)
            assert site.installed(mark)
            site.live, site.versions = mark, site.versions + 1
            site.drop()
            wait_for(lambda: site.project.statuses() == {"COMPLETED": len(site.dropped)})
        site.check_rows()
        return len(fire.calls)


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("beside", [False, True], ids=["restarted", "beside"])
def test_the_engine_that_takes_a_deployment_is_killed(site: Site, beside: bool) -> None:
    with site.engine() if beside else nullcontext() as other:
        if other is not None:
            # It has told the queue by then which plugins there are.
            site.node(other)
        rounds = Rounds(site, other)
        total = rounds.run(None)
        for at in until_killed(total, seeded(), rounds.killed, few=1):
            rounds.run(at)
    assert violations_of(site.project.database) == []
    print(
        f"{total} calls, killed in {rounds.killed.total()}: {dict(rounds.killed)}; "
        f"afterwards: {dict(rounds.outcomes)}"
    )


# --- at chosen moments ------------------------------------------------------------------------

HELD = """
import os
while os.path.exists(%r):
    time.sleep(0.01)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["its packages are installed", "its code is tried"])
def test_the_engine_is_killed_while(site: Site, moment: str) -> None:
    """What was begun for it ends with the engine, or is never used."""
    hold = site.project.inbox / "hold"
    hold.touch()
    site.more = HELD % str(hold)
    environments = site.project.directory / "run" / "environments"
    answers: list[CasparianError | None] = []
    with site.engine() as engine:
        node, signed = site.node(engine), site.signed(2)
        before = set(site.project.sidecar_pids(engine.pid))
        code = site.code(2)
        sender = threading.Thread(target=lambda: answers.append(verdict(node, signed, code)))
        sender.start()
        if moment == "its packages are installed":
            wait_for(lambda: list(environments.glob(".making-*")), every=0.001)
            tried = set()
        else:
            tried = wait_for(lambda: set(site.project.sidecar_pids(engine.pid)) - before)
        engine.kill()
        engine.wait(30)
        sender.join()
    assert isinstance(answers[0], UnavailableError)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in tried))
    site.more = ""
    assert not site.installed(2)
    hold.unlink()
    with site.engine() as engine:
        site.drop()
        assert verdict(site.node(engine), signed, code) is None
        wait_for(lambda: site.project.statuses() == {"COMPLETED": len(site.dropped)})
    for python in site.project.query("select directory from plugin_environment"):
        assert (environments / python[0] / "resolved.txt").is_file()


@pytest.mark.slow
def test_the_next_engine_is_asked(site: Site) -> None:
    """Where the first died of it, and nothing is on record."""
    with site.engine() as other, site.engine("--role", "worker", at=1, shim=True) as dying:
        nodes = [site.node(dying), site.node(other)]
        site.armed.touch()
        answer, engine = deploy_to(
            nodes, site.stores.store, "csv_table", lambda: site.signed(2), site.code(2)
        )
        assert dying.wait(30) == -signal.SIGKILL
    assert (answer.version, engine) == (2, nodes[1]["id"])
    assert site.installed(2)


class WhenAsked:
    """Versions, by a connection of its own: who holds one open keeps what a dead engine has written
    and not yet shown from being recovered."""

    def __init__(self, database: Path) -> None:
        self.database = database

    def deployments(self, plugin: str | None = None) -> Sequence[Deployment]:
        with closing(open_sqlite(str(self.database), wall_clock_us, create=False)) as stores:
            return stores.store.deployments(plugin)


@pytest.mark.slow
def test_the_sender_finds_what_the_dead_engine_has_installed(site: Site) -> None:
    """Died in its commit's last call, which is as good as done."""
    site.head = ""
    site.project.plugin("csv_table", site.code(1).decode())
    with site.engine(shim=True) as engine:
        node, signed = site.node(engine), site.signed(2)
        site.armed.touch()
        assert verdict(node, signed, site.code(2)) is None
        calls = site.calls.read_text().splitlines()
    commits = [n for n, call in enumerate(calls, 1) if "sync" in call and "-wal" in call]
    # How many pages are written before it differs a little from run to run.
    for mark, at in enumerate(range(commits[-1] - 1, commits[-1] + 9), 3):
        with site.engine(at=at, shim=True) as engine:
            node, signed, code = site.node(engine), site.signed(mark), site.code(mark)
            site.stores.close()
            site.armed.touch()
            store = cast(PluginStore, WhenAsked(site.project.database))
            try:
                answer, _ = deploy_to([node], store, "csv_table", lambda s=signed: s, code)
                break
            except UnavailableError:
                engine.wait(30)
            finally:
                site.stores = open_sqlite(str(site.project.database), wall_clock_us, create=False)
    assert engine.returncode == -signal.SIGKILL
    assert answer.content_hash == site.stores.store.standing()["csv_table"].content_hash
