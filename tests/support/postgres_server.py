"""A PostgreSQL server of our own for one command, on a free port of the loopback.

    python -m tests.support.postgres_server COMMAND...

runs COMMAND with CASPARIAN_TEST_POSTGRES_URL naming the server. Where that is set already, or
where no server is installed, COMMAND runs as it is: its tests then say what they skip.
`--installed` in place of COMMAND tells by its exit code whether there is one.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

VARIABLE = "CASPARIAN_TEST_POSTGRES_URL"
READY = "database system is ready to accept connections"
USER = "postgres"


def server_programs() -> Path | None:
    """Where initdb and postgres are; None without them."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    return next((p for p in places if (p / "initdb").exists() and (p / "postgres").exists()), None)


def _version(programs: Path) -> int:
    return int(programs.parent.name) if programs.parent.name.isdigit() else 0


class Server:
    """A server with these options, such as `fsync=off`, in a directory of its own. `said` are the
    lines of its log. `address` is where it listens, `within` what a command begins with that runs
    where that address is; `local_url` reaches it from anywhere on this machine. Who may log in is
    decided by `rules`, lines of pg_hba.conf; all others are trusted."""

    def __init__(
        self,
        programs: Path,
        *options: str,
        address: str = "127.0.0.1",
        within: Sequence[str] = (),
        rules: Sequence[str] = (),
    ) -> None:
        self._programs, self._within = programs, within
        self._base = Path(tempfile.mkdtemp(prefix="casparian-postgres-"))
        # The server refuses to run as root.
        self._as_user = _as_user(self._base) if os.geteuid() == 0 else []
        self._process: subprocess.Popen[str] | None = None
        self.said: list[str] = []
        port = _free_port()
        self.url = f"postgresql+psycopg://{USER}@{address}:{port}/postgres"
        self.local_url = f"postgresql+psycopg://{USER}@/postgres?host={self._base}&port={port}"
        given = [f"listen_addresses={address}", f"port={port}"]
        given.append(f"unix_socket_directories={self._base}")
        self._flags = [part for option in [*given, *options] for part in ("-c", option)]
        subprocess.run(
            [*self._as_user, programs / "initdb", "-D", self._base / "data", "-U", USER,
             "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"],
            check=True, stdout=subprocess.DEVNULL, cwd=self._base,
        )  # fmt: skip
        if within:
            rules = (*rules, f"host all all {address}/24 trust")
        access = self._base / "data" / "pg_hba.conf"
        # The first rule that fits is the one that counts.
        access.write_text("\n".join([*rules, access.read_text()]))

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *self._within, *self._as_user,
                self._programs / "postgres", "-D", self._base / "data", *self._flags,
            ],
            stderr=subprocess.PIPE, text=True, cwd=self._base,
        )  # fmt: skip
        self._await_ready(self._process)

    def _await_ready(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self.said.append(line)
            if READY in line:
                # What it says from now on must not fill the pipe.
                threading.Thread(target=self._listen, args=[process.stderr], daemon=True).start()
                return
        raise RuntimeError("PostgreSQL did not start:\n" + "".join(self.said))

    def _listen(self, stream: IO[str]) -> None:
        with stream:
            self.said.extend(stream)

    def stop(self) -> None:
        """As an administrator would: open transactions are rolled back."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=60)
            self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._base)


@contextmanager
def running(programs: Path, *options: str) -> Iterator[str]:
    """A server with these options; its URL. Gone afterwards."""
    server = Server(programs, *options)
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


def _as_user(base: Path) -> list[str]:
    shutil.chown(base, USER, USER)
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def new_schema(url: str) -> Iterator[str]:
    """A URL of the same database whose tables are in a schema of their own."""
    from sqlalchemy import NullPool, create_engine, make_url

    name = f"casparian_test_{uuid.uuid4().hex[:12]}"
    engine = create_engine(make_url(url), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {name}")
        options = {"options": f"-csearch_path={name}"}
        yield make_url(url).update_query_dict(options).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
        engine.dispose()


def make_empty(url: str) -> None:
    """Take everything out of a queue, which is then another installation."""
    from sqlalchemy import create_engine, insert

    from casparian.adapters.queue.schema import DEFAULT_AGEING_US
    from casparian.adapters.queue.tables.columns import metadata
    from casparian.adapters.queue.tables.installation import installation

    engine = create_engine(url)
    with engine.begin() as connection:
        tables = ", ".join(metadata.tables)
        connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
        connection.execute(
            insert(installation).values(
                id=1, uuid=uuid.uuid4().hex, ageing_us=DEFAULT_AGEING_US, revision=0,
                created_at_us=0,
            )
        )  # fmt: skip
    engine.dispose()


def main(command: list[str]) -> int:
    programs = server_programs()
    if command == ["--installed"]:
        return 0 if programs else 1
    if os.environ.get(VARIABLE) or programs is None:
        return subprocess.run(command).returncode
    with running(programs, "fsync=off", "full_page_writes=off", "max_connections=300") as url:
        return subprocess.run(command, env={**os.environ, VARIABLE: url}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
