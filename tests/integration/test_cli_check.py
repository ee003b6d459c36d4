"""`casparian check`: each problem it knows, made for real, with its remedy."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import structlog

from casparian.adapters.queue import open_memory, open_sqlite, wall_clock_us
from casparian.app.cli import _check_host, main
from casparian.app.cli._check_places import check_clocks
from casparian.app.cli._check_plugins import check_code
from casparian.app.cli._findings import Level
from casparian.domain.ports import WorkerNode

Findings = list[dict[str, str]]


class Project:
    """A directory made by `casparian init`, to be spoilt and checked."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self._capsys = directory, capsys
        self.config = directory / "casparian.toml"
        self.plugin = directory / "plugins" / "csv_table.py"
        self.run("init", str(directory))

    def run(self, *arguments: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        captured = self._capsys.readouterr()
        assert captured.err == ""
        return end.value.code, captured.out

    def check(self) -> Findings:
        """Findings other than ok; the exit code and the count must fit them."""
        code, out = self.run("check", "--json", "--config", str(self.config))
        document = json.loads(out)
        problems = [f for f in document["findings"] if f["level"] == "problem"]
        assert document["problems"] == len(problems)
        assert code == (1 if problems else 0)
        for finding in document["findings"]:
            assert finding.keys() == {"level", "what", "where", "remedy"}
            assert finding["level"] == "ok" or finding["remedy"]
        return [f for f in document["findings"] if f["level"] != "ok"]

    def add(self, text: str) -> None:
        self.config.write_text(f"{self.config.read_text()}\n{text}\n")

    def configure(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))


@pytest.fixture
def project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    monkeypatch.delenv("CASPARIAN_CONFIG", raising=False)
    # Whether the compiled module is there is another test's question.
    monkeypatch.setattr("casparian._fastpath.IMPLEMENTATION", "cython")
    project = Project(tmp_path / "project", capsys)
    assert project.run("scan", "--config", str(project.config))[0] == 0
    yield project
    structlog.reset_defaults()


def only(findings: Findings) -> dict[str, str]:
    (finding,) = findings
    return finding


def test_a_fresh_project_is_in_order(project: Project) -> None:
    assert project.check() == []


def test_a_pipe_gets_one_line_per_finding(project: Project) -> None:
    code, out = project.run("check", "--config", str(project.config))
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "level\twhere\twhat\tremedy"
    assert all(line.startswith("ok\t") for line in lines[1:])


# --- plugins and rules ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (b"class Handler(\n", "no valid Python"),
        (b"def execute(path): ...\n", "no class named Handler"),
        (b"def f():\n    class Handler: ...\n", "no class named Handler"),
        (b"from casparian.sdk import BasePlugin\nclass Handler(BasePlugin): ...\n", "no method"),
        (b"class Handler:\n    x = 1\n", "no method execute"),
        (b"# \xff\n", "cannot be read as Python"),
        (b"x = '\0'\n", ""),
    ],
)
def test_code_that_cannot_be_a_plugin(tmp_path: Path, code: bytes, what: str) -> None:
    file = tmp_path / "p.py"
    file.write_bytes(code)
    finding = check_code("p", file)
    assert finding.level is Level.PROBLEM
    assert what in finding.what
    assert str(file) in finding.where


@pytest.mark.parametrize(
    "code",
    [
        "class Handler:\n    def execute(self, path): ...\n",
        "class Handler(Other): ...\n",
        "from other import Plugin as Handler\n",
        "Handler = make()\n",
        "try:\n    import x\nexcept ImportError:\n    class Handler(Base): ...\n",
        "if True:\n    class Handler(sdk.Base): ...\n",
        "class Handler(BasePlugin):\n    execute = run\n",
        "import boom_at_import\nx = '\\d'\nclass Handler(Base): ...\n",
    ],
)
def test_code_that_may_be_a_plugin_is_not_run(tmp_path: Path, code: str) -> None:
    file = tmp_path / "p.py"
    file.write_text(code)
    assert check_code("p", file).level is Level.OK


