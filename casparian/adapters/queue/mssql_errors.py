"""What SQL Server's errors mean, by their numbers."""

from __future__ import annotations

import re

import pyodbc
from sqlalchemy import Engine
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from casparian.domain.errors import BusyError, ConfigurationError, UnavailableError

LOCKED = {1205, 1222}
"""Deadlock victim, lock timeout."""
ENDED = {596, 6005}
"""A session that somebody ended, a server that shuts down."""
NOT_RECOVERED = "IMC0"
"""How the states begin of a connection that Microsoft's driver could not bring back by itself."""
NO_SNAPSHOTS = {3952, 3953, 3957}
ALREADY_THERE = {2714, 1913, 2627, 2601}
"""A table, an index, a row: of another program that makes the same."""
REFUSED = {229, 230, 262, 297, 300, 1088, 2760, 15151, 15247}
TOO_LONG = {2628, 8152, 1946}
PASSING = {
    *LOCKED,
    # A table that was altered while it was read.
    3961,
    # A log, a disk or memory that is full; a database that is read-only, or not up.
    9002, 1105, 701, 3906, 4060, 924, 18456,
    # A service that moves.
    40197, 40501, 40613, 49918,
}  # fmt: skip


def translated(error: DBAPIError, engine: Engine) -> Exception | None:
    """The error in the domain's words; None for one that is a bug."""
    said, number = _said(error), number_of(error)
    where = f"The queue database {engine.url!r}"
    if number in REFUSED:
        return ConfigurationError(
            f"{where} refuses what the engine needs: {said}. Grant the user of [database] url "
            "SELECT, INSERT, UPDATE, DELETE and ALTER on the schema of the queue, and CREATE "
            "TABLE in the database for the tables themselves."
        )
    if number in TOO_LONG:
        return ConfigurationError(
            f"{where} cannot keep a value: {said}. SQL Server can index paths below a source "
            "root of up to 1,600 bytes, patterns of 500 and tags of 200 characters: give what "
            "is longer a shorter name, or keep the queue in PostgreSQL or SQLite."
        )
    if number in (2627, 2601) and any(key in said for key in ("uq_routing_rule", "uq_file_tag")):
        return ConfigurationError(
            f"{where} takes two values for equal: {said}. To SQL Server, texts that differ "
            "only in spaces at their end are the same: change one of the two."
        )
    if "Can't open lib" in said or "IM002" in str(error.orig):
        return ConfigurationError(
            f"{where}: the ODBC driver cannot be loaded: {said}. Correct driver= in its url, "
            "or leave it out: then a driver that is there is found."
        )
    if number in LOCKED:
        return BusyError(
            f"{where} is held by another program: {said}. It is free again when that one has "
            "done its work, such as a migration, or has ended."
        )
    passing = isinstance(error.orig, pyodbc.OperationalError | pyodbc.InterfaceError)
    if passing or number in PASSING or error.connection_invalidated:
        return UnavailableError(
            f"{where} cannot be used: {said}. See that the server runs, can be reached from "
            "this host and has room, and that [database] url is right."
        )
    return None


def mark_lost(context: ExceptionContext) -> None:
    """Tell SQLAlchemy whether a connection can be used again, where a state alone misleads it."""
    cause = context.original_exception
    number, state = _number_in(cause), str(cause.args[0]) if cause.args else ""
    if number in LOCKED:
        # With the state of a timeout, all connections of the pool would be opened anew.
        context.is_disconnect = False
    elif number in ENDED or state.startswith(NOT_RECOVERED):
        context.is_disconnect = True


def number_of(error: DBAPIError) -> int | None:
    """The server's number of an error, which drivers write behind its text."""
    return _number_in(error.orig)


def _number_in(cause: BaseException | None) -> int | None:
    found = re.search(r"\((\d+)\) \(SQL", str(cause))
    return int(found[1]) if found else None


def _said(error: DBAPIError) -> str:
    """What the server or the driver said, without the names of those that passed it on."""
    told = error.orig.args[-1] if error.orig and error.orig.args else type(error.orig).__name__
    line = (str(told).strip().splitlines() or [""])[0]
    return re.sub(r"^(\[[^\]]*\]\s*)+", "", line).partition(" (SQL")[0].rstrip(". ")
