"""The table of workers: one row for each process of the engine, over SQL."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Update, delete, false, func, insert, or_, select, update
from sqlalchemy.exc import DBAPIError

from casparian.adapters.queue.common import FORGET_WORKER_US
from casparian.adapters.queue.database import Database
from casparian.adapters.queue.rows import dumps
from casparian.adapters.queue.schema import REVISIONS, VERSION, refuse_upgraded
from casparian.adapters.queue.tables.jobs import worker_node
from casparian.domain.errors import UnavailableError
from casparian.domain.ports import WorkerNode

_node = worker_node.c


ALL_WORKERS = select(worker_node).order_by(_node.hostname, _node.pid)


_KNOWN = select(func.max(VERSION.c.version_num)).scalar_subquery() == REVISIONS[-1]


def beats_again(node: WorkerNode, now_us: int) -> Update:
    """The heartbeat of a process that is listed, in a database that nobody has upgraded."""
    values = _node_values(node) | {"heartbeat_at_us": now_us}
    return update(worker_node).where(_node.id == node.id, _KNOWN).values(**values)


def enlist(connection: Connection, node: WorkerNode, now_us: int) -> None:
    """The first heartbeat of a process, which takes the row of an earlier one of its pid.

    Raises SchemaVersionError where the database was upgraded since it was opened.
    """
    refuse_upgraded(connection)
    same_pid = (_node.hostname == node.hostname) & (_node.pid == node.pid)
    silent = _node.heartbeat_at_us <= now_us - FORGET_WORKER_US
    connection.execute(delete(worker_node).where(or_(same_pid, silent)))
    values = _node_values(node) | {"heartbeat_at_us": now_us}
    connection.execute(insert(worker_node).values(**values))


def read_workers(connection: Connection) -> list[WorkerNode]:
    return [node_of(row) for row in connection.execute(ALL_WORKERS)]


def obstacle(database: Database) -> str:
    """Why no heartbeat can be written now, "" where one can. Changes nothing."""
    try:
        with database.engine.connect() as connection:
            database.dialect.begin_trial(connection)
            connection.execute(update(worker_node).where(false()).values(pid=0))
            connection.rollback()
    except DBAPIError as error:
        return str(database.dialect.translate(error, database.engine) or error.orig)
    except UnavailableError as error:
        return str(error)
    return ""


def _node_values(node: WorkerNode) -> dict[str, Any]:
    return {
        "hostname": node.hostname,
        "pid": node.pid,
        "id": node.id,
        "host_key": node.host_key,
        "pid_started": node.pid_started,
        "roles": dumps(node.roles),
        "endpoint": node.endpoint,
        "versions": dumps(node.versions),
        "git_hash": node.git_hash,
        "user_name": node.user,
        "started_at_us": node.started_at_us,
        "load": dumps(node.load),
        "stopped": node.stopped,
    }


def node_of(row: Any) -> WorkerNode:
    return WorkerNode(
        id=row.id,
        hostname=row.hostname,
        pid=row.pid,
        host_key=row.host_key,
        pid_started=row.pid_started,
        roles=tuple(json.loads(row.roles)),
        endpoint=row.endpoint,
        versions=json.loads(row.versions),
        git_hash=row.git_hash,
        user=row.user_name,
        started_at_us=row.started_at_us,
        heartbeat_at_us=row.heartbeat_at_us,
        load=json.loads(row.load),
        stopped=row.stopped,
    )
