"""The contract of the port PluginHost. The numbers are those of the port's promises.

Every host derives from PluginHostContract; one whose sidecars are processes of their own from
ProcessHostContract, which asks for the promises that only a process can keep (3 to 5). Both
need the fixtures `open_host` and `transport`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import FailJob, FinishJob
from casparian.domain.ports import Transport
from casparian.domain.sandbox import Grants
from casparian.testing.host_loop import PATIENCE_S, Loop, OpenHost


class PluginHostContract:
    """What every host does, whatever a sidecar is to it."""

    @pytest.fixture
    def open_host(self) -> OpenHost:
        """Makes the host under test from the function it calls on an exit."""
        raise NotImplementedError

    @pytest.fixture
    def transport(self) -> Transport:
        """A transport, not yet bound, whose endpoints the sidecars of this host can reach."""
        raise NotImplementedError

    @pytest.fixture
    def loop(self, transport: Transport, open_host: OpenHost, tmp_path: Path) -> Iterator[Loop]:
        loop = Loop(transport, open_host, tmp_path)
        yield loop
        loop.close()

    def test_1_a_sidecar_does_the_jobs_it_is_given(self, loop: Loop) -> None:
        loop.configure()
        first, failed, last = loop.run("lines.csv", "fail.csv", "lines.txt")
        assert isinstance(first, FinishJob)
        assert first.topics["rows"].rows == 2
        assert loop.rows(1) == loop.rows(3) == [{"line": "one"}, {"line": "two"}]
        assert isinstance(failed, FailJob)
        assert failed.error_class is ErrorClass.DATA
        assert failed.message == "ValueError: no number in line 3"
        assert isinstance(last, FinishJob)
        assert len(loop.specs) == 1

    def test_1_start_returns_at_once(self, loop: Loop, tmp_path: Path) -> None:
        """The plugin's import does not end before this test does."""
        wait = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}):\n"
        loop.configure(wait.encode() + b"    time.sleep(0.01)\n")
        loop.offer("lines.csv")
        assert loop.host.exits() == []

    def test_1_what_cannot_start_is_an_exit(self, loop: Loop) -> None:
        loop.endpoint = "nothing://nowhere"
        loop.configure()
        (failed,) = loop.run("lines.csv")
        assert isinstance(failed, FailJob)
        assert "could not be started 3 times" in failed.message
        assert "nothing://nowhere" in failed.detail
        assert all(exit_.code != 0 for exit_ in loop.exits)

    def test_1_code_that_cannot_be_loaded_says_why(self, loop: Loop) -> None:
        loop.configure(b"import there_is_no_such_module\n")
        (failed,) = loop.run("lines.csv")
        assert isinstance(failed, FailJob)
        assert failed.error_class is ErrorClass.PLUGIN
        assert "No module named 'there_is_no_such_module'" in failed.message
        assert "line 1" in failed.detail

    def test_2_an_exit_is_told_and_returned_once(self, loop: Loop) -> None:
        loop.configure()
        loop.run("lines.csv")
        assert not loop.told.is_set()
        out, _ = loop.router.stop()
        loop.perform(out)
        loop.until(lambda: loop.exits)
        assert loop.told.is_set()
        assert [(e.session, e.code) for e in loop.exits] == [(loop.specs[0].session, 0)]
        assert loop.host.exits() == []

    def test_2_sidecars_live_side_by_side(
        self, transport: Transport, open_host: OpenHost, tmp_path: Path
    ) -> None:
        loop = Loop(transport, open_host, tmp_path, sidecars=2)
        try:
            loop.configure()
            numbers = loop.offer("wait.1", "wait.2")
            loop.until(lambda: all(loop.rows(number) for number in numbers))
            assert len({frame.session for frame in loop.frames}) == 2
            (tmp_path / "go").touch()
            loop.until(lambda: len(loop.ends) == 2)
        finally:
            loop.close()

    def test_3_a_kill_is_an_exit_told_once(self, loop: Loop) -> None:
        loop.configure()
        loop.started("wait.csv")
        session = loop.specs[0].session
        loop.host.kill(session)
        loop.host.kill(session)
        loop.host.kill("nobody")
        loop.until(lambda: loop.ends)
        assert [(e.session, e.code) for e in loop.exits] == [(session, -9)]
        assert loop.host.exits() == []
        (failed,) = loop.ends.values()
        assert isinstance(failed, FailJob)
        assert failed.error_class is ErrorClass.CRASH

    def test_6_close_ends_all_and_says_so(self, loop: Loop) -> None:
        loop.configure()
        loop.started("wait.csv")
        loop.host.close()
        assert [e.session for e in loop.host.exits()] == [loop.specs[0].session]
        loop.host.close()


