"""A plugin host of one's own: sidecars that give way to everything else on the machine.

    python examples/own_plugin_host.py

A host starts, watches and ends sidecars; what runs in them stays the same. This one is the
`subprocess` host with another command; one that starts containers keeps the same four methods.
`casparian.testing.host` has the suite that holds a host to the promises of the port.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from casparian import Engine, Settings
from casparian.adapters.host.launch import COMMAND
from casparian.adapters.host.subprocess import SubprocessHost
from casparian.domain.ports import SidecarSpec

NICENESS = 10
# A small program that lowers its own priority and becomes the sidecar: same process, same pid.
LOWER = "import os, sys; os.nice(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"


class NiceHost(SubprocessHost):
    """Port `PluginHost`."""

    def __init__(self, on_exit: Callable[[], None]) -> None:
        lowered = (sys.executable, "-I", "-c", LOWER, str(NICENESS), *COMMAND)
        super().__init__(on_exit, command=lowered)
        self.started: list[str] = []

    def start(self, spec: SidecarSpec) -> None:
        self.started.append(spec.plugin.name)
        super().start(spec)


CONFIGURATION = """
[scout]
settle_s = 0
[[source_root]]
path = "inbox"
[[rule]]
pattern = "**/*.csv"
tag = "csv"
[plugin.nice]
tags = ["csv"]
[plugin.nice.topics.seen]
sink = "sqlite://out.sqlite3/seen"
"""

PLUGIN = """
import os
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.publish("seen", [{"niceness": os.nice(0)}])
"""


def main() -> None:
    import sqlite3
    from contextlib import closing

    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for directory in ("inbox", "plugins"):
            (home / directory).mkdir()
        (home / "inbox" / "a.csv").write_text("x\n1\n")
        (home / "plugins" / "nice.py").write_text(PLUGIN)
        (home / "casparian.toml").write_text(CONFIGURATION)
        engine = Engine(Settings.load(home / "casparian.toml"), plugin_host=NiceHost)
        try:
            result = engine.drain()
        finally:
            engine.close()
        assert result.ok
        with closing(sqlite3.connect(home / "out.sqlite3")) as database:
            ((niceness,),) = database.execute("select niceness from seen").fetchall()
        print(f"{dict(result.jobs)}: the plugin ran with niceness {niceness}")


if __name__ == "__main__":
    main()
