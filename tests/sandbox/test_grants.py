"""What a plugin is granted it can do, and what it is not names the grant; in a real engine."""

from __future__ import annotations

import os
import shutil
import socket

import pytest

from tests.support.project import FAST, Project, wait_for

# What a file is called is what is tried.
PLUGIN = """
import os, socket, subprocess, urllib.request
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        said = getattr(self, os.path.basename(file_path).partition(".")[0])()
        self.publish("output", [{"said": str(said)}])

    def read(self):
        with open(self.config["lookup"]) as file:
            return file.read()

    def arrow(self):
        import pyarrow.csv
        return pyarrow.csv.read_csv(self.config["lookup"]).num_rows

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.config["port"]), 5).close()

    def fetch(self):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.config['port']}/").status

    def name(self):
        return socket.getaddrinfo("localhost", 80)[0][4][1]

    def program(self):
        return subprocess.run(["/bin/echo", "ran"], capture_output=True, text=True).stdout.strip()

    def fork(self):
        child = os.fork()
        if child == 0:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def secret_by_program(self):
        return subprocess.run(["/bin/cat", self.config["secret"]], capture_output=True).returncode

    def mode(self):
        open("mine", "w").close()
        os.chmod("mine", 0o600)
"""


def drain(project: Project, names: list[str], grants: str = "", code: int = 0) -> dict[str, str]:
    """What was said, by name of the file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        lookup, secret = project.directory / "lookup.csv", project.directory / "secret"
        lookup.write_text("a\n1\n2\n")
        secret.write_text("hunter2")
        project.plugin("tries", PLUGIN)
        settings = f'lookup = "{lookup}", secret = "{secret}", port = {server.getsockname()[1]}'
        project.configure(
            f"""{FAST}
[[source_root]]
path = "inbox"
[[rule]]
pattern = "*"
tag = "any"
[plugin.tries]
tags = ["any"]
settings = {{ {settings} }}
{grants}
[plugin.tries.topics.output]
sink = "parquet://./output"
"""
        )
        for name in names:
            project.drop(f"{name}.txt", name)
        assert project.drain() == code
    paths = dict(project.query(
        "select cast(l.path as text), j.id from processing_job j "
        "join file_location l on l.id = j.location_id"
    ))  # fmt: skip
    if not (project.directory / "output").exists():
        return {}
    rows = project.parquet().to_pylist()
    said = {row["_casparian_job_id"]: row["said"] for row in rows}
    return {p.removesuffix(".txt"): said[job] for p, job in paths.items() if job in said}


def levels(project: Project) -> set[str]:
    return {level for (level,) in project.query("select distinct sandbox from processing_job")}


def test_a_path_that_may_be_read(project: Project) -> None:
    said = drain(project, ["read", "arrow"], 'allow_read = ["lookup.csv"]')
    assert said == {"read": "a\n1\n2\n", "arrow": "2"}
    assert levels(project) == {"full, with files"}


def test_the_network(project: Project) -> None:
    said = drain(project, ["connect", "name"], "allow_network = true")
    assert said == {"connect": "None", "name": "80"}
    assert levels(project) == {"full, with network"}


def test_programs_which_are_in_the_same_sandbox(project: Project) -> None:
    names = ["program", "fork", "secret_by_program"]
    said = drain(project, names, "allow_subprocess = true")
    assert said == {"program": "ran", "fork": "7", "secret_by_program": "1"}
    assert levels(project) == {"full, with subprocesses"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("read", "lookup.csv' in allow_read of [plugin.tries]"),
        ("arrow", "allow_read"),
        ("connect", "allow_network = true in [plugin.tries]"),
        ("fetch", "allow_network = true in [plugin.tries]"),
        ("name", "allow_network = true in [plugin.tries]"),
        ("program", "allow_subprocess = true in [plugin.tries]"),
        ("fork", "allow_subprocess of [plugin.tries]"),
        ("mode", "modes, owners and times"),
    ],
)
def test_what_is_refused_names_the_grant(project: Project, name: str, hint: str) -> None:
    assert drain(project, [name], code=1) == {}
    ((error_class, message),) = project.errors().values()
    assert (error_class, hint in message) == ("PLUGIN", True), message
    assert levels(project) == {"full"}


def test_a_path_that_is_not_there_is_told(project: Project) -> None:
    drain(project, ["read"], 'allow_read = ["nowhere"]', code=1)
    ((error_class, message),) = project.errors().values()
    assert error_class == "PLUGIN"
    assert f"allow_read names {project.directory / 'nowhere'}, which is not there" in message
    assert "nowhere does not exist" in project.casparian("check", code=1).stdout


def test_a_new_source_root_is_read_by_new_sidecars(project: Project) -> None:
    """The engine that adds it is another than the one whose sidecars run."""
    project.csv_to("parquet://./output")
    project.drop("a.csv", "a\n1\n")
    more = project.directory / "more"
    more.mkdir()
    with project.running("--role", "worker"):
        project.casparian("scan")
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        file = project.directory / "casparian.toml"
        file.write_text(file.read_text() + '[[source_root]]\npath = "more"\n')
        (more / "b.csv").write_text("a\n2\n")
        with project.running("--role", "scout"):
            wait_for(lambda: project.statuses() == {"COMPLETED": 2})


def test_a_source_root_that_is_made_anew_is_read(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.drop("a.csv", "n\n1\n")
    with project.running():
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        # What the sidecar may read is the directory that stood there, not its name.
        shutil.rmtree(project.inbox)
        project.drop("b.csv", "n\n2\n")
        wait_for(lambda: project.statuses() == {"COMPLETED": 2})
        project.drop("c.csv", "n\n3\n")
        wait_for(lambda: project.statuses() == {"COMPLETED": 3})
    assert sorted(project.parquet()["n"].to_pylist()) == [1, 2, 3]


def test_with_snapshots_a_sidecar_does_not_read_the_roots(project: Project) -> None:
    peeking = """
        import os
        from casparian.sdk import BasePlugin

        class Handler(BasePlugin):
            def execute(self, file_path):
                content = open(file_path).read()
                open(os.path.join(self.config["inbox"], "other.txt")).read()
    """
    project.plugin("peeks", peeking)
    copying = FAST.replace("[worker]", '[worker]\nverify = "snapshot"')
    project.configure(
        f"""{copying}
