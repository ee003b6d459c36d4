"""Every error the engine raises on purpose, and the classes a failed attempt is filed under.

An error's text is a sentence for a person: what is wrong, where, and what to do.
"""

from __future__ import annotations

from enum import StrEnum


class CasparianError(Exception):
    """Base of all errors raised on purpose. Anything else that escapes is a bug."""


class ConfigurationError(CasparianError):
    """The configuration, or a name given on the command line, is wrong. Exit code 2."""


class UnavailableError(CasparianError):
    """A database or a peer cannot be reached. Exit code 3."""


class BusyError(UnavailableError):
    """A database can be reached, but somebody held a lock of it for longer than is waited."""


class SchemaVersionError(CasparianError):
    """The queue database has a schema this program does not know. Exit code 2."""


class ForeignInstallationError(CasparianError):
    """A target holds rows that another installation published."""


class IllegalTransitionError(CasparianError):
    """A state machine was asked for a step that its table does not have."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        super().__init__(f"{machine}: {event!r} is not possible in state {state!r}")
        self.machine, self.state, self.event = machine, state, event


class StaleTokenError(CasparianError):
    """A job was taken from this worker (lease over, cancelled): nothing was changed."""


class StaleScoutError(CasparianError):
    """Another scout has taken this one's place in a source root: nothing was changed."""


class ErrorClass(StrEnum):
    """Why an attempt ended; decides whether, and from which budget, it is tried again."""

    DATA = "DATA"
    SCHEMA_DRIFT = "SCHEMA_DRIFT"
    UNKNOWN_TOPIC = "UNKNOWN_TOPIC"
    PLUGIN = "PLUGIN"
    PROTOCOL = "PROTOCOL"
    QUARANTINED = "QUARANTINED"
    SOURCE_GONE = "SOURCE_GONE"
    SOURCE_CHANGED = "SOURCE_CHANGED"
    FOREIGN_ROWS = "FOREIGN_ROWS"
    CRASH = "CRASH"
    OOM = "OOM"
    TIMEOUT = "TIMEOUT"
    ENGINE = "ENGINE"
    INFRASTRUCTURE = "INFRASTRUCTURE"
    CONFLICT = "CONFLICT"


class JobError(CasparianError):
    """An attempt at a job failed.

    `error_class` decides what becomes of the job; see `casparian.domain.jobs.RetryPolicy`.
    """

    def __init__(self, error_class: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.message = message


def is_infrastructure(error: Exception) -> bool:
    """True where a disk, a database, a peer or the memory failed, and not what was done with it."""
    if isinstance(error, JobError):
        return error.error_class is ErrorClass.INFRASTRUCTURE
    return isinstance(error, OSError | UnavailableError | MemoryError)
