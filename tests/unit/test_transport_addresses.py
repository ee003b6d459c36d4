"""Endpoints: which are bound, which are refused, and what is said where nobody listens."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import zmq

from casparian.adapters.transport import connection_for, tcp_connection
from casparian.adapters.transport.curve import KeyPair
from casparian.adapters.transport.memory import MemoryTransport
from casparian.adapters.transport.zmq_tcp import ZmqTcpTransport
from casparian.domain.errors import ConfigurationError, UnavailableError


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
            ZmqTcpTransport(f"{host}:5570", key=KeyPair(*zmq.curve_keypair()))

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
