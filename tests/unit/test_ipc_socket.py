"""The socket of zmq-ipc in the file system: whose it is, who reaches it, what lies in its place."""

from __future__ import annotations

import os
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from casparian.adapters.transport import connection_for
from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport
from casparian.domain.errors import ConfigurationError
from tests.support.outsiders import HANDSHAKE, NOBODY, as_nobody


class TestIpcSocket:
    def bound(self, path: Path) -> ZmqIpcTransport:
        transport = ZmqIpcTransport(str(path))
        assert transport.bind() == f"ipc://{path}"
        return transport

    def test_only_its_user_reaches_it(self, short_dir: Path) -> None:
        path = short_dir / "run" / "deeper" / "r.ipc"
        transport = self.bound(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        transport.close()

    def test_its_directory_may_be_made_by_another_engine_meanwhile(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mkdir = os.mkdir

        def slower(path: str, mode: int) -> None:
            mkdir(path, mode)
            mkdir(path, mode)

        monkeypatch.setattr(os, "mkdir", slower)
        self.bound(short_dir / "run" / "r.ipc").close()

    def test_a_file_in_place_of_its_directory_is_told(self, short_dir: Path) -> None:
        (short_dir / "run").touch()
        transport = ZmqIpcTransport(str(short_dir / "run" / "r.ipc"))
        with pytest.raises(ConfigurationError, match=r"cannot make the directory.*run'"):
            transport.bind()
        transport.close()

    def test_another_user_reaches_neither(self, short_dir: Path) -> None:
        """Whatever of the way is open: the directory keeps others out, and so does the socket."""
        if os.geteuid() != 0:
            pytest.skip("only root can run a process as another user")
        path = short_dir / "run" / "r.ipc"
        transport = self.bound(path)
        for above in list(path.parents)[1:-2]:
            above.chmod(above.stat().st_mode | 0o055)
        assert as_nobody(HANDSHAKE, str(path)) == "PermissionError"
        path.parent.chmod(0o755)
        assert as_nobody(HANDSHAKE, str(path)) == "PermissionError"
        path.chmod(0o666)
        assert as_nobody(HANDSHAKE, str(path)) == "refused"
        assert list(transport.refusals()) == [f"it runs as user {NOBODY}, and this engine as 0"]
        transport.close()

    def test_a_directory_in_which_others_may_write_is_refused(self, short_dir: Path) -> None:
        (short_dir / "open").mkdir()
        (short_dir / "open").chmod(0o777)
        transport = ZmqIpcTransport(str(short_dir / "open" / "r.ipc"))
        with pytest.raises(ConfigurationError, match=r"others may write the directory.*mode 0777"):
            transport.bind()
        # As of /tmp: nobody can move what is another's.
        (short_dir / "open").chmod(0o1777)
        transport.bind()
        transport.close()

    def test_has_its_mode_from_the_first_moment_and_other_threads_keep_their_umask(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        masks: list[int] = []
        modes: list[int] = []
        umask, listen = os.umask, socket.socket.listen

        def listening(made: socket.socket, backlog: int) -> None:
            modes.append(stat.S_IMODE(os.stat(made.getsockname()).st_mode))
            listen(made, backlog)

        before = umask(0)
        try:
            monkeypatch.setattr(os, "umask", masks.append)
            monkeypatch.setattr(socket.socket, "listen", listening)
            self.bound(short_dir / "r.ipc").close()
        finally:
            umask(before)
        assert (modes, masks) == ([0o600], [])

    def test_is_removed_at_close(self, short_dir: Path) -> None:
        path = short_dir / "r.ipc"
        self.bound(path).close()
        assert not path.exists()

    def test_that_cannot_be_removed_is_left_and_all_else_is_closed(self, short_dir: Path) -> None:
        transport = ZmqIpcTransport(str(short_dir / "r.ipc"))
        transport.bind()
        (short_dir / "r.ipc").unlink()
        (short_dir / "r.ipc").mkdir()
        transport.close()
        (short_dir / "r.ipc").rmdir()
        again = ZmqIpcTransport(str(short_dir / "r.ipc"))
        again.bind()
        again.close()
        assert list(short_dir.iterdir()) == []

    def test_of_a_dead_process_is_replaced(self, short_dir: Path) -> None:
        path = short_dir / "r.ipc"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        assert path.is_socket()
        self.bound(path).close()

    def test_of_a_living_process_is_left_to_it(self, short_dir: Path) -> None:
        first = self.bound(short_dir / "r.ipc")
        second = ZmqIpcTransport(str(short_dir / "r.ipc"))
        holder = f"another engine listens.*r.ipc': pid {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(ConfigurationError, match=holder):
            second.bind()
        second.close()
        connection = connection_for(f"ipc://{short_dir / 'r.ipc'}")
        connection.send(b"still served")
        assert first.poll(10)
        connection.close()
        first.close()

    def test_of_a_stranger_is_left_to_it(self, short_dir: Path) -> None:
        path = short_dir / "r.ipc"
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.bind(str(path))
            stranger.listen()
            transport = ZmqIpcTransport(str(path))
            with pytest.raises(ConfigurationError, match="another process listens"):
                transport.bind()
            transport.close()
        assert path.is_socket()

    def test_the_lock_of_a_dead_process_holds_nobody_up(self, short_dir: Path) -> None:
        (short_dir / "r.ipc.lock").write_text("pid 1 on elsewhere, and a longer line than ours\n")
        transport = self.bound(short_dir / "r.ipc")
        said = (short_dir / "r.ipc.lock").read_text()
        assert said == f"pid {os.getpid()} on {socket.gethostname()}\n"
        transport.close()
        assert list(short_dir.iterdir()) == []

    def test_of_two_that_start_at_once_one_gets_it(self, short_dir: Path) -> None:
        """Many times, since a socket asked and a socket taken lie close together."""

        def bind(transport: ZmqIpcTransport) -> bool:
            together.wait()
            try:
                transport.bind()
            except ConfigurationError:
                return False
            return True

        together = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            for _ in range(30):
                transports = [ZmqIpcTransport(str(short_dir / "r.ipc")) for _ in range(4)]
                assert sum(pool.map(bind, transports)) == 1
                for transport in transports:
                    transport.close()
        assert list(short_dir.iterdir()) == []

    def test_a_file_in_its_place_is_not_touched(self, short_dir: Path) -> None:
        path = short_dir / "r.ipc"
        path.write_text("somebody's work")
        transport = ZmqIpcTransport(str(path))
        with pytest.raises(ConfigurationError, match="is no socket"):
            transport.bind()
        transport.close()
        assert path.read_text() == "somebody's work"

    def test_a_path_too_long_is_refused_in_words(self, short_dir: Path) -> None:
        with pytest.raises(ConfigurationError, match="108 bytes long, the system allows 107"):
            ZmqIpcTransport("/" + "x" * 107)

    def test_the_longest_path_works(self, short_dir: Path) -> None:
        path = short_dir / ("x" * (107 - len(os.fsencode(short_dir)) - 1))
        transport = self.bound(path)
        connection_for(f"ipc://{path}").close()
        transport.close()

    def test_a_path_that_is_no_utf8_works(self, short_dir: Path) -> None:
        path = short_dir / os.fsdecode(b"caf\xe9.ipc")
        transport = self.bound(path)
        connection = connection_for(f"ipc://{path}")
        connection.send(b"here")
        assert transport.poll(10)
        connection.close()
        transport.close()

    def test_a_directory_that_cannot_be_made_is_the_configurations_fault(
        self, short_dir: Path
    ) -> None:
        (short_dir / "file").write_text("")
        transport = ZmqIpcTransport(str(short_dir / "file" / "run" / "r.ipc"))
        with pytest.raises(ConfigurationError, match="cannot make the directory"):
            transport.bind()
        transport.close()
