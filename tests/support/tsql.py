"""The T-SQL that the queue's statements are, noted while contracts run over another database.

CASPARIAN_WRITE_GOLDEN=1 adds what is new to the golden file, for review.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, TextClause, event
from sqlalchemy.dialects import mssql, sqlite
from sqlalchemy.sql.dml import Update

from casparian.adapters.queue import statements
from casparian.adapters.queue.tables.jobs import processing_job

GOLDEN = Path(__file__).parent.parent / "golden" / "queue.mssql.sql"
LONGEST = 4000
SCHEMA = len("casparian_test_0123456789ab.")
TOKEN = "LOWER(REPLACE(CAST(NEWID() AS VARCHAR(36)), '-', ''))"
_DIALECT = mssql.dialect(paramstyle="qmark", deprecate_large_types=True)
_SEEN: set[Any] = set()


def golden() -> list[str]:
    return GOLDEN.read_text(encoding="utf-8").strip().split("\n\n")


def written(statement: Any) -> str:
    """A statement as the golden file has it, with lists of parameters cut short."""
    return _short(_text(statement))


def _text(statement: Any) -> str:
    text = " ".join(str(statement.compile(dialect=_DIALECT)).split())
    return text.replace("lower(hex(randomblob(?)))", TOKEN)


def _short(text: str) -> str:
    text = re.sub(r"TOP __\[POSTCOMPILE_\w+\]", "TOP 1", text)
    text = re.sub(r"__\[POSTCOMPILE_\w+\]", "?, ?", text)
    return re.sub(r"(\?, ){3,}\?(?=\))", "?, ?", text) if " IN (" in text else text


def length(statement: Any) -> int:
    """The most characters that a server is sent: names with their schema, lists filled."""
    text = _text(statement)
    tables = sum(text.count(f"{name}.") for name in processing_job.metadata.tables)
    lists = text.count("__[POSTCOMPILE")
    markers = text.count("?") + statements.CHUNK * min(lists, 1) + 4 * max(lists - 1, 0)
    return len(text) + tables * SCHEMA + markers * (len(", @P250") - 1)


def _of_other_databases(statement: Any) -> bool:
    """What each dialect writes in its own way: claims, and inserts of what is missing."""
    own = "casparian_only" in statement.get_execution_options()
    claims = isinstance(statement, Update) and bool(statement._returning)
    return own or claims or isinstance(statement, TextClause | sqlite.Insert)


@contextmanager
def noted() -> Iterator[None]:
    """Fails for a statement that the golden file does not have, or that is too long."""
    new: dict[str, int] = {}

    def note(statement: Any) -> None:
        key = statement._generate_cache_key()
        if key is not None and key.key not in _SEEN and not _of_other_databases(statement):
            _SEEN.add(key.key)
            new[written(statement)] = length(statement)

    def on_execute(_connection: Any, statement: Any, *_: Any) -> None:
        note(statement)

    def text_of(statement: Any, connection: Any) -> statements.Text:
        note(statement)
        return original(statement, connection)

    original, statements.text_of = statements.text_of, text_of
    event.listen(Engine, "before_execute", on_execute)
    try:
        yield
    finally:
        event.remove(Engine, "before_execute", on_execute)
        statements.text_of = original
    long = {text: size for text, size in new.items() if size >= LONGEST}
    assert not long, long
    unknown = new.keys() - set(golden() if GOLDEN.exists() else ())
    if unknown and os.environ.get("CASPARIAN_WRITE_GOLDEN"):
        known = golden() if GOLDEN.exists() else []
        GOLDEN.write_text("\n\n".join(sorted({*known, *unknown})) + "\n", encoding="utf-8")
        return
    assert not unknown, f"not in {GOLDEN.name}: {sorted(unknown)}"
