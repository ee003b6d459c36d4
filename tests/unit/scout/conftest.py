"""A root, a catalog and a scout for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.scout.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "root")
