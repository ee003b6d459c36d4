"""The process that runs one plugin: its sandbox first, then the plugin, until told to stop.

Started by the subprocess host, or forked for it, with its instructions as one JSON line on standard
input, which stays open as a lifeline: when the engine is gone, so is this process.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import mmap
import os
import sys
import threading
from typing import Any

from casparian.adapters.host.job_note import JOB_ID, JOB_NOTE
from casparian.adapters.host.sandbox.layers import Plan, Sandbox
from casparian.adapters.host.sandbox.limits import allow_cpu
from casparian.adapters.transport import connection_for
from casparian.domain.peers import PeerGone
from casparian.sdk.loader import PluginLoadError, load_handler
from casparian.sdk.plugin import CaspPlugin
from casparian.sdk.runtime import Runtime

ENGINE_GONE = 75
TCP = "tcp://"


def main() -> int:
    """Read the instructions, run the plugin. Exit code 0 when told to stop, ENGINE_GONE when
    the engine went away without a word."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return ENGINE_GONE
    instructions: dict[str, Any] = json.loads(line)
    lifeline = _take_lifeline()
    sandbox = Sandbox(_plan(instructions))
    sandbox.before_connecting()
    if os.getppid() != instructions["parent_pid"]:
        # It, or the engine, went before this process was bound to end with it.
        return ENGINE_GONE
    threading.Thread(
        target=_watch, args=(lifeline,), name="casparian-lifeline", daemon=True
    ).start()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s"
    )
    connection = connection_for(instructions["endpoint"], instructions["access"])
    sandbox.after_connecting()
    code = base64.b64decode(instructions["code"])
    name = instructions["plugin"]

    def load() -> CaspPlugin:
        if sandbox.refusal:
            raise PluginLoadError(f"plugin {name} does not run: {sandbox.refusal}")
        return load_handler(name, code)

    runtime = Runtime(
        connection,
        instructions["session"],
        instructions["heartbeat_s"],
        _JobNote(instructions["cpu_s"]),
        sandbox.level,
        sandbox.hints(name),
    )
    try:
        runtime.run(
            name,
            instructions["plugin_hash"],
            os.getpid(),
            load,
            instructions["settings"],
        )
    except PeerGone:
        # The engine closed the connection first, as it does when it stops: no news for anybody.
        return ENGINE_GONE
    return 0


def _plan(instructions: dict[str, Any]) -> Plan:
    endpoint = instructions["endpoint"]
    return Plan.of(
        instructions["sandbox"],
        os.getcwd(),
        instructions["memory_mb"],
        int(endpoint.rpartition(":")[2]) if endpoint.startswith(TCP) else None,
    )


def _take_lifeline() -> int:
    """The pipe of standard input, for `_watch`; the plugin is given an empty one."""
    lifeline = os.dup(0)
    os.set_inheritable(lifeline, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # What a plugin prints is for people: it must not be lost, nor mistaken for output.
    os.dup2(2, 1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return lifeline


def _watch(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os._exit(ENGINE_GONE)


class _JobNote:
    """Called before each job: notes its id where the host finds it even after a SIGKILL."""

    def __init__(self, cpu_s: int) -> None:
        self._cpu_s = cpu_s
        file = os.open(JOB_NOTE, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(file, JOB_ID.size)
        self._note = mmap.mmap(file, JOB_ID.size)
        os.close(file)

    def __call__(self, job_id: int) -> None:
        JOB_ID.pack_into(self._note, 0, job_id)
        allow_cpu(self._cpu_s)


if __name__ == "__main__":
    sys.exit(main())
