"""What SQL Server's adapter does before and beside a server: drivers, types, errors, looks."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import BigInteger, LargeBinary
from sqlalchemy.exc import DBAPIError

from casparian.adapters import odbc
from casparian.adapters.queue import open_url
from casparian.adapters.queue.looks import Looks
from casparian.domain.errors import BusyError, CasparianError, ConfigurationError, UnavailableError

URL = "mssql+pyodbc://ann:s3cret@127.0.0.1:1/station?driver=none"


@pytest.fixture
def engine() -> ModuleType:
    pytest.importorskip("pyodbc", exc_type=ImportError, reason="no pyodbc, or no libodbc")
    from casparian.adapters.queue import mssql_engine

    return mssql_engine


# --- looking for work -------------------------------------------------------------------


class Time:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def looked(looks: Looks, time: Time, seconds: float, every_s: float = 0.1) -> int:
    """How often others' work was said to be there, asked for at this interval."""
    said, end = 0, time.now_s + seconds
    while time.now_s < end:
        said += looks.changed()
        time.now_s += every_s
    return said


def test_who_waits_for_work_asks_the_database_once_a_second() -> None:
    time, asked = Time(), []
    looks = Looks(lambda: asked.append(time.now_s), (), time)
    # Ten times a second, by four threads.
    looked(looks, time, 10, every_s=0.025)
    asked.clear()
    looked(looks, time, 100, every_s=0.025)
    assert 90 <= len(asked) <= 101


def test_work_of_others_is_seen_and_then_looked_for_more_often() -> None:
    time, jobs, asked = Time(), [1], []

    def look() -> int:
        asked.append(time.now_s)
        return jobs[0]

    looks = Looks(look, (), time)
    assert looked(looks, time, 20) == 1
    jobs[0] = 2
    assert looked(looks, time, 1.1) == 1
    asked.clear()
    jobs[0] = 3
    looked(looks, time, 1)
    assert len(asked) >= 2


def test_a_look_that_fails_is_no_news() -> None:
    time, broken = Time(), []

    def look() -> int:
        if broken:
            raise OSError
        return 1

    looks = Looks(look, (OSError,), time)
    assert looked(looks, time, 5) == 1
    broken.append(True)
    assert looked(looks, time, 5) == 0
    broken.clear()
    assert looked(looks, time, 5) == 0


# --- drivers and urls -------------------------------------------------------------------


def test_without_a_driver_it_is_said_how_to_get_one(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.pyodbc, "drivers", lambda: ["SQLite3"])
    monkeypatch.setattr(odbc, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="mssql-python-odbc") as error:
        open_url(URL.partition("?")[0])
    assert "tdsodbc" in str(error.value)
    assert "The system knows SQLite3." in str(error.value)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("mssql+pyodbc://ann:s3cret@host:port/station", "cannot be read"),
        ("mssql+pyodbc://ann:s3cret@host", "no database"),
        (f"{URL}&schema=a&schema=b", "several schemas"),
    ],
)
def test_urls_that_cannot_be_meant(engine: Any, url: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word) as error:
        open_url(url)
    assert "s3cret" not in str(error.value)
    assert engine.EXAMPLE in str(error.value)


def test_a_driver_that_is_not_there(engine: Any) -> None:
    with pytest.raises(ConfigurationError, match="driver= in its url") as error:
        open_url(URL)
    assert "s3cret" not in str(error.value)


def test_messages_tell_the_schema_and_no_secret(engine: Any) -> None:
    made = engine.mssql_engine(URL + "&schema=cas&PWD2=s3cret")
    assert engine.schema_of(made) == "cas"
    assert "s3cret" not in repr(made.url)
    assert "schema=cas" in repr(made.url)


# --- parameters -------------------------------------------------------------------------


