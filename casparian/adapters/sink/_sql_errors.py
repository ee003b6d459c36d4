"""What a SQL sink's connection says when a statement fails, and what that means to who works."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from casparian.domain.errors import ErrorClass, JobError, UnavailableError


class StatementError(Exception):
    """A statement failed, and would fail again. Each database has a class of its own."""

    @property
    def lacks_right(self) -> bool:
        raise NotImplementedError


class PassingError(Exception):
    """The server is away, or someone else in the way: worth another try."""


@contextlib.contextmanager
def reading(doing: str) -> Iterator[None]:
    """For looking: whatever fails is the database's."""
    try:
        yield
    except (PassingError, StatementError) as error:
        raise UnavailableError(f"{doing} failed: {error}. See that the server runs.") from error


@contextlib.contextmanager
def staging(doing: str) -> Iterator[None]:
    """For the work of one job: it is tried again for want of a database, and fails for good
    where the database does not take what it is given."""
    try:
        yield
    except PassingError as error:
        raise JobError(
            ErrorClass.INFRASTRUCTURE, f"{doing} failed: {error}. See that the server runs."
        ) from error
    except StatementError as error:
        kind = ErrorClass.INFRASTRUCTURE if error.lacks_right else ErrorClass.DATA
        raise JobError(kind, f"{doing} failed: {error}.") from error
