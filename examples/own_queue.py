"""A queue of one's own: the database's, with a say in what a worker claims.

    python examples/own_queue.py

Here big files wait while small ones are there. A queue may also be written from nothing: the
promises stand in `casparian.domain.ports.JobQueue`, and `casparian.testing.queue` has the suite
that holds an adapter to them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from casparian import Engine, Settings
from casparian.adapters.queue import open_sqlite
from casparian.domain.jobs import Claim
from casparian.domain.ports import JobQueue


class SmallFirst:
    """A JobQueue: claims come from the database, and of these the biggest files go back.

    What is handed back is released, not failed: it costs the job nothing.
    """

    def __init__(self, queue: JobQueue, delay_us: int = 50_000) -> None:
        self._queue = queue
        self._delay_us = delay_us
        self.order: list[int] = []

    def claim(
        self, worker: str, plugins: Mapping[str, str], limit: int, lease_us: int
    ) -> list[Claim]:
        claims = self._queue.claim(worker, plugins, limit * 4, lease_us)
        claims = sorted(claims, key=lambda claim: claim.identity.size)
        wanted, others = claims[:limit], claims[limit:]
        if others:
            self._queue.release({c.job_id: c.token for c in others}, self._delay_us)
        self.order += [claim.identity.size for claim in wanted]
        return wanted

    def __getattr__(self, name: str) -> Any:
        """Everything else is the database's."""
        return getattr(self._queue, name)


CONFIGURATION = """
[scout]
settle_s = 0
[plugin_host]
adapter = "inline"
[[source_root]]
path = "inbox"
[[rule]]
pattern = "**/*.txt"
tag = "text"
[plugin.lines]
tags = ["text"]
[plugin.lines.topics.lines]
sink = "parquet://./output"
"""

PLUGIN = """
import pyarrow as pa
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        with open(file_path) as file:
            self.publish("lines", pa.table({"line": file.read().splitlines()}))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for directory in ("inbox", "plugins"):
            (home / directory).mkdir()
        for number in (40, 3, 500, 1, 20):
            (home / "inbox" / f"{number}.txt").write_text("line\n" * number)
        (home / "plugins" / "lines.py").write_text(PLUGIN)
        (home / "casparian.toml").write_text(CONFIGURATION)
        stores = open_sqlite(str(home / "queue.sqlite3"))
        queue = SmallFirst(stores.queue)
        engine = Engine(Settings.load(home / "casparian.toml"), queue=stores._replace(queue=queue))
        try:
            result = engine.drain()
        finally:
            engine.close()
            # What was handed to the engine is its owner's to close.
            stores.close()
        assert result.ok
        print(f"{dict(result.jobs)}: sizes in the order of their claims: {queue.order}")


if __name__ == "__main__":
    main()
