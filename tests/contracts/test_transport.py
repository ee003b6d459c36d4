"""Every transport of this project against the contract."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import zmq

from casparian.adapters.transport import connection_for, memory, tcp_connection
from casparian.adapters.transport.curve import KeyPair, KnownClients
from casparian.adapters.transport.memory import MemoryTransport
from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport
from casparian.adapters.transport.zmq_tcp import ZmqTcpTransport
from casparian.domain.errors import UnavailableError
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
from tests.support.outsiders import HANDSHAKE, Tap, as_nobody


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


def test_every_transport_is_one() -> None:
    """For the type checker, which compares the signatures."""
    guarded: list[GuardedTransport] = [ZmqTcpTransport("127.0.0.1:0")]
    ports: list[Transport] = [MemoryTransport("port"), *guarded]
    for port in ports:
        port.close()


def test_limits_reach_the_connection() -> None:
    """Both sides may be given tighter limits than the default ones."""
    transport = ZmqTcpTransport("127.0.0.1:0", Limits(message=10))
    connection = tcp_connection.connect(transport.bind(), Limits(message=10))
    with pytest.raises(LocalProtocolError, match=r"over the limits of 65552 \+ 10"):
        connection.send(b"", b"x" * 11)
    connection.close()
    transport.close()
