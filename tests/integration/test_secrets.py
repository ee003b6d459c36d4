"""No secret comes out: planted ones are looked for in all that an engine says, writes and starts.

Where a secret may be: in the environment of the engine and of commands, in the configuration file,
in the files of keys. It is looked for in every log, listing, error, title of a process, environment
of a sidecar, scratch directory and database.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import structlog
from sqlalchemy import NullPool, create_engine, make_url

from casparian.adapters.host import launch
from casparian.adapters.queue import open_url, wall_clock_us
from casparian.app.cli import main
from casparian.app.settings import Settings
from casparian.domain.errors import CasparianError, ConfigurationError
from tests.support import forked
from tests.support.mutations import Lines
from tests.support.planted import Planted
from tests.support.postgres_server import Server, server_programs
from tests.support.project import FAST, Project, wait_for

PASSWORD = "hunter2-Q7xp%40Ss"
"""As a URL has it; the driver gets it with an @."""
TOKEN = "tok-5Jw9ZkVb3"
UNUSED = "unused-Lm4Xc8Ry"

PLUGIN = """
import os
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        print("the environment of a plugin:", dict(os.environ))
        print("and its settings:", self.settings if hasattr(self, "settings") else "")
        with open(file_path) as file:
            text = file.read()
        if text.startswith("raise"):
            raise ValueError(f"{dict(os.environ)} does not help")
        if text.startswith("die"):
            os._exit(3)
        self.reject(b"odd", "no number")
        self.publish("output", [{"a": 1}])
