"""A project whose engine is killed, or meets errors, at calls that the shim of faults counts.

Its files have two topics, of which even versions leave one empty. Whatever happened, in the end all
must be as if nothing had.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
from sqlalchemy import make_url

from casparian import Settings
from tests.support import postgresql_sink
from tests.support.audit import violations_by
from tests.support.postgres_server import new_schema
from tests.support.project import FAST, Project, read_parquet

ROWS, FEWER = 50, 7
PLUGIN = f"""
import pyarrow.csv as pc
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        table = pc.read_csv(file_path, read_options=pc.ReadOptions(use_threads=False))
        self.publish("output", table)
        # An even version has nothing to say here: what the one before said is to go.
        if table["version"][0].as_py() % 2:
            self.publish("extra", table.slice(0, {FEWER}))
"""
TOPICS = ("output", "extra")
SINKS = {
    "parquet": ("parquet://./out", "parquet://./out"),
    "sqlite": ("sqlite://out.db/output", "sqlite://out.db/extra"),
    "both": ("parquet://./out", "sqlite://out.db/extra"),
}

Group = tuple[str, int, int]
"""Name and version of a file, and its rows."""


@dataclass
class Crashes:
    """A project in a directory of its own, with its queue in SQLite. `versions`: what each file had
    so far."""

    directory: Path
    shim: Path
    kind: str
    mode: str
    versions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.project = Project(self.directory)
        self.configure("")

    def configure(self, more: str) -> None:
        topics = "".join(
            f'[plugin.lines.topics.{topic}]\nsink = "{self.uri(topic)}"\nmode = "{self.mode}"\n'
            for topic in TOPICS
        )
        self.project.plugin("lines", PLUGIN)
        self.project.configure(
            FAST.replace("[worker]", "[worker]\nlease_s = 3\nsweep_s = 0.5")
            + '[[source_root]]\npath = "inbox"\n[[rule]]\npattern = "*.csv"\ntag = "csv"\n'
            + '[plugin.lines]\ntags = ["csv"]\n'
            + topics
            + more
        )

    def uri(self, topic: str) -> str:
        return SINKS[self.kind][TOPICS.index(topic)]

    def close(self) -> None:
        """What lies elsewhere than in the directory is gone."""

    def write(self, *names: str) -> None:
        """The next version of each of these files."""
        for name in names:
            version = self.versions[name] = self.versions.get(name, 0) + 1
            lines = "".join(f"{name},{version},{n}\n" for n in range(ROWS))
            self.project.drop(f"{name}.csv", f"name,version,n\n{lines}")

    def drain(self, **faults: object) -> tuple[int, list[str]]:
        """With these variables of the shim: the exit code, and the calls that were made: "number
        call path"."""
        log = self.directory / "calls"
        log.unlink(missing_ok=True)
        given = {name: str(value) for name, value in faults.items()}
        code = self.project.drain(shim=self.shim, **given, CRASH_LOG=str(log))
        return code, log.read_text(errors="replace").splitlines()

    def calls_before_sinks(self, calls: list[str]) -> int:
        """How many calls there are before the first that is about a place to publish to."""
        places = tuple(f"{self.directory}/{name}" for name in ("out", ".out"))
        about = (call.split(maxsplit=2)[-1].startswith(places) for call in calls)
        return list(about).index(True)

    # --- what must hold -------------------------------------------------------------------

    def check(self) -> None:
        for topic in TOPICS:
            assert self.groups(topic) == self.expected(topic), topic
        assert self.unpublished() == []
        assert self.project.statuses() == {"COMPLETED": sum(self.versions.values())}
        assert violations_by(Settings.load(self.directory / "casparian.toml")) == []

    def expected(self, topic: str) -> list[Group]:
        """What the topic's readers are to see once all is drained."""
        groups = []
        for name, newest in self.versions.items():
            for version in range(1, newest + 1) if self.mode == "append" else [newest]:
                if topic == "output":
                    groups.append((name, version, ROWS))
                elif version % 2:
                    groups.append((name, version, FEWER))
        return sorted(groups)

    def groups(self, topic: str) -> list[Group]:
        """What they see."""
        rows = Counter(self.rows(topic))
        assert max(rows.values(), default=1) == 1
        found = Counter((name, version) for name, version, _ in rows)
        return sorted((*key, n) for key, n in found.items())

    def rows(self, topic: str) -> list[tuple[Any, ...]]:
        if self.uri(topic).startswith("parquet"):
            return named(read_parquet(self.directory / "out" / topic))
        with closing(sqlite3.connect(self.directory / "out.db")) as connection:
            there = "select 1 from sqlite_master where name = ?"
            if not connection.execute(there, (topic,)).fetchone():
                return []
            return connection.execute(f"select name, version, n from {topic}").fetchall()

    def unpublished(self) -> list[str]:
        """What lies in staging places, or in a sink's directory where readers would not look."""
        left = [str(path) for path in (self.directory / "out").glob(".*")]
        return self.project.stagings() + left


def named(table: pa.Table) -> list[tuple[Any, ...]]:
    return [(row["name"], row["version"], row["n"]) for row in table.to_pylist()]


class QueuedOnServer(Project):
    """Its queue is in a schema of a server."""

    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(directory)
        self._url = url.replace("+psycopg", "")

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._url) as connection:
            return connection.execute(sql.encode(), values).fetchall()

    def statuses(self) -> dict[str, int]:
        return dict(self.query("select status, count(*) from processing_job group by status"))


@dataclass
class ServerCrashes(Crashes):
    """Queue and rows on a server, `url`, or the rows of one topic; what the engine sends to it is
    counted."""

    url: str = ""

    def __post_init__(self) -> None:
        self._schemas = ExitStack()
        self.queue_url = self._schemas.enter_context(new_schema(self.url))
        self.schema = self._schemas.enter_context(postgresql_sink.random_schema(self.url))
        self.project = QueuedOnServer(self.directory, self.queue_url)
        self.configure(f'[database]\nurl = "{self.queue_url}"\n')

    def uri(self, topic: str) -> str:
        if self.kind == "parquet and postgresql" and topic == "output":
            return "parquet://./out"
        return f"postgresql://{self.schema}.{topic}"

    def close(self) -> None:
        self._schemas.close()

    def drain(self, **faults: object) -> tuple[int, list[str]]:
        return super().drain(FAULT_PORT=make_url(self.url).port, **faults)

    def calls_before_sinks(self, calls: list[str]) -> int:
        about = (self.schema in call or f"{self.directory}/out" in call for call in calls)
        return list(about).index(True)

    def rows(self, topic: str) -> list[tuple[Any, ...]]:
        if self.uri(topic).startswith("parquet"):
            return super().rows(topic)
        return self._ask(f"SELECT name, version, n FROM {self.schema}.{topic}", topic)

    def unpublished(self) -> list[str]:
        kept = "_casparian_staging"
        staged = self._ask(f"SELECT * FROM {self.schema}.{kept}", kept)
        return super().unpublished() + [str(row) for row in staged]

    def _ask(self, sql: str, table: str) -> list[tuple[Any, ...]]:
        """Nothing where that table is not made yet."""
        with postgresql_sink.connected(self.url) as session:
            if session.rows(f"SELECT to_regclass('{self.schema}.{table}')") == [(None,)]:
                return []
            return session.rows(sql)