def test_a_plugin_without_its_file(project: Project) -> None:
    project.plugin.unlink()
    finding = only(project.check())
    assert finding["where"] == "[plugin.csv_table]"
    assert str(project.plugin) in finding["what"]


def test_a_mistake_in_a_plugin_is_told_with_its_line(project: Project) -> None:
    project.plugin.write_text("x = 1\ny = = 2\n")
    assert only(project.check())["where"] == f"{project.plugin}:2"


def test_every_plugin_is_looked_at(project: Project) -> None:
    for name in ("one", "two"):
        project.add(f'[plugin.{name}]\ntags = ["csv"]')
    assert [f["where"] for f in project.check()] == ["[plugin.one]", "[plugin.two]"]


def test_a_plugin_that_no_table_names(project: Project) -> None:
    (project.directory / "plugins" / "idle.py").write_text("class Handler: ...\n")
    finding = only(project.check())
    assert finding["level"] == "warning"
    assert "never run" in finding["what"]


def test_tags_that_do_not_meet(project: Project) -> None:
    project.configure('tags = ["csv"]', 'tags = ["cvs"]')
    findings = project.check()
    assert [f["level"] for f in findings] == ["warning", "warning"]
    assert "No rule gives the tag 'cvs'" in findings[0]["what"]
    assert "No plugin subscribes to its tag 'csv'" in findings[1]["what"]


def test_a_pattern_that_cannot_be_compiled(project: Project) -> None:
    project.configure('pattern = "**/*.csv"', 'pattern = "[a"')
    assert only(project.check())["where"] == "[[rule]] '[a'"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"parquet://./output"', '"parkett://./output"', "no known scheme"),
        ('"parquet://./output"', '"./output"', "no known scheme"),
    ],
)
def test_a_sink_that_is_none(project: Project, old: str, new: str, words: str) -> None:
    project.configure(f"\nsink = {old}", f"\nsink = {new}")
    finding = only(project.check())
    assert finding["where"] == "[plugin.csv_table]"
    assert words in finding["what"]


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ("redis", "is unknown; known: mssql, postgresql, sqlite."),
        ("postgresql", "does not fit the database url, which begins with sqlite://"),
    ],
)
def test_a_queue_adapter_that_is_none(project: Project, adapter: str, words: str) -> None:
    project.add(f'[queue]\nadapter = "{adapter}"')
    finding, *others = project.check()
    assert finding["where"] == "[queue] adapter"
    assert words in finding["what"]
    assert [f["level"] for f in others if f["level"] == "problem"] == []


def test_the_queue_adapter_of_the_url(project: Project) -> None:
    project.add('[queue]\nadapter = "sqlite"')
    assert project.check() == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("parquet", "'parquet' has no settings of its own"), ("parket", "Did you mean 'parquet'?")],
)
def test_settings_of_sinks_that_have_none(project: Project, name: str, words: str) -> None:
    project.add(f'[sinks.{name}]\ncompression = "zstd"')
    finding = only(project.check())
    assert finding["where"] == "configuration"
    assert words in finding["what"]


# --- places -----------------------------------------------------------------------------


def test_a_source_root_that_is_missing(project: Project) -> None:
    (project.directory / "inbox").rmdir()
    finding = only(project.check())
    assert "does not exist" in finding["what"]
    assert str(project.directory / "inbox") in finding["where"]


def test_a_source_root_that_is_a_file(project: Project) -> None:
    (project.directory / "inbox").rmdir()
    (project.directory / "inbox").touch()
    assert "no directory" in only(project.check())["what"]


@pytest.mark.parametrize("inner", ["inbox/sub", "link"])
def test_source_roots_in_each_other(project: Project, inner: str) -> None:
    (project.directory / "inbox" / "sub").mkdir()
    (project.directory / "link").symlink_to("inbox/sub")
    project.add(f'[[source_root]]\npath = "{inner}"')
    assert "each file in it is met twice" in only(project.check())["what"]


