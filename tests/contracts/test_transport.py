"""Every transport of this project against the contract, and what is each one's own."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zmq

from casparian.adapters.transport import connection_for, memory, tcp_connection
from casparian.adapters.transport.curve import KeyPair, KnownClients
from casparian.adapters.transport.memory import MemoryTransport
from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport
from casparian.adapters.transport.zmq_tcp import ZmqTcpTransport
from casparian.domain.errors import ConfigurationError, UnavailableError
from casparian.domain.peers import GuardedTransport
from casparian.domain.ports import Transport
from casparian.domain.wire import Limits, LocalProtocolError
from casparian.testing.guarded_transport import GuardedTransportContract
from casparian.testing.transport import (
    PATIENCE_S,
    Connect,
    OpenTransport,
    SendFrames,
    TransportContract,
    receive_from,
)
from tests.support.outsiders import HANDSHAKE, NOBODY, Tap, as_nobody


class ZmqContract(GuardedTransportContract):
    @pytest.fixture
    def connect_to(self, transport: GuardedTransport) -> Connect:
        return lambda endpoint: connection_for(endpoint, transport.access)

    @pytest.fixture
    def stranger(self, endpoint: str) -> Iterator[SendFrames]:
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.connect(endpoint)

            def send(frames: Sequence[bytes]) -> None:
                dealer.send_multipart(list(frames))

            yield send


class TestZmqIpc(ZmqContract):
    @pytest.fixture
    def open_transport(self, short_dir: Path) -> OpenTransport:
        return lambda limits: ZmqIpcTransport(str(short_dir / "run" / "router.ipc"), limits)

    @pytest.fixture
    def knock(self, endpoint: str) -> Callable[[], socket.socket]:
        def knock() -> socket.socket:
            made = socket.socket(socket.AF_UNIX)
            made.connect(endpoint.removeprefix("ipc://"))
            return made

        return knock

    @pytest.fixture
    def outsider(self, endpoint: str) -> Callable[[], None]:
        """Another user, before whom somebody has opened the directory and the socket."""
        if os.geteuid() != 0:
            pytest.skip("only root can run a process as another user")
        path = Path(endpoint.removeprefix("ipc://"))

        def connect() -> None:
            path.chmod(0o666)
            for above in (path.parent, path.parent.parent, *list(path.parents)[2:-2]):
                above.chmod(above.stat().st_mode | 0o055)
            as_nobody(HANDSHAKE, str(path))

        return connect


class TcpContract(ZmqContract):
    @pytest.fixture
    def knock(self, endpoint: str) -> Iterator[Callable[[], socket.socket]]:
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")

        def knock() -> socket.socket:
            made = socket.socket()
            knocking.append(made)
            # Where there is no room, the system lets it wait.
            made.setblocking(False)
            made.connect_ex((host, int(port)))
            return made

        knocking: list[socket.socket] = []
        yield knock
        for made in knocking:
            made.close()

    @pytest.mark.usefixtures("few_descriptors")
    def test_what_is_accepted_has_a_bound(
        self, transport: ZmqTcpTransport, knock: Callable[[], socket.socket]
    ) -> None:
        """A quarter of the descriptors that this process may have, and what comes until the
        kernel is told."""
        before, knocks = len(os.listdir("/proc/self/fd")), 256 + 150
        for _ in range(knocks):
            knock()
            time.sleep(0)  # The kernel is told by another thread.
        held = len(os.listdir("/proc/self/fd")) - before - knocks
        assert held < 256 + 100


class TestZmqTcp(TcpContract):
    @pytest.fixture
    def open_transport(self) -> OpenTransport:
        return lambda limits: ZmqTcpTransport("127.0.0.1:0", limits)

    @pytest.fixture
    def outsider(self, knock: Callable[[], socket.socket]) -> Callable[[], None]:
        """Without keys everybody on this machine may connect, who speaks the protocol."""

        def connect() -> None:
            with knock() as made:
                made.sendall(b"hello")

        return connect


ENGINE, FRIEND, STRANGER = (KeyPair(*zmq.curve_keypair()) for _ in range(3))


class TestZmqTcpWithKeys(TcpContract):
    """Who may not connect: one without a key, with one that is not known, with a known one whose
    secret half it has not, and one that takes the engine for another one."""

    @pytest.fixture
    def open_transport(self, tmp_path: Path) -> OpenTransport:
        (tmp_path / "friend.key").write_text(f'public-key = "{FRIEND.public.decode()}"\n')
        clients = KnownClients(str(tmp_path))
        return lambda limits: ZmqTcpTransport("127.0.0.1:0", limits, ENGINE, clients)

    @pytest.fixture
    def stranger(self, endpoint: str) -> Iterator[SendFrames]:
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.curve_serverkey = ENGINE.public
            dealer.curve_publickey, dealer.curve_secretkey = FRIEND.public, FRIEND.secret
            dealer.connect(endpoint)
            yield lambda frames: dealer.send_multipart(list(frames))

    @pytest.fixture
    def connect_to(self) -> Connect:
        return lambda endpoint: connection_for(endpoint, FRIEND.access(ENGINE.public))

    @pytest.fixture(params=["no key", "unknown", "half", "another engine"])
    def outsider(self, endpoint: str, request: pytest.FixtureRequest) -> Callable[[], None]:
        shown = {
            "no key": {},
            "unknown": STRANGER.access(ENGINE.public),
            "half": KeyPair(FRIEND.public, STRANGER.secret).access(ENGINE.public),
            "another engine": FRIEND.access(STRANGER.public),
        }[request.param]

        def connect() -> None:
            with pytest.raises(UnavailableError, match="does not admit this peer"):
                connection_for(endpoint, shown)

        return connect

    def test_a_key_that_is_removed_is_refused_from_then_on(
        self, transport: ZmqTcpTransport, endpoint: str, tmp_path: Path
    ) -> None:
        shown = FRIEND.access(ENGINE.public)
        first = connection_for(endpoint, shown)
        (tmp_path / "friend.key").unlink()
        with pytest.raises(UnavailableError, match="does not admit"):
            connection_for(endpoint, shown)
        assert transport.refusals() == {"its key is not known": 1}
        first.close()

    def test_who_is_connected_is_cut_off_with_his_key(
        self, transport: ZmqTcpTransport, endpoint: str, tmp_path: Path
    ) -> None:
        """Counted once, whatever he goes on to say; sidecars and others are heard, and he is
        again when his key is there again."""
        file = tmp_path / "friend.key"
        friend, sidecar = (
            connection_for(endpoint, shown)
            for shown in (FRIEND.access(ENGINE.public), transport.access)
        )
        friend.send(b"friend")
        assert [bytes(m.head) for m in receive_from(transport, 1)] == [b"friend"]
        aside = file.rename(tmp_path / "aside")
        deadline = time.monotonic() + PATIENCE_S
        while not transport.refused:
            assert time.monotonic() < deadline, "he is heard for ever"
            friend.send(b"friend")
            transport.poll(0.05)
            transport.receive()
        for _ in range(5):
            friend.send(b"friend")
        sidecar.send(b"sidecar")
        assert [bytes(m.head) for m in receive_from(transport, 1)] == [b"sidecar"]
        transport.poll(0.1)
        assert transport.receive() == []
        assert transport.refusals() == {"its key is known no more: what it sends is not heard": 1}
        aside.rename(file)
        connection_for(endpoint, FRIEND.access(ENGINE.public)).close()
        friend.send(b"friend again")
        assert [bytes(m.head) for m in receive_from(transport, 1)] == [b"friend again"]
        friend.close()
        sidecar.close()

    def test_each_engine_makes_a_key_of_its_own_for_its_sidecars(
        self, transport: ZmqTcpTransport, endpoint: str
    ) -> None:
        other = ZmqTcpTransport("127.0.0.1:0", key=ENGINE)
        with pytest.raises(UnavailableError, match="does not admit"):
            connection_for(endpoint, other.access)
        other.close()

    def test_who_cannot_be_judged_is_refused_and_others_are_not(
        self, transport: ZmqTcpTransport, endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(known: KnownClients, key: bytes) -> str:
            raise OSError("the disk is gone")

        monkeypatch.setattr(KnownClients, "refusal", broken)
        with pytest.raises(UnavailableError, match="does not admit"):
            connection_for(endpoint, FRIEND.access(ENGINE.public))
        assert "the disk is gone" in next(iter(transport.refusals()))
        connection_for(endpoint, transport.access).close()

    def test_who_has_the_engines_key_is_let_in(
        self, transport: ZmqTcpTransport, endpoint: str
    ) -> None:
        connection_for(endpoint, ENGINE.access(ENGINE.public)).close()
        assert transport.refused == 0

    def test_nothing_travels_in_the_clear(self, transport: ZmqTcpTransport) -> None:
        """Read between the two, where a network would be."""
        secret = b"what nobody on the way may read"
        host, _, port = transport.bind().removeprefix("tcp://").rpartition(":")
        with Tap(host, int(port)) as tap:
            connection = connection_for(tap.endpoint, transport.access)
            connection.send(secret, secret)
            assert transport.poll(10)
            (message,) = transport.receive()
            assert bytes(message.payload) == secret
            connection.close()
        assert len(tap.seen) > 2 * len(secret)
        assert secret not in tap.seen


class TestMemory(TransportContract):
    @pytest.fixture
    def open_transport(self, tmp_path: Path) -> OpenTransport:
        return lambda limits: MemoryTransport(str(tmp_path), limits)

    @pytest.fixture
    def connect_to(self) -> Connect:
        return connection_for

    @pytest.fixture
    def stranger(self, endpoint: str) -> SendFrames:
        return memory.connect(endpoint).send_frames


@pytest.fixture
def short_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sockets have short paths; pytest's own directories are named after tests."""
    return tmp_path_factory.mktemp("s")


