"""Fixtures that every test may use. What one kind of test needs stands in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("casparian.testing")
# How long an example takes depends on what else the machine does.
settings.register_profile("casparian", deadline=None)
settings.load_profile("casparian")


@pytest.fixture
def temp_test_dir(tmp_path: Path) -> Path:
    """An empty directory of this test alone."""
    return tmp_path