@pytest.mark.parametrize("sink", ["parquet://./inbox/out", "sqlite://inbox/out.sqlite3/rows"])
def test_output_in_a_source_root(project: Project, sink: str) -> None:
    project.configure('\nsink = "parquet://./output"', f'\nsink = "{sink}"')
    finding = only(project.check())
    assert finding["level"] == "problem"
    assert "would be taken for input" in finding["what"]


@pytest.mark.parametrize("granted", [False, True], ids=["source root", "grant"])
def test_the_engines_own_where_plugins_may_read(project: Project, granted: bool) -> None:
    """Each is named, with the place that holds it and what to do."""
    here = project.directory
    place = here / ("lookups" if granted else "inbox")
    (place / "keys").mkdir(parents=True, mode=0o700)
    project.config = place / "casparian.toml"
    project.config.write_text(f'''
[[source_root]]
path = "{here}/inbox"
[[rule]]
pattern = "*.csv"
tag = "csv"
[plugin.csv_table]
tags = ["csv"]
{f'allow_read = ["{place}"]' if granted else ""}
[plugin.csv_table.topics.output]
sink = "parquet://{here}/output"
[plugins]
directory = "{here}/plugins"
keys = "keys"
[database]
url = "sqlite:///queue.sqlite3"
[transport]
endpoint = "{here}/router.ipc"
[worker]
''')
    open_sqlite(str(place / "queue.sqlite3"), wall_clock_us).close()
    found = {finding["where"]: finding for finding in project.check()}
    holder = "[plugin.csv_table] allow_read" if granted else "and every plugin may read it"
    if not granted:
        # What is written there would be input besides.
        assert "every plugin may read it" in found.pop("[database]")["what"]
    for own in ("queue.sqlite3", "keys", "casparian.toml")[not granted :]:
        finding = found.pop(str(place / own))
        assert finding["level"] == "warning"
        assert str(place) in finding["what"]
        assert holder in finding["what"]
        assert "move" in finding["remedy"].lower()
    assert not found
    project.config.write_text(project.config.read_text() + 'verify = "snapshot"\n')
    assert len(project.check()) == (3 if granted else 1)


def test_a_sink_that_cannot_be_written(project: Project) -> None:
    (project.directory / "output").rmdir() if (project.directory / "output").exists() else None
    (project.directory / "output").touch()
    assert str(project.directory / "output") in only(project.check())["what"]


def test_rows_of_another_installation(project: Project) -> None:
    marker = {
        "installation": "f" * 32,
        "job_id": 1,
        "attempt": 1,
        "plugin": "csv_table",
        "topic": "output",
        "location_id": 1,
        "version_id": 0,
        "root_path": "/elsewhere",
        "path": "x.csv",
        "ordinal": 1,
        "rows": 1,
        "digest": "0" * 64,
    }
    slot = project.directory / "output" / "output" / "f1-csv_table"
    slot.mkdir(parents=True)
    (slot / "_casparian.json").write_text(json.dumps(marker))
    finding = only(project.check())
    assert "another installation (ffffffffffff, job 1)" in finding["what"]
    assert "`casparian adopt output`" in finding["remedy"]
    project_database(project).unlink()
    problems = [f for f in project.check() if f["level"] == "problem"]
    assert "no database that published them" in only(problems)["what"]
    assert "`casparian adopt output`" in only(problems)["remedy"]


def project_database(project: Project) -> Path:
    return project.directory / "casparian_flow.sqlite3"


def test_without_a_database_there_is_a_warning_and_none_is_made(project: Project) -> None:
    project_database(project).unlink()
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("warning", "[database]")
    assert not project_database(project).exists()


def test_a_database_that_someone_altered(project: Project) -> None:
    with closing(sqlite3.connect(project_database(project))) as database:
        database.execute("ALTER TABLE source_root ADD COLUMN mine TEXT")
        database.commit()
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("problem", "[database]")
    assert "altered" in finding["what"]


# --- this machine -----------------------------------------------------------------------


def test_the_pure_twin_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian._fastpath.IMPLEMENTATION", "pure")
    monkeypatch.setattr("casparian._fastpath.WHY", "Install a compiler.")
    finding = only(project.check())
    assert finding["level"] == "warning"
    assert finding["remedy"] == "Install a compiler."


