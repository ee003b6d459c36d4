"""Versions whose id is known before they are: of files that adopted rows were made of."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select

from casparian.adapters.queue.tables import adopted_version

_bound = adopted_version.c


def take_bound(connection: Connection, contents: Mapping[int, str]) -> dict[int, int]:
    """The ids that new versions of these locations, by content, are to have; those without one
    are left out. The next version of each is an ordinary one, whatever came of this."""
    mine = _bound.location_id.in_(list(contents))
    rows = connection.execute(select(adopted_version).where(mine)).all()
    if not rows:
        return {}
    connection.execute(delete(adopted_version).where(mine))
    return {
        row.location_id: row.version_id
        for row in rows
        if row.content_hash in (None, contents[row.location_id])
    }
