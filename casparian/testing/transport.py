"""The contract of the ports Transport and Connection. The numbers are those of the port's promises.

An adapter's author derives a test class and overrides the three fixtures:

    class TestMyTransport(TransportContract):
        @pytest.fixture
        def open_transport(self, tmp_path): return lambda limits: MyTransport(..., limits)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from casparian.domain.ports import Connection, Incoming, PeerBusy, PeerGone, Transport
from casparian.domain.wire import DEFAULT_LIMITS, Limits, LocalProtocolError

OpenTransport = Callable[[Limits], Transport]
Connect = Callable[[str], Connection]
SendFrames = Callable[[Sequence[bytes]], None]

PATIENCE_S = 20.0
SMALL = Limits(message=8 * 1024, metadata=1024)


def receive_from(transport: Transport, count: int) -> list[Incoming]:
    """The next `count` messages; fails the test if they do not come."""
    received: list[Incoming] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(received) < count:
        assert time.monotonic() < deadline, f"{len(received)} of {count} messages came"
        transport.poll(0.1)
        received += transport.receive()
    assert len(received) == count
    return received


def answers(connection: Connection, count: int) -> list[tuple[bytes, bytes]]:
    received: list[tuple[bytes, bytes]] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(received) < count:
        assert time.monotonic() < deadline, f"{len(received)} of {count} messages came"
        connection.poll(0.1)
        received += [(bytes(head), bytes(payload)) for head, payload in connection.receive()]
    assert len(received) == count
    return received


def until_gone(transport: Transport, peer: bytes) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            transport.send(peer, b"are you there?")
        except PeerGone:
            return
        except PeerBusy:
            pass
        transport.poll(0.01)
    pytest.fail("the transport never noticed that the peer is gone")


def until_busy(send: Callable[[bytes], None]) -> int:
    """How many messages were accepted, with the numbers from 0 as heads, before PeerBusy."""
    for number in range(10_000):
        try:
            send(b"%d" % number)
        except PeerBusy:
            return number
    pytest.fail("10,000 messages wait, and there is still room: the queue has no bound")


class TransportContract:
    @pytest.fixture
    def open_transport(self) -> OpenTransport:
        """Makes a transport with these limits, not yet bound; all at one and the same endpoint."""
        raise NotImplementedError

    @pytest.fixture
    def connect_to(self) -> Connect:
        """Makes a connection to what `bind` returned."""
        raise NotImplementedError

    @pytest.fixture
    def stranger(self, endpoint: str) -> Iterator[SendFrames]:
        """Sends one message of any frames to the endpoint, as a peer may that breaks the rules."""
        raise NotImplementedError

    @pytest.fixture
    def limits(self, request: pytest.FixtureRequest) -> Limits:
        return getattr(request, "param", DEFAULT_LIMITS)

    @pytest.fixture
    def transport(self, open_transport: OpenTransport, limits: Limits) -> Iterator[Transport]:
        made = open_transport(limits)
        yield made
        made.close()

    @pytest.fixture
    def endpoint(self, transport: Transport) -> str:
        return transport.bind()

    @pytest.fixture
    def connect(self, endpoint: str, connect_to: Connect) -> Iterator[Callable[[], Connection]]:
        made: list[Connection] = []

        def connect() -> Connection:
            made.append(connect_to(endpoint))
            return made[-1]

        yield connect
        for connection in made:
            connection.close()

    # --- 1: whole and in order -----------------------------------------------------------------

    def test_1_messages_of_each_peer_arrive_in_order(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        def talk(name: int) -> None:
            connection = connections[name]
            for number in range(300):
                while True:
                    try:
                        connection.send(b"%d" % name, b"%d" % number)
                        break
                    except PeerBusy:
                        connection.poll(0.001)

        connections = [connect() for _ in range(3)]
        threads = [threading.Thread(target=talk, args=(name,)) for name in range(3)]
        for thread in threads:
            thread.start()
        received = receive_from(transport, 900)
        for thread in threads:
            thread.join()
        assert len({message.peer for message in received}) == 3
        for name in range(3):
            mine = [message for message in received if bytes(message.head) == b"%d" % name]
            assert len({message.peer for message in mine}) == 1
            assert [int(bytes(message.payload)) for message in mine] == list(range(300))

    @pytest.mark.parametrize("size", [0, 1, 33, 8_000, 65_535, 65_536, 5_000_001])
    def test_1_messages_arrive_whole_in_both_directions(
        self, transport: Transport, connect: Callable[[], Connection], size: int
    ) -> None:
        payload = bytes(range(251)) * (size // 251 + 1)
        payload = payload[:size]
        connection = connect()
        connection.send(b"up", payload)
        (message,) = receive_from(transport, 1)
        assert (bytes(message.head), bytes(message.payload)) == (b"up", payload)
        transport.send(message.peer, b"down", memoryview(payload))
        assert answers(connection, 1) == [(b"down", payload)]

    def test_1_answers_arrive_in_order_and_at_whom_they_are_for(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        connections = {b"a": connect(), b"b": connect()}
        for name, connection in connections.items():
            connection.send(name)
        peers = {bytes(message.head): message.peer for message in receive_from(transport, 2)}
        for number in range(50):
            for name, peer in peers.items():
                transport.send(peer, name, b"%d" % number)
        for name, connection in connections.items():
            assert answers(connection, 50) == [(name, b"%d" % number) for number in range(50)]

    def test_1_last_words_arrive(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        connection = connect()
        for number in range(20):
            connection.send(b"%d" % number, b"x" * 100_000)
        closing = threading.Thread(target=connection.close)
        closing.start()
        heads = [int(bytes(message.head)) for message in receive_from(transport, 20)]
        closing.join()
        assert heads == list(range(20))

    # --- 2: receive ----------------------------------------------------------------------------

    def test_2_receive_does_not_block(self, transport: Transport, endpoint: str) -> None:
        assert transport.receive() == []

    def test_2_receive_gives_at_most_the_limit(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        connection = connect()
        for number in range(10):
            connection.send(b"%d" % number)
        got: list[Incoming] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(got) < 10 and time.monotonic() < deadline:
            transport.poll(0.1)
            part = transport.receive(3)
            assert len(part) <= 3
            got += part
        assert [bytes(message.head) for message in got] == [b"%d" % n for n in range(10)]

    @pytest.mark.parametrize("count", [1, 3, 4, 9])
    def test_2_another_number_of_frames_is_counted_and_costs_nobody_else(
        self,
        transport: Transport,
        connect: Callable[[], Connection],
        stranger: SendFrames,
        count: int,
    ) -> None:
        connection = connect()
        connection.send(b"before")
        (first,) = receive_from(transport, 1)
        for _ in range(3):
            stranger([b"frame"] * count)
            connection.send(b"honest", b"payload")
        stranger([b"head", b"payload"])
        received = receive_from(transport, 4)
        honest = [message for message in received if message.peer == first.peer]
        assert [(bytes(m.head), bytes(m.payload)) for m in honest] == [(b"honest", b"payload")] * 3
        (other,) = [message for message in received if message.peer != first.peer]
        assert (bytes(other.head), bytes(other.payload)) == (b"head", b"payload")
        assert transport.malformed == 3

    # --- 3: nothing is dropped without a word --------------------------------------------------

    def test_3_a_peer_that_never_was_is_gone(self, transport: Transport, endpoint: str) -> None:
        for peer in (b"", b"\0\0\0\0\1", b"nobody"):
            with pytest.raises(PeerGone):
                transport.send(peer, b"head", b"payload")

    def test_3_a_closed_peer_is_gone_and_the_others_are_not(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        leaving, staying = connect(), connect()
        leaving.send(b"leaving")
        staying.send(b"staying")
        peers = {bytes(message.head): message.peer for message in receive_from(transport, 2)}
        leaving.close()
        until_gone(transport, peers[b"leaving"])
        transport.send(peers[b"staying"], b"still here")
        assert answers(staying, 1) == [(b"still here", b"")]

    def test_3_a_peer_that_does_not_read_is_busy_and_loses_nothing(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        connection = connect()
        connection.send(b"here")
        (hello,) = receive_from(transport, 1)
        accepted = until_busy(lambda head: transport.send(hello.peer, head, b"x" * 10_000))
        received = answers(connection, accepted)
        assert [int(head) for head, _ in received] == list(range(accepted))
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                transport.send(hello.peer, b"room again")
                break
            except PeerBusy:
                assert time.monotonic() < deadline, "the peer stays busy"
                transport.poll(0.01)
        assert answers(connection, 1) == [(b"room again", b"")]

    def test_3_an_engine_that_does_not_read_is_busy_and_loses_nothing(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        connection = connect()
        accepted = until_busy(lambda head: connection.send(head, b"x" * 10_000))
        heads = [int(bytes(message.head)) for message in receive_from(transport, accepted)]
        assert heads == list(range(accepted))

    def test_3_a_connection_learns_that_the_engine_is_gone(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        connection = connect()
        connection.send(b"here")
        (hello,) = receive_from(transport, 1)
        transport.send(hello.peer, b"last words")
        assert answers(connection, 1) == [(b"last words", b"")]
        transport.close()
        assert connection.poll(PATIENCE_S)
        with pytest.raises(PeerGone):
            connection.receive()
        with pytest.raises(PeerGone):
            connection.send(b"anybody?")

    # --- 4: poll and wake ----------------------------------------------------------------------

    def test_4_poll_is_false_when_nothing_happens(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        connection = connect()
        transport.poll(0.01)
        assert not transport.poll(0.01)
        assert not connection.poll(0.01)

    def test_4_poll_sees_a_message_until_it_is_read(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        connect().send(b"here")
        assert transport.poll(PATIENCE_S)
        assert transport.poll(PATIENCE_S)
        assert len(receive_from(transport, 1)) == 1
        assert not transport.poll(0.0)

    @pytest.mark.parametrize("times", [1, 100_000])
    def test_4_a_wake_before_poll_is_kept_and_used_once(
        self, transport: Transport, connect: Callable[[], Connection], times: int
    ) -> None:
        connection = connect()
        for side in (transport, connection):
            side.poll(0.01)
            for _ in range(times):
                side.wake()
            assert side.poll(PATIENCE_S)
            assert not side.poll(0.0)

    def test_4_wake_ends_a_poll_of_another_thread(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        for side in (transport, connect()):
            side.poll(0.01)
            waker = threading.Timer(0.05, side.wake)
            waker.start()
            assert side.poll(PATIENCE_S)
            waker.join()

    def test_4_a_wake_after_close_is_no_error(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        for side in (connect(), transport):
            side.close()
            side.wake()

    # --- 5: bounded ----------------------------------------------------------------------------

    @pytest.mark.parametrize("limits", [SMALL], indirect=True)
    def test_5_an_oversize_message_is_refused_where_it_is_sent(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        connection = connect()
        connection.send(b"here", b"x" * SMALL.message)
        (hello,) = receive_from(transport, 1)
        for head, payload in ((b"h", b"x" * (SMALL.message + 1)), (b"h" * 1041, b"")):
            with pytest.raises(LocalProtocolError, match="over the limits"):
                transport.send(hello.peer, head, payload)
        with pytest.raises(LocalProtocolError, match="over the limits"):
            connection.send(b"h" * (16 + DEFAULT_LIMITS.metadata + 1))
        connection.send(b"still here")
        assert bytes(receive_from(transport, 1)[0].head) == b"still here"

    @pytest.mark.parametrize("limits", [SMALL], indirect=True)
    def test_5_an_oversize_message_of_a_stranger_never_arrives(
        self, transport: Transport, connect: Callable[[], Connection], stranger: SendFrames
    ) -> None:
        connection = connect()
        stranger([b"head", b"x" * 1_000_000])
        connection.send(b"honest")
        assert [bytes(message.head) for message in receive_from(transport, 1)] == [b"honest"]
        transport.poll(0.1)
        assert transport.receive() == []

    # --- the end -------------------------------------------------------------------------------

    def test_6_close_may_be_repeated(
        self, transport: Transport, connect: Callable[[], Connection]
    ) -> None:
        connection = connect()
        for _ in range(2):
            connection.close()
            transport.close()

    def test_6_a_closed_endpoint_can_be_bound_again(
        self, open_transport: OpenTransport, connect_to: Connect
    ) -> None:
        for _ in range(3):
            transport = open_transport(DEFAULT_LIMITS)
            connection = connect_to(transport.bind())
            connection.send(b"here")
            assert len(receive_from(transport, 1)) == 1
            connection.close()
            transport.close()