def test_every_transport_is_one() -> None:
    """For the type checker, which compares the signatures."""
    guarded: list[GuardedTransport] = [ZmqTcpTransport("127.0.0.1:0")]
    ports: list[Transport] = [MemoryTransport("port"), *guarded]
    for port in ports:
        port.close()


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


class TestTcpAddress:
    @pytest.mark.parametrize(
        ("given", "bound"),
        [
            ("127.0.0.1:0", "tcp://127.0.0.1:"),
            ("tcp://127.0.0.1:0", "tcp://127.0.0.1:"),
            ("localhost:0", "tcp://127.0.0.1:"),
            ("127.1.2.3:0", "tcp://127.1.2.3:"),
        ],
    )
    def test_port_0_picks_one(self, given: str, bound: str) -> None:
        transport = ZmqTcpTransport(given)
        endpoint = transport.bind()
        assert endpoint.startswith(bound)
        assert int(endpoint.rpartition(":")[2]) > 0
        connection_for(endpoint).close()
        transport.close()

    def test_ipv6_works_where_the_system_has_it(self) -> None:
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"this system has no IPv6 loopback: {error}")
        transport = ZmqTcpTransport("[::1]:0")
        connection_for(transport.bind()).close()
        transport.close()

    @pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
    def test_every_address_is_none_to_connect_to(self, host: str) -> None:
        with pytest.raises(ConfigurationError, match="every address of this machine"):
            ZmqTcpTransport(f"{host}:5570", key=ENGINE)

    @pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "[::]", "192.168.1.1", "8.8.8.8"])
    @pytest.mark.parametrize("side", [ZmqTcpTransport, tcp_connection.connect])
    def test_other_machines_are_refused(self, side: type, host: str) -> None:
        with pytest.raises(ConfigurationError, match="CURVE"):
            side(f"{host}:5570")

    @pytest.mark.parametrize(
        "endpoint", ["", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000", "*:1", ":1"]
    )
    def test_what_is_no_address_is_refused(self, endpoint: str) -> None:
        with pytest.raises(ConfigurationError, match=r"host:port|no IP address"):
            ZmqTcpTransport(endpoint)

    def test_a_taken_port_is_the_configurations_fault(self) -> None:
        first = ZmqTcpTransport("127.0.0.1:0")
        second = ZmqTcpTransport(first.bind())
        with pytest.raises(ConfigurationError, match="cannot listen at"):
            second.bind()
        first.close()
        second.close()


class TestConnectionFor:
    @pytest.mark.parametrize("endpoint", ["", "run/router.ipc", "udp://127.0.0.1:1", "ipc:/x"])
    def test_an_unknown_scheme_names_the_known_ones(self, endpoint: str) -> None:
        with pytest.raises(ConfigurationError, match="ipc://, memory://, tcp://"):
            connection_for(endpoint)

    @pytest.mark.parametrize("scheme", ["ipc", "tcp", "memory"])
    def test_nobody_there_is_said(
        self, short_dir: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
    ) -> None:
        monkeypatch.setattr("casparian.adapters.transport._zmq_connection.CONNECT_TIMEOUT_S", 0.2)
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            place = {
                "ipc": str(short_dir / "nobody.ipc"),
                "tcp": f"127.0.0.1:{reserved.getsockname()[1]}",
                "memory": "nobody",
            }[scheme]
            with pytest.raises(UnavailableError, match="is the engine running"):
                connection_for(f"{scheme}://{place}")

    def test_a_name_in_memory_is_bound_once(self) -> None:
        first, second = MemoryTransport("once"), MemoryTransport("once")
        first.bind()
        with pytest.raises(ConfigurationError, match="is taken"):
            second.bind()
        second.close()
        connection_for("memory://once").close()
        first.close()


def test_limits_reach_the_connection() -> None:
    """Both sides may be given tighter limits than the default ones."""
    transport = ZmqTcpTransport("127.0.0.1:0", Limits(message=10))
    connection = tcp_connection.connect(transport.bind(), Limits(message=10))
    with pytest.raises(LocalProtocolError, match=r"over the limits of 65552 \+ 10"):
        connection.send(b"", b"x" * 11)
    connection.close()
    transport.close()