class ProcessHostContract(PluginHostContract):
    """And what one does whose sidecars are processes."""

    @pytest.fixture
    def start_engine(self) -> Callable[[Path], subprocess.Popen[str]]:
        """Starts a process with a host and one sidecar at work; see `engine_with_a_sidecar`."""
        raise NotImplementedError

    @pytest.mark.parametrize("how", ["wait", "spin", "freeze"])
    def test_3_kill_ends_it_however_it_hangs(self, loop: Loop, how: str) -> None:
        loop.configure()
        number, row = loop.started(f"{how}.csv")
        if how == "freeze":
            loop.until(lambda: state_of(row["pid"]) == "T")
        loop.host.kill(loop.specs[0].session)
        loop.until(lambda: loop.exits)
        assert state_of(row["pid"]) is None
        (exit_,) = loop.exits
        assert (exit_.code, exit_.job_id) == (-signal.SIGKILL, number)

    @pytest.mark.parametrize("end", ["kill", "leave"])
    def test_3_what_it_started_ends_with_it(self, loop: Loop, end: str) -> None:
        loop.configure(grants=Grants(allow_subprocess=True))
        _, row = loop.started(f"children.{end}")
        assert state_of(row["child"]) is not None
        if end == "kill":
            loop.host.kill(loop.specs[0].session)
        else:
            loop.until(lambda: loop.ends)
            loop.perform(loop.router.stop()[0])
        loop.until(lambda: loop.exits)
        loop.until(lambda: state_of(row["child"]) is None)

    def test_3_a_death_by_another_hand_is_seen(self, loop: Loop) -> None:
        loop.configure()
        _, row = loop.started("wait.csv")
        os.kill(row["pid"], signal.SIGSEGV)
        loop.until(lambda: loop.ends)
        (failed,) = loop.ends.values()
        assert isinstance(failed, FailJob)
        assert failed.message.endswith("died of signal 11")

    @pytest.mark.parametrize("how", ["wait", "freeze"])
    def test_4_sidecars_end_with_an_engine_that_is_killed(
        self, start_engine: Callable[[Path], subprocess.Popen[str]], tmp_path: Path, how: str
    ) -> None:
        (tmp_path / "how").write_text(how)
        with start_engine(tmp_path) as engine:
            assert engine.stdout is not None
            said = json.loads(engine.stdout.readline())
            assert state_of(said["pid"]) is not None
            engine.kill()
        deadline = time.monotonic() + PATIENCE_S
        while state_of(said["pid"]) is not None:
            assert time.monotonic() < deadline, "the sidecar outlived its engine"
            time.sleep(0.01)

    def test_5_its_surroundings_are_its_own(
        self,
        transport: Transport,
        open_host: OpenHost,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("CASPARIAN_DATABASE__URL", "sqlite:///secret")
        monkeypatch.setenv("SECRET", "secret")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        private = tmp_path / "private of the engine"
        private.write_text("x")
        loop = Loop(transport, open_host, tmp_path)
        try:
            with private.open() as file:
                os.set_inheritable(file.fileno(), True)
                loop.configure()
                loop.run("surroundings.csv")
            (seen,) = loop.rows(1)
            allowed = {"PATH", "LANG", "HOME", "TMPDIR", "TZ", "CASPARIAN_PURE"}
            # How memory is allocated, and how many threads work, is the host's to say.
            tuning = ("MALLOC_", "MIMALLOC_", "JE_ARROW_", "OMP_", "OPENBLAS_")
            named = {n for n in seen["environment"] if not n.startswith(tuning)}
            assert named <= allowed
            assert seen["stdin"] == ""
            assert seen["directory"] == seen["home"] == seen["temporary"]
            assert (seen["mode"], seen["visible"]) == (0o700, [])
            assert not Path(seen["directory"]).is_relative_to(Path.cwd())
            assert str(private) not in seen["open"]
            assert seen["group"] == seen["pid"]
            loop.perform(loop.router.stop()[0])
            loop.until(lambda: loop.exits)
            assert not Path(seen["directory"]).exists()
        finally:
            loop.close()

    def test_5_what_it_says_is_kept_although_it_dies_at_once(self, loop: Loop) -> None:
        loop.configure()
        (failed,) = loop.run("speak.csv")
        assert isinstance(failed, FailJob)
        assert failed.message.endswith("exit code 4")
        for where in ("on standard output", "on standard error", "to the logger"):
            assert f"said {where}" in failed.detail
        assert "written to descriptor 1" in failed.detail
        assert "job=1 attempt=1" in failed.detail

    def test_5_memory_is_limited(self, loop: Loop) -> None:
        loop.configure(memory_mb=512)
        failed, after = loop.run("eat.csv", "lines.csv")
        assert isinstance(failed, FailJob)
        assert failed.error_class is ErrorClass.OOM
        assert "MemoryError" in failed.message
        assert isinstance(after, FinishJob)

    def test_5_open_files_are_limited(self, loop: Loop) -> None:
        loop.configure()
        (failed,) = loop.run("open_many.csv")
        assert isinstance(failed, FailJob)
        assert "Too many open files" in failed.message

    def test_6_close_ends_the_processes(self, loop: Loop) -> None:
        loop.configure(grants=Grants(allow_subprocess=True))
        _, row = loop.started("children.csv")
        loop.host.close()
        assert state_of(row["pid"]) is None
        loop.until(lambda: state_of(row["child"]) is None)


def engine_with_a_sidecar(transport: Transport, open_host: OpenHost, directory: Path) -> None:
    """For a process that is going to be killed: start a sidecar, print its pid as JSON, hang.

    The file `how` in the directory says what the sidecar is doing meanwhile.
    """
    loop = Loop(transport, open_host, directory)
    loop.configure()
    how = (directory / "how").read_text()
    _, row = loop.started(f"{how}.csv")
    if how == "freeze":
        loop.until(lambda: state_of(row["pid"]) == "T")
    print(json.dumps(row), flush=True)
    threading.Event().wait()


def state_of(pid: int) -> str | None:
    """The letter of a process's state; None when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    letter = stat.rpartition(")")[2].split()[0]
    return None if letter in "ZX" else letter