@pytest.mark.parametrize("table", ["transport", "plugin_host"])
def test_an_unknown_adapter_names_the_known_ones(project: Project, table: str) -> None:
    if table == "plugin_host":
        project.configure("[plugin_host]", '[plugin_host]\nadapter = "docker"')
    else:
        project.add('[transport]\nadapter = "smoke"')
    finding = only(project.check())
    assert finding["where"] == f"[{table}]"
    known = "zmq-ipc" if table == "transport" else "subprocess"
    assert known in finding["what"] + finding["remedy"]


def test_plugins_inside_the_engine_are_warned_of(project: Project) -> None:
    project.configure("[plugin_host]", '[plugin_host]\nadapter = "inline"')
    assert "no limit holds them" in only(project.check())["what"]


def test_more_directories_than_can_be_watched(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "max_user_watches"
    limit.write_text("4\n")
    monkeypatch.setattr(_check_host, "WATCHES", limit)
    assert project.check() == []
    for name in "abcd":
        (project.directory / "inbox" / name).mkdir()
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("warning", "[scout] watch")
    assert "sysctl fs.inotify.max_user_watches=" in finding["remedy"]
    project.configure("[scout]", "[scout]\nwatch = false")
    assert project.check() == []


def test_a_limit_lower_than_the_configured_memory() -> None:
    (finding,) = _check_host._check_memory(2048, 256 << 20)
    assert finding.level is Level.WARNING
    assert "256 MiB" in finding.what
    assert list(_check_host._check_memory(2048, 4096 << 20)) == []


def test_a_sandbox_that_is_off(project: Project) -> None:
    project.configure("[plugins]", '[plugins]\nsandbox = "off"')
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("warning", "[plugins] sandbox")
    assert "It is off" in finding["what"]


def test_checking_leaves_nothing_behind(project: Project) -> None:
    project.check()
    before = sorted(os.fspath(p) for p in project.directory.rglob("*"))
    project.check()
    assert sorted(os.fspath(p) for p in project.directory.rglob("*")) == before


# --- file systems, databases and clocks that are really so ------------------------------------


@contextmanager
def mounted(kind: str, place: Path, *options: str) -> Iterator[None]:
    """A file system mounted at a place; skips where this user or this machine cannot."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", kind, *options, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no {kind} can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_staging_place_on_another_file_system(project: Project) -> None:
    with mounted("tmpfs", project.directory / ".output.casparian", "none"):
        finding = only(project.check())
    assert (finding["level"], finding["where"]) == (
        "problem",
        f"parquet://{project.directory}/output",
    )
    assert "are on different file systems" in finding["what"]
    assert finding["remedy"]


def test_an_output_that_is_a_mount_point_itself_is_in_order(project: Project) -> None:
    """Its staging place is inside of it then."""
    with mounted("tmpfs", project.directory / "output", "none"):
        assert project.check() == []


def test_an_output_below_a_mount_point_is_in_order(project: Project) -> None:
    with mounted("tmpfs", project.directory / "mnt", "none"):
        project.configure('\nsink = "parquet://./output"', '\nsink = "parquet://./mnt/output"')
        assert project.check() == []


def test_a_file_system_that_does_not_exchange_directories(project: Project) -> None:
    """Minix is one of the few that are left."""
    image = project.directory / "minix.img"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    try:
        subprocess.run(["mkfs.minix", str(image)], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("there is no mkfs.minix to make such a file system")
    with mounted("minix", project.directory / "mnt", "-o", "loop", str(image)):
        project.configure('\nsink = "parquet://./output"', '\nsink = "parquet://./mnt/output"')
        finding = only(project.check())
    assert "does not exchange directories" in finding["what"]


def test_a_kernel_that_does_not_exchange_directories(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(one: str, other: str) -> None:
        raise OSError(errno.EINVAL, "Invalid argument", one)

    monkeypatch.setattr("casparian.adapters.sink._probe.exchange", refuse)
    finding = only(project.check())
    assert "does not exchange directories" in finding["what"]
    assert "ext4" in finding["what"]


@pytest.mark.parametrize("spoil", ["directory", "text"])
def test_a_database_that_cannot_be_opened(project: Project, spoil: str) -> None:
    database = project_database(project)
    for file in project.directory.glob("casparian_flow.sqlite3*"):
        file.unlink()
    database.mkdir() if spoil == "directory" else database.write_text("no database\n" * 500)
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("problem", "[database]")
    assert str(database) in finding["what"]


def test_a_database_of_another_kind(project: Project) -> None:
    url = "sqlite:///casparian_flow.sqlite3"
    project.configure(f'url = "{url}"', 'url = "oracle://ann:secret@host/queue"')
    project.config.chmod(0o600)
    findings = [f for f in project.check() if f["level"] == "problem"]
    finding = only(findings)
    assert finding["where"] == "[database]"
    assert "known: mssql, postgresql, sqlite" in finding["what"]
    assert "secret" not in finding["what"]


def test_a_worker_whose_clock_is_ahead(project: Project) -> None:
    """It has written a heartbeat that is yet to come."""
    hour_us = 3600 * 1_000_000
    with closing(open_sqlite(str(project_database(project)))) as stores:
        node = WorkerNode("w", "fast", 1, "fast/boot", 1, ("worker",))
        stores.queue.beat(node)
    with closing(sqlite3.connect(project_database(project))) as database:
        database.execute("update worker_node set heartbeat_at_us = heartbeat_at_us + ?", [hour_us])
        database.commit()
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("problem", "clock")
    assert "the worker on fast is 3,6" in finding["what"] or "3,599" in finding["what"]
    assert "chrony" in finding["remedy"]


@pytest.mark.parametrize(("seconds", "word"), [(90, "ahead"), (-90, "behind"), (0, "")])
def test_a_database_whose_own_clock_differs(seconds: int, word: str) -> None:
    stores = open_memory()._replace(database_clock=lambda: wall_clock_us() + seconds * 1_000_000)
    finding = check_clocks(stores)
    assert finding.level is (Level.PROBLEM if word else Level.OK)
    assert (f"that of the database is 90.0 s {word}" in finding.what) == bool(word)


def test_a_source_root_that_may_not_be_read(project: Project) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (project.directory / "inbox").chmod(0)
    assert "may not be read" in only(project.check())["what"]


def test_a_mistake_in_the_file_is_told_with_its_line(project: Project) -> None:
    project.configure("[plugin.csv_table]", "[plugin.csv_table]\nmax_rejects = 2.5")
    text = project.config.read_text().splitlines()
    line = text.index("max_rejects = 2.5") + 1
    told = f"casparian.toml, line {line}: plugin.csv_table.max_rejects"
    assert told in only(project.check())["what"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('url = "postgresql+psycopg://me:hunter2@db/x"', True),
        ('url = "postgresql+psycopg://me:${SOME_PASSWORD}@db/x"', False),
        ('url = "postgresql+psycopg://me@db/x"', False),
    ],
)
def test_a_password_that_others_may_read(
    project: Project, monkeypatch: pytest.MonkeyPatch, line: str, told: bool
) -> None:
    monkeypatch.setenv("SOME_PASSWORD", "hunter2")
    project.add(f"[sinks.parquet]\n{line}")
    project.config.chmod(0o644)
    findings = [f for f in project.check() if f["where"] == "secrets"]
    assert bool(findings) is told
    if told:
        assert "sinks.parquet.url" in findings[0]["what"]
        assert "hunter2" not in json.dumps(findings)
    project.config.chmod(0o600)
    assert [f for f in project.check() if f["where"] == "secrets"] == []


def test_a_collectors_key_that_others_may_read(project: Project) -> None:
    project.add('[openlineage]\napi_key = "hunter2"')
    project.config.chmod(0o644)
    (finding,) = (f for f in project.check() if f["where"] == "secrets")
    assert "openlineage.api_key" in finding["what"]
    assert "hunter2" not in json.dumps(finding)