[[source_root]]
path = "inbox"
[[rule]]
pattern = "*.csv"
tag = "csv"
[plugin.peeks]
tags = ["csv"]
settings = {{ inbox = "{project.inbox}" }}
[plugin.peeks.topics.output]
sink = "parquet://./output"
"""
    )
    project.drop("other.txt", "of another plugin")
    project.drop("a.csv", "a\n")
    assert project.drain() == 1
    ((error_class, message),) = project.errors().values()
    assert error_class == "PLUGIN"
    assert "other.txt" in message
    assert list(project.directory.glob("run/snapshots/*")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads what modes and owners forbid")
def test_a_file_that_only_root_reads_is_given_as_a_copy(project: Project) -> None:
    project.csv_to("parquet://./output")
    file = project.drop("a.csv", "a\n1\n")
    os.chown(file, 65534, 65534)
    file.chmod(0o600)
    assert project.drain() == 0
    assert project.parquet()["a"].to_pylist() == [1]


LIBRARIES = """
import asyncio, sqlite3, tempfile, zoneinfo
from concurrent.futures import ThreadPoolExecutor
import duckdb, numpy, pandas, polars, pyarrow, pyarrow.csv, pyarrow.dataset, pyarrow.parquet
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        table = pyarrow.csv.read_csv(file_path)  # on several threads
        self.publish("output", table)
        with tempfile.TemporaryDirectory() as place:
            pyarrow.parquet.write_table(table, f"{place}/t.parquet")
            self.publish("output", pyarrow.dataset.dataset(place).to_table())
            with sqlite3.connect(f"{place}/t.db") as connection:
                connection.execute("create table t (a)")
        self.publish("output", pandas.read_csv(file_path))
        self.publish("output", polars.read_csv(file_path).group_by("a").len().select("a"))
        found = duckdb.sql(f"select a from read_csv('{file_path}') group by a")
        self.publish("output", found.to_arrow_table())
        asyncio.run(asyncio.sleep(0))
        zoneinfo.ZoneInfo("Asia/Tokyo")
        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(len, ["ab"] * 9)) == 18
        assert (numpy.ones((99, 99)) @ numpy.ones((99, 99))).sum() == 99**3
"""


def test_the_libraries_of_the_trade_work(project: Project) -> None:
    project.csv_to("parquet://./output")
    project.plugin("csv_table", LIBRARIES)
    project.drop("a.csv", "a\n" + "1\n2\n" * 200_000)
    assert project.drain() == 0, project.errors()
    assert project.parquet().num_rows == 400_000 * 3 + 2 + 2
    assert levels(project) == {"full"}
