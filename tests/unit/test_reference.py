"""The generated pages of docs/reference are what the code makes now."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian.app.reference import pages, tables
from casparian.app.reference.table_meanings import COLUMNS

DIRECTORY = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", pages())
def test_a_page_is_current(name: str) -> None:
    made = "run `python -m casparian.app.reference docs/reference`"
    assert (DIRECTORY / name).read_text(encoding="utf-8") == pages()[name](), made


def test_a_column_that_nobody_explained_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {k: v for k, v in COLUMNS["file_tag"].items() if k != "rule_id"}
    monkeypatch.setitem(COLUMNS, "file_tag", without)
    with pytest.raises(TypeError, match=r"column of file_tag \['rule_id'\]"):
        tables.reference()
