"""The scout over the SQLite catalog: enough files for several pages and batches."""

from __future__ import annotations

import os
import time
from pathlib import Path

from casparian.adapters.files import LocalFileSource
from casparian.adapters.queue import open_sqlite
from casparian.app.scout import Scout
from casparian.domain.files import SECOND_NS, ScanRules
from casparian.domain.ports import Applied
from casparian.domain.routing import RoutingRule

FILES = 2500


def test_thousands_of_files_through_their_life(tmp_path: Path) -> None:
    added_us = 0

    def clock() -> int:
        return time.time_ns() // 1000 + added_us

    root_path = tmp_path / "root"
    names = [f"d{n % 7}/sub.{n % 3}/f{n}" for n in range(FILES)]
    for name in names:
        (root_path / name).parent.mkdir(parents=True, exist_ok=True)
        (root_path / name).write_bytes(b"%d" % (int(name.rsplit("f")[-1]) % 100))
    odd = root_path / os.fsdecode(b"\xff\n'")
    odd.write_bytes(b"x" * 300_000)

    stores = open_sqlite(str(tmp_path / "queue.sqlite3"), clock)
    try:
        rules = (RoutingRule("**", "all"),)
        stores.store.apply(Applied((os.fsencode(root_path),), rules, (), ()))
        (root,) = stores.catalog.roots()
        # However long a busy machine takes to make the files, none has settled before time jumps.
        rules_of_scan = ScanRules(settle_ns=1000 * SECOND_NS)
        scout = Scout(stores.catalog, LocalFileSource(), rules_of_scan, clock, stores.store.routing)

        def scan() -> dict[str, int]:
            return {name: n for name, n in scout.scan(root).counts().items() if n}

        assert scan() == {"deferred": FILES + 1}
        added_us += 2_000_000_000
        assert scan() == {"new": FILES + 1}
        assert scan() == {"unchanged": FILES + 1}

        for name in names[:700]:
            (root_path / name).unlink()
        (root_path / names[1000]).write_bytes(b"changed")
        odd.rename(root_path / "renamed")
        added_us += 2_000_000_000
        assert scan() == {"new": 1, "changed": 1, "unchanged": FILES - 701}
        assert scan() == {"unchanged": FILES - 699, "deleted": 701}
        known = list(stores.catalog.locations(root.id))
        assert [x.path for x in known] == sorted(x.path for x in known)
        assert sum(x.deleted for x in known) == 701
        assert len(known) == FILES + 2
    finally:
        stores.close()
