"""A place for the archives of one test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.unpacking.archives import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