"""

NEWER = PLUGIN.replace('[{"a": 1}]', '[{"a": 2}]')
AT_IMPORT = """
import os
raise RuntimeError(f"{dict(os.environ)} at import")
"""

CONFIGURATION = f"""{FAST.replace("[worker]", "[worker]" + chr(10) + "max_crashes = 1")}
[transport]
adapter = "zmq-tcp"
endpoint = "127.0.0.1:0"
[transport.settings]
key = "keys/curve/engine.key_secret"
[metrics]
listen = "127.0.0.1:0"
[openlineage]
transport = "http"
url = "http://user:${{PASSWORD}}@127.0.0.1:9"
api_key = "${{TOKEN}}"
timeout_s = 0.2
[[source_root]]
path = "inbox"
[[rule]]
pattern = "*.txt"
tag = "txt"
[[rule]]
pattern = "*.far"
tag = "far"
[plugin.lines]
tags = ["txt"]
max_rejects = 10
[plugin.lines.topics."*"]
sink = "parquet://./output"
[sinks.postgresql]
url = "postgresql+psycopg://me:${{PASSWORD}}@127.0.0.1:9/rows"
"""
FAR = """
[plugin.far]
tags = ["far"]
[plugin.far.topics."*"]
sink = "postgresql://public.{topic}"
"""

COMMANDS: Sequence[tuple[str, ...]] = (
    ("status",),
    ("files",),
    ("jobs",),
    ("plugins",),
    ("deployments",),
    ("why", "good.txt"),
    ("why", "bad.txt"),
    ("trace", "1"),
    ("check",),
    ("adapters",),
    ("keys", "list"),
    ("scan",),
    ("retry", "--failed"),
    ("retry", "nonsense"),
    ("backfill", "lines", "--dry-run"),
    ("forget", "nowhere.txt"),
    ("purge", "--path", "nothing"),
    ("cancel", "1"),
    ("cancel", "999"),
    ("adopt", "--all", "--yes"),
    ("deploy", "newer.py", "--plugin", "lines", "--key-id", "office", "--yes"),
    ("deploy", "newer.py", "--plugin", "lines", "--key-id", "office", "--yes", "--shadow", "2"),
    ("deploy", "import.py", "--plugin", "lines", "--key-id", "office", "--yes"),
    ("deploy", "newer.py", "--plugin", "lines", "--key-id", "stranger", "--yes"),
    ("rollback", "lines"),
    ("rollback", "lines", "--to", "99"),
    ("deployments",),
    ("keys", "revoke", "office"),
    ("rollback", "lines", "--to", "2"),
)
WITHOUT_JSON = (("config-reference",), ("prune", "--before", "2000-01-01"), ("upgrade",))


@pytest.fixture
def planted(project: Project) -> Planted:
    """A project with secrets in each place where one may be."""
    project.plugin("lines", PLUGIN)
    project.plugin("far", PLUGIN)
    project.configure(CONFIGURATION)
    (project.directory / "newer.py").write_text(NEWER)
    (project.directory / "import.py").write_text(AT_IMPORT)
    environment(project, "keys", "curve", "engine")
    environment(project, "keys", "new", "office")
    curve = (project.directory / "keys/curve/engine.key_secret").read_text()
    deploy = json.loads((project.directory / "keys/office.key").read_text())
    (material,) = (v for v in deploy.values() if isinstance(v, str) and len(v) > 40)
    return Planted(
        {
            "the password": PASSWORD,
            "the password as the driver gets it": PASSWORD.replace("%40", "@"),
            "the token": TOKEN,
            "a variable that nothing uses": UNUSED,
            "the key of the transport": curve.partition('secret-key = "')[2].partition('"')[0],
            "the key of deployments": material,
        }
    )


def variables(**more: str) -> dict[str, str]:
    return {**os.environ, "PASSWORD": PASSWORD, "TOKEN": TOKEN, "UNUSED": UNUSED, **more}


def environment(project: Project, *arguments: str, **more: str) -> str:
    """All that a command says."""
    done = forked.run("casparian", *arguments, cwd=project.directory, env=variables(**more))
    return done.stdout + done.stderr


def test_no_secret_comes_out(project: Project, planted: Planted) -> None:
    project.drop("good.txt", "1\n")
    project.drop("bad.txt", "raise\n")
    project.drop("dead.txt", "die\n")
    project.drop("rows.far", "1\n")
    project.configure(CONFIGURATION + FAR)
    assert project.drain(**variables()) == 3
    assert "cannot be reached" in project.log()
    said = environment(project, "check", CASPARIAN_TRACEBACK="1")
    planted.look("casparian check of a server that is away", said)
    assert "127.0.0.1" in said
    project.configure(CONFIGURATION)
    engine = project.start("--log-level", "debug", **variables())
    try:
        wait_for(lambda: project.statuses().get("FAILED", 0) == 2)
        wait_for(lambda: project.statuses().get("COMPLETED", 0) == 1)
        assert planted.look_at_processes(engine.pid) >= 1
        said = listed(project, planted)
    finally:
        engine.send_signal(signal.SIGTERM)
        engine.wait(60)
    planted.look("the log", project.log())
    files = planted.look_below(project.directory, [project.directory / "keys"])
    assert planted.found == []
    # It was looked at something: sentences of each kind, the database and its plugins' output.
    assert "the environment of a plugin" in project.log()
    assert "does not help" in said
    assert "at import" in said
    assert "version 2" in said
    assert files > 8


def listed(project: Project, planted: Planted) -> str:
    """Every command, for people, for programs, and with the tracebacks of mistakes."""
    everything = []
    for command in (*COMMANDS, *WITHOUT_JSON):
        for more in ((), ("--json",)) if command in COMMANDS else ((),):
            said = environment(project, *command, *more, CASPARIAN_TRACEBACK="1")
            planted.look(f"casparian {' '.join((*command, *more))}", said)
            everything.append(said)
    return "".join(everything)


WRONG: Sequence[tuple[str, str]] = (
    (
        "a server that is away",
        '[database]\nurl = "postgresql+psycopg://me:${PASSWORD}@127.0.0.1:9/q"',
    ),
    ("a port that is none", '[database]\nurl = "postgresql+psycopg://me:${PASSWORD}@host:port/q"'),
    ("a url that is none", '[database]\nurl = "${PASSWORD}"'),
    ("an adapter that is unknown", '[database]\nurl = "oracle://me:${PASSWORD}@host/q"'),
    ("a driver that is unknown", '[database]\nurl = "postgresql+nothing://me:${PASSWORD}@host/q"'),
    ("another SQL Server", '[database]\nurl = "mssql+pyodbc://sa:${PASSWORD}@127.0.0.1:9/q"'),
    ("two forms", '[database]\nurl = "sqlite:///x"\ndb_location = "${PASSWORD}"'),
    ("text for a number", '[worker]\nmax_attempts = "${PASSWORD}"'),
    ("text for a choice", '[worker]\nverify = "${PASSWORD}"'),
    ("a key that is unknown", '[worker]\npassword = "${PASSWORD}"'),
    ("an address that is none", '[metrics]\nlisten = "${PASSWORD}"'),
    ("a collector that is none", '[openlineage]\ntransport = "http"\nurl = "${PASSWORD}"'),
    ("a sink's url that is none", '[sinks.postgresql]\nurl = "${PASSWORD}"'),
    ("a sink's port", '[sinks.postgresql]\nurl = "postgresql://me:${PASSWORD}@host:port/q"'),
    ("a sink's key", '[sinks.postgresql]\npassword = "${PASSWORD}"'),
    ("a sink's table", '[sinks.postgresql]\nurl = ["${PASSWORD}"]'),
    (
        "an adapter's settings",
        '[transport]\nadapter = "zmq-tcp"\n[transport.settings]\nkye = "${PASSWORD}"',
    ),
    (
        "an unquoted password",
        '[database]\nurl = "postgresql+psycopg://me:x@${PASSWORD}@127.0.0.1:9/q"',
    ),
    ("no TOML", '[database]\nurl = "${PASSWORD}'),
)


@pytest.mark.parametrize(("what", "text"), WRONG, ids=[what for what, _ in WRONG])
def test_no_error_tells_a_secret(
    project: Project,
    what: str,
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In words, and in the document."""
    planted = Planted({"the password": PASSWORD, "the driver's": PASSWORD.replace("%40", "@")})
    project.configure(text)
    monkeypatch.chdir(project.directory)
    monkeypatch.setenv("PASSWORD", PASSWORD)
    for arguments in (("check",), ("check", "--json"), ("status",)):
        with pytest.raises(SystemExit):
            main(arguments)
        told = capsys.readouterr()
        planted.look(" ".join(arguments), told.out + told.err)
        assert told.out + told.err
    structlog.reset_defaults()
    planted.look_below(project.directory, ())
    assert planted.found == []


