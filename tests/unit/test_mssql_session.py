"""How the SQL Server sink speaks to its driver; no server is needed for that."""

from __future__ import annotations

from typing import Any

import pytest

from casparian.adapters.sink import _mssql_session
from casparian.adapters.sink._mssql_promotion import promoting
from casparian.adapters.sink._mssql_session import DatabaseError
from casparian.adapters.sink._sql_pool import Pool
from casparian.adapters.sink._sql_promote import PromoteBusyError, PromoteFailedError


class Recorded:
    """A connection that notes what it is asked for."""

    rowcount = -1

    def __init__(self) -> None:
        self.asked: list[str] = []

    def cursor(self) -> Recorded:
        return self

    def getinfo(self, _: int) -> str:
        return "libmsodbcsql-18.so"

    def execute(self, statement: str, *values: object) -> None:
        self.asked.append(statement)

    def executemany(self, _statement: str, rows: list[tuple[object, ...]]) -> None:
        self.asked.append(f"{len(rows)} rows")

    def setinputsizes(self, _sizes: list[tuple[int, int, int]]) -> None:
        pass

    def commit(self) -> None:
        self.asked.append("commit")

    def close(self) -> None:
        self.asked.append("close")


def test_each_portion_of_rows_is_sent_with_nothing_that_could_be_rolled_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The driver asks what a table of the session looks like, and the error ends a transaction."""
    pyodbc = pytest.importorskip("pyodbc", exc_type=ImportError, reason="no pyodbc, or no libodbc")
    connection = Recorded()
    monkeypatch.setattr(pyodbc, "connect", lambda *_, **__: connection)
    monkeypatch.setattr(_mssql_session, "LOAD_ROWS", 2)
    session = _mssql_session.MssqlSession("")
    session.run("CREATE TABLE #a")
    connection.asked.clear()
    session.load("INSERT", [[1, 2, 3]], [int])
    assert connection.asked == ["commit", "2 rows", "commit", "1 rows", "close"]


@pytest.mark.parametrize(
    ("number", "error"),
    [(2627, PromoteBusyError), (2601, PromoteBusyError), (8114, PromoteFailedError)],
)
def test_who_meets_a_key_of_another_engine_tries_again(number: int, error: type[Exception]) -> None:
    session = Recorded()
    pool: Pool[Any] = Pool(lambda: session)
    with pytest.raises(error), promoting(pool, "sales"):
        raise DatabaseError("Violation of PRIMARY KEY constraint", number)
    assert session.asked == ["close"]