def test_nulls_are_written_out(engine: Any) -> None:
    assert engine._without_nulls("SET a=?, b=? WHERE c = ?", (None, 1, 2)) == (
        "SET a=NULL, b=? WHERE c = ?",
        (1, 2),
    )
    whole = "SET a=?, b=? WHERE c = ?"
    assert engine._without_nulls(whole, (3, 1, 2)) == (whole, (3, 1, 2))


def test_every_value_has_one_type_whatever_its_size(engine: Any) -> None:
    pyodbc = engine.pyodbc
    assert engine._size([1], None)[0] == pyodbc.SQL_BIGINT
    assert engine._size([True], None)[0] == pyodbc.SQL_BIT
    assert engine._size([2.5], None)[0] == pyodbc.SQL_DOUBLE
    assert engine._size(["x"], None) == engine._size(["x" * 2000], None)
    assert engine._size(["x", "x" * 2001], None) == (pyodbc.SQL_WVARCHAR, 0, 0)
    assert engine._size([b"x"], None) == engine._size([bytearray(8000)], None)
    assert engine._size([b"x" * 8001], None) == (pyodbc.SQL_VARBINARY, 0, 0)
    assert engine._size([None], BigInteger())[0] == pyodbc.SQL_BIGINT
    assert engine._size([None], LargeBinary())[0] == pyodbc.SQL_VARBINARY


# --- errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "said", "kind", "word"),
    [
        (1205, "Transaction was deadlocked", BusyError, "held by another program: Transaction"),
        (
            1222,
            "Lock request time out period exceeded.",
            BusyError,
            "held by another program: Lock",
        ),
        (9002, "The transaction log is full", UnavailableError, "has room"),
        (229, "The INSERT permission was denied", ConfigurationError, "Grant the user"),
        (2628, "String or binary data would be truncated", ConfigurationError, "1,600 bytes"),
        (2627, "Violation of UNIQUE KEY 'uq_file_tag_x'", ConfigurationError, "spaces at their"),
        (2627, "Violation of PRIMARY KEY 'pk_processing_job'", None, ""),
        (207, "Invalid column name 'mood'.", None, ""),
    ],
)
def test_errors_in_the_words_of_the_engine(
    engine: Any, number: int, said: str, kind: type[CasparianError] | None, word: str
) -> None:
    from casparian.adapters.queue import mssql_errors

    told = f"[42000] [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]{said} ({number}) (SQL"
    cause = engine.pyodbc.ProgrammingError("42000", f"{told}ExecDirectW)")
    error = DBAPIError("SELECT 1", None, cause)
    assert mssql_errors.number_of(error) == number
    known = mssql_errors.translated(error, engine.mssql_engine(URL))
    if kind is None:
        assert known is None
        return
    assert type(known) is kind
    with pytest.raises(kind, match=word):
        raise known
    assert "s3cret" not in str(known)
    assert "Microsoft" not in str(known)


@pytest.mark.parametrize(
    ("state", "said", "taken", "lost"),
    [
        ("HYT00", "Lock request time out period exceeded. (1222)", True, False),
        ("40001", "Transaction was deadlocked. (1205)", False, False),
        ("IMC06", "The connection is broken and recovery is not possible. (0)", False, True),
        ("HY000", "The session is in the kill state. (596)", False, True),
        ("HYT00", "Query timeout expired (0)", True, True),
        ("42000", "Invalid column name 'mood'. (207)", False, False),
    ],
)
def test_after_which_errors_a_connection_is_not_used_again(
    engine: Any, state: str, said: str, taken: bool, lost: bool
) -> None:
    """`taken`: what SQLAlchemy takes the connection for, by the state alone."""
    from casparian.adapters.queue import mssql_errors

    cause = engine.pyodbc.Error(state, f"[{state}] [Microsoft][SQL Server]{said} (SQLExecDirectW)")
    dialect = engine.mssql_engine(URL).dialect
    assert dialect.is_disconnect(cause, None, None) is taken
    context: Any = SimpleNamespace(original_exception=cause, is_disconnect=taken)
    mssql_errors.mark_lost(context)
    assert context.is_disconnect is lost
