"""A project in order, made by the commands that a user has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.integration.check.spoilt import Project


@pytest.fixture
def project(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    monkeypatch.delenv("CASPARIAN_CONFIG", raising=False)
    # Whether the compiled module is there is another test's question.
    monkeypatch.setattr("casparian._fastpath.IMPLEMENTATION", "cython")
    project = Project(tmp_path / "project", capsys)
    assert project.run("scan", "--config", str(project.config))[0] == 0
    yield project
    structlog.reset_defaults()
