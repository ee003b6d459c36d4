"""The package's adapters, held to the contracts; run where the package is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zmq
from pigeon_adapters.host import HostSettings, PigeonHost
from pigeon_adapters.queue import QueueSettings, open_queue
from pigeon_adapters.sink import ArrowSinkFactory, read
from pigeon_adapters.transport import PigeonTransport

from casparian import Settings
from casparian.adapters.transport import connection_for
from casparian.testing.catalog import FileCatalogContract
from casparian.testing.host import PluginHostContract
from casparian.testing.host_loop import OpenHost
from casparian.testing.ledger import PublishLedgerContract
from casparian.testing.queue import JobQueueContract
from casparian.testing.sink import SinkContract
from casparian.testing.store import PluginStoreContract
from casparian.testing.transport import Connect, OpenTransport, SendFrames, TransportContract
from casparian.testing.world import VirtualClock


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.of({"database": {"url": "pigeon://q"}}, tmp_path_factory.mktemp("s"))


class Pigeons:
    @pytest.fixture
    def stores(self, clock: VirtualClock, settings: Settings) -> Iterator[Any]:
        stores = open_queue(settings, clock, True, own_settings=QueueSettings())
        yield stores
        stores.close()


class TestQueue(Pigeons, JobQueueContract):
    pass


class TestCatalog(Pigeons, FileCatalogContract):
    pass


class TestLedger(Pigeons, PublishLedgerContract):
    pass


class TestStore(Pigeons, PluginStoreContract):
    pass


class TestTransport(TransportContract):
    @pytest.fixture
    def open_transport(self, settings: Settings) -> OpenTransport:
        return lambda limits: PigeonTransport(settings, None, limits)

    @pytest.fixture
    def connect_to(self) -> Connect:
        return connection_for

    @pytest.fixture
    def stranger(self, endpoint: str) -> Iterator[SendFrames]:
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.connect(endpoint.replace("pigeon://", "ipc://"))

            def send(frames: Sequence[bytes]) -> None:
                dealer.send_multipart(list(frames))

            yield send


class TestHost(PluginHostContract):
    @pytest.fixture
    def open_host(self, settings: Settings) -> OpenHost:
        return lambda on_exit: PigeonHost(settings, on_exit, HostSettings(note="note"))

    @pytest.fixture
    def transport(self, settings: Settings) -> PigeonTransport:
        return PigeonTransport(settings)


@dataclass
class Place:
    factory: ArrowSinkFactory
    uri: str
    base: str

    def read(self, target: Any) -> Any:
        return read(Path(target.location) / target.name)


class TestSink(SinkContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place(ArrowSinkFactory(), "arrow://./out", str(tmp_path))


def test_the_fixture_that_comes_with_the_engine(run_plugin: Any, tmp_path: Path) -> None:
    plugin, file = tmp_path / "words.py", tmp_path / "a.txt"
    file.write_text("two words")
    plugin.write_text(
        "from casparian.sdk import BasePlugin\n"
        "class Handler(BasePlugin):\n"
        "    def execute(self, file_path):\n"
        "        words = open(file_path).read().split(self.config['by'])\n"
        "        self.publish('words', [{'word': word} for word in words])\n"
    )
    result = run_plugin(plugin, file, {"by": " "})
    assert result.tables["words"]["word"].to_pylist() == ["two", "words"]
