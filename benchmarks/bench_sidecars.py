"""What it costs to start sidecars: until one has loaded its plugin, and to its end.

    .venv/bin/python benchmarks/bench_sidecars.py [--starts N] [--anew]

One after the other, as a trial of deployed code does: start, wait for the registration, end it. The
wall time is the median of a start; CPU time is that of all processes that were started, per start,
the fork server's with it.
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import statistics
import tempfile
import threading
import time
from pathlib import Path

from casparian.adapters.host.launch import COMMAND
from casparian.adapters.host.subprocess import SubprocessHost
from casparian.adapters.transport.zmq_ipc import ZmqIpcTransport
from casparian.domain.message_codec import decode_from_sidecar
from casparian.domain.messages import Register
from casparian.domain.plugins import LivePlugin, PluginConfig, code_hash
from casparian.domain.ports import SidecarSpec

CODE = b"""
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.publish("output", [{"path": file_path}])
"""
PLUGIN = LivePlugin(PluginConfig("measured", frozenset()), code_hash(CODE))


def children_s() -> float:
    """CPU time of the processes that this one started and that have ended, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def start_one(host: SubprocessHost, transport: ZmqIpcTransport, endpoint: str) -> None:
    """Until the sidecar has registered. Raises where it could not load its plugin."""
    host.start(SidecarSpec(secrets.token_hex(16), PLUGIN, CODE, endpoint, 1 << 20))
    while True:
        transport.poll(1.0)
        for incoming in transport.receive():
            message = decode_from_sidecar(incoming.head, len(incoming.payload))
            if isinstance(message, Register):
                assert not message.failure, message.failure
                return
        for exit_ in host.exits():
            raise RuntimeError(f"a sidecar ended: {exit_}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--anew", action="store_true", help="start each, fork none")
    options = parser.parse_args()
    starts: int = options.starts
    # Only this very command is what the fork server does.
    command = (COMMAND[0], "-B", *COMMAND[1:]) if options.anew else COMMAND
    before = children_s()
    with tempfile.TemporaryDirectory(prefix="cf-") as directory:
        transport = ZmqIpcTransport(str(Path(directory) / "r.ipc"))
        endpoint = transport.bind()
        ended = threading.Event()
        host = SubprocessHost(ended.set, command=command)
        took: list[float] = []
        for _ in range(starts):
            ended.clear()
            began = time.perf_counter()
            start_one(host, transport, endpoint)
            took.append(time.perf_counter() - began)
            for session in list(host._processes):
                host.kill(session)
            ended.wait()
            host.exits()
        host.close()
        transport.close()
    cpu_ms = (children_s() - before) / starts * 1e3
    print(f"{starts} starts; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"the first      {took[0] * 1e3:7.1f} ms")
    print(f"a later one    {statistics.median(took[1:]) * 1e3:7.1f} ms, median")
    print(f"CPU per start  {cpu_ms:7.1f} ms")


if __name__ == "__main__":
    main()
