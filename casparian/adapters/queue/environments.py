"""What plugins with packages of their own ran in, over SQL: one row for each set of packages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from casparian.adapters.queue.statements import chunks
from casparian.adapters.queue.tables.plugins import plugin_environment, plugin_manifest
from casparian.domain.requirements import Environment

_code, _environment = plugin_manifest.c, plugin_environment.c


def is_noted(
    connection: Connection, plugin: str, content_hash: str, environment: Environment
) -> bool:
    same = _environment.digest == _code.environment
    mine = (_code.plugin_name == plugin, _code.content_hash == content_hash)
    noted = select(_code.id).join(plugin_environment, same)
    found = noted.where(*mine, _code.environment == environment.digest)
    return connection.execute(found).first() is not None


def note_environment(
    connection: Connection, plugin: str, content_hash: str, environment: Environment, now_us: int
) -> None:
    """What this code runs in from now on."""
    digest = environment.digest
    known = select(_environment.id).where(_environment.digest == digest)
    if connection.execute(known).first() is None:
        connection.execute(
            insert(plugin_environment).values(
                digest=digest,
                directory=environment.key,
                python=environment.python,
                packages="\n".join(environment.packages),
                noted_at_us=now_us,
            )
        )
    other = or_(_code.environment.is_(None), _code.environment != digest)
    mine = (_code.plugin_name == plugin, _code.content_hash == content_hash)
    connection.execute(update(plugin_manifest).where(*mine, other).values(environment=digest))


def environments_of(
    connection: Connection, digests: Iterable[str | None]
) -> dict[str | None, Environment]:
    """Those of these digests, by digest."""
    found: dict[str | None, Environment] = {}
    for part in chunks(sorted({one for one in digests if one is not None})):
        for row in connection.execute(
            select(plugin_environment).where(_environment.digest.in_(part))
        ):
            found[row.digest] = environment_of(row)
    return found


def environments_in(connection: Connection, directory: str) -> list[Environment]:
    """Every one that an environment of this name was found to be, oldest first."""
    mine = select(plugin_environment).where(_environment.directory == directory)
    return [environment_of(row) for row in connection.execute(mine.order_by(_environment.id))]


def environment_of(row: Row[Any]) -> Environment:
    return Environment(row.directory, row.python, tuple(row.packages.splitlines()))
