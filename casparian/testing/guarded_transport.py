"""The contract of the optional port GuardedTransport, above that of Transport.

class TestMyTransport(GuardedTransportContract):
    @pytest.fixture
    def outsider(self, endpoint): return lambda: connect_without_a_key(endpoint)
"""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from casparian.domain.peers import GuardedTransport
from casparian.domain.ports import Connection, Transport
from casparian.testing.transport import PATIENCE_S, TransportContract, answers, receive_from

KNOCKS = 300


class GuardedTransportContract(TransportContract):
    """For a transport that asks who connects. `connect_to` shows the transport's `access`."""

    @pytest.fixture
    def outsider(self, endpoint: str) -> Callable[[], None]:
        """Tries to connect and to send, as one who may not; returns at once or when refused."""
        raise NotImplementedError

    @pytest.fixture
    def knock(self, endpoint: str) -> Callable[[], socket.socket]:
        """A connection of the system below the transport, which says nothing by itself."""
        raise NotImplementedError

    @pytest.fixture
    def guarded(self, transport: Transport) -> GuardedTransport:
        assert isinstance(transport, GuardedTransport)
        return transport

    def test_7_who_may_not_connect_is_counted_and_unheard(
        self,
        guarded: GuardedTransport,
        connect: Callable[[], Connection],
        outsider: Callable[[], None],
    ) -> None:
        connection = connect()
        outsider()
        deadline = time.monotonic() + PATIENCE_S
        while not guarded.refused:
            assert time.monotonic() < deadline, "nobody was refused"
            guarded.poll(0.05)
        connection.send(b"honest")
        assert [bytes(message.head) for message in receive_from(guarded, 1)] == [b"honest"]
        guarded.poll(0.1)
        assert guarded.receive() == []
        told = guarded.refusals()
        assert sum(told.values()) >= 1
        assert all(told)

    def test_7_refusals_are_told_once(
        self, guarded: GuardedTransport, knock: Callable[[], socket.socket]
    ) -> None:
        knock().close()
        deadline = time.monotonic() + PATIENCE_S
        while not guarded.refused:
            assert time.monotonic() < deadline, "nobody was refused"
            guarded.poll(0.05)
        assert guarded.refusals()
        assert not guarded.refusals()
        assert guarded.refused

    def test_8_access_is_no_secret_of_the_endpoint(
        self, guarded: GuardedTransport, endpoint: str
    ) -> None:
        for secret in guarded.access.values():
            assert secret not in endpoint
            assert secret not in repr(guarded)

    @pytest.fixture
    def few_descriptors(self) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[1]), before[1]))
        yield
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    @pytest.mark.usefixtures("few_descriptors")
    @pytest.mark.parametrize("said", [b"", b"\xff", b"GET / HTTP/1.1\r\nHost: engine\r\n\r\n"])
    def test_9_any_number_that_say_nothing_of_use_leave_the_others_served(
        self,
        guarded: GuardedTransport,
        connect: Callable[[], Connection],
        knock: Callable[[], socket.socket],
        said: bytes,
    ) -> None:
        connection = connect()
        knocking = []
        try:
            for number in range(KNOCKS):
                knocking.append(knock())
                with contextlib.suppress(OSError):
                    knocking[-1].sendall(said)
                guarded.poll(0)
                if number % 100 == 0:
                    connection.send(b"%d" % number)
                    (message,) = receive_from(guarded, 1)
                    guarded.send(message.peer, b"answer")
                    assert answers(connection, 1) == [(b"answer", b"")]
        finally:
            for knocked in knocking:
                knocked.close()
        # There is room again once they are gone.
        late = threading.Thread(target=lambda: connect().send(b"late"))
        late.start()
        assert bytes(receive_from(guarded, 1)[0].head) == b"late"
        late.join()
