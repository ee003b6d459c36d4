"""Connections of a pool are tried before they are used, where they were not used a moment ago."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from casparian.adapters.queue.database import WITHOUT_PING


def ping_after(rest_s: float, engine: Engine, driver_error: type[Exception]) -> None:
    """What `pool_pre_ping` does, but for connections that rested for no longer than `rest_s`.
    One that is lost fails with a `driver_error`."""

    def on_checkin(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    def on_checkout(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        resting_s = time.monotonic() - record.info.get("used_at", time.monotonic())
        if resting_s < rest_s or WITHOUT_PING.get():
            return
        try:
            engine.dialect.do_ping(connection)
        except driver_error as error:
            # The pool lets go of all that it has, and tries a new one.
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", on_checkin)
    event.listen(engine, "checkout", on_checkout)