def test_a_refused_login_tells_no_secret(project: Project, guarded: str) -> None:
    """Neither that of the queue nor that of a sink."""
    planted = Planted({"the password": PASSWORD, "the driver's": PASSWORD.replace("%40", "@")})
    project.plugin("far", PLUGIN)
    project.drop("rows.far", "1\n")
    project.configure(
        f"""{FAST}
[[source_root]]
path = "inbox"
[[rule]]
pattern = "*.far"
tag = "far"
[sinks.postgresql]
url = "{guarded}"
{FAR}"""
    )
    assert project.drain(**variables()) == 3
    planted.look("the log of a sink's login", project.log())
    assert "password authentication failed" in project.log()
    planted.look("casparian check", environment(project, "check", CASPARIAN_TRACEBACK="1"))
    planted.look_below(project.directory, ())
    project.configure(f'[database]\nurl = "{guarded}"')
    for command in (("check",), ("status", "--json")):
        said = environment(project, *command, CASPARIAN_TRACEBACK="1")
        assert "password authentication failed" in said
        planted.look(f"casparian {command[0]}", said)
    before = len(project.log())
    assert project.drain(**variables()) == 3
    assert "password authentication failed" in project.log()[before:]
    planted.look("the log of the queue's login", project.log())
    assert planted.found == []


@pytest.fixture
def guarded(postgresql_url: str) -> Iterator[str]:
    """The URL of a server that asks this login for a password, which is another than ours."""
    programs = server_programs()
    if programs is None:
        pytest.skip("PostgreSQL's own programs are not on this machine")
    server = Server(programs, "fsync=off", rules=["host all me 127.0.0.1/32 scram-sha-256"])
    try:
        server.start()
        engine = create_engine(server.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE ROLE me LOGIN PASSWORD 'something else'")
        port = make_url(server.url).port
        yield f"postgresql+psycopg://me:${{PASSWORD}}@127.0.0.1:{port}/postgres"
    finally:
        server.remove()


# --- that it can fail -------------------------------------------------------------------------


def wrong_number(directory: Path) -> str:
    file = directory / "casparian.toml"
    file.write_text('[worker]\nmax_attempts = "${PASSWORD}"')
    with pytest.raises(ConfigurationError) as told:
        Settings.load(file)
    return str(told.value)


def unquoted_password(directory: Path) -> str:
    with pytest.raises(CasparianError) as told:
        open_url(f"postgresql+psycopg://me:x@{PASSWORD}@127.0.0.1:9/q", wall_clock_us, create=False)
    return str(told.value)


def sidecar_environment(directory: Path) -> str:
    return repr(launch.environment(1))


REDACTIONS: Sequence[tuple[Callable[[Path], str], Lines]] = (
    (
        wrong_number,
        Lines(
            "casparian.app.settings_errors:explain",
            ((" and value == file.value(location)", ""),),
        ),
    ),
    (
        unquoted_password,
        Lines(
            "casparian.adapters.queue.postgresql_engine:postgresql_engine",
            (('"@" in (parsed.host or "")', "False"),),
        ),
    ),
    (
        sidecar_environment,
        Lines(
            "casparian.adapters.host.launch:environment",
            (("for name in names if name in os.environ", "for name in os.environ"),),
        ),
    ),
)


@pytest.mark.parametrize(
    ("say", "redaction"), REDACTIONS, ids=[say.__name__ for say, _ in REDACTIONS]
)
def test_without_a_redaction_the_audit_fails(
    say: Callable[[Path], str],
    redaction: Lines,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    planted = Planted({"the password": PASSWORD})
    monkeypatch.setenv("PASSWORD", PASSWORD)
    planted.look("what is said", say(tmp_path))
    assert planted.found == []
    redaction.take_out(monkeypatch)
    planted.look("what is said", say(tmp_path))
    assert planted.found
