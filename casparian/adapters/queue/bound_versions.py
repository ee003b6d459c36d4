"""Versions whose id is known before they are: of files that adopted rows were made of."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select

from casparian.adapters.queue.statements import chunks
from casparian.adapters.queue.tables.installation import adopted_version

_bound = adopted_version.c


def take_bound(connection: Connection, contents: Mapping[int, str]) -> dict[int, int]:
    """The ids that new versions of these locations, by content, are to have; those without one
    are left out. The next version of each is an ordinary one, whatever came of this."""
    found: dict[int, int] = {}
    for ids in chunks(list(contents)):
        mine = _bound.location_id.in_(list(ids))
        rows = connection.execute(select(adopted_version).where(mine)).all()
        if rows:
            connection.execute(delete(adopted_version).where(mine))
        for row in rows:
            if row.content_hash in (None, contents[row.location_id]):
                found[row.location_id] = row.version_id
    return found
