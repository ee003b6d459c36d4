"""`casparian check` on this machine: what was compiled, what is limited, who may read secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casparian.app.cli import _check_host
from casparian.app.cli._findings import Level
from tests.integration.check.spoilt import Project, only


def test_the_pure_twin_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian._fastpath.IMPLEMENTATION", "pure")
    monkeypatch.setattr("casparian._fastpath.WHY", "Install a compiler.")
    finding = only(project.check())
    assert finding["level"] == "warning"
    assert finding["remedy"] == "Install a compiler."


def test_plugins_inside_the_engine_are_warned_of(project: Project) -> None:
    project.configure("[plugin_host]", '[plugin_host]\nadapter = "inline"')
    assert "no limit holds them" in only(project.check())["what"]


def test_more_directories_than_can_be_watched(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "max_user_watches"
    limit.write_text("4\n")
    monkeypatch.setattr(_check_host, "WATCHES", limit)
    assert project.check() == []
    for name in "abcd":
        (project.directory / "inbox" / name).mkdir()
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("warning", "[scout] watch")
    assert "sysctl fs.inotify.max_user_watches=" in finding["remedy"]
    project.configure("[scout]", "[scout]\nwatch = false")
    assert project.check() == []


def test_a_limit_lower_than_the_configured_memory() -> None:
    (finding,) = _check_host._check_memory(2048, 256 << 20)
    assert finding.level is Level.WARNING
    assert "256 MiB" in finding.what
    assert list(_check_host._check_memory(2048, 4096 << 20)) == []


def test_a_sandbox_that_is_off(project: Project) -> None:
    project.configure("[plugins]", '[plugins]\nsandbox = "off"')
    finding = only(project.check())
    assert (finding["level"], finding["where"]) == ("warning", "[plugins] sandbox")
    assert "It is off" in finding["what"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('url = "postgresql+psycopg://me:hunter2@db/x"', True),
        ('url = "postgresql+psycopg://me:${SOME_PASSWORD}@db/x"', False),
        ('url = "postgresql+psycopg://me@db/x"', False),
    ],
)
def test_a_password_that_others_may_read(
    project: Project, monkeypatch: pytest.MonkeyPatch, line: str, told: bool
) -> None:
    monkeypatch.setenv("SOME_PASSWORD", "hunter2")
    project.add(f"[sinks.parquet]\n{line}")
    project.config.chmod(0o644)
    findings = [f for f in project.check() if f["where"] == "secrets"]
    assert bool(findings) is told
    if told:
        assert "sinks.parquet.url" in findings[0]["what"]
        assert "hunter2" not in json.dumps(findings)
    project.config.chmod(0o600)
    assert [f for f in project.check() if f["where"] == "secrets"] == []


def test_a_collectors_key_that_others_may_read(project: Project) -> None:
    project.add('[openlineage]\napi_key = "hunter2"')
    project.config.chmod(0o644)
    (finding,) = (f for f in project.check() if f["where"] == "secrets")
    assert "openlineage.api_key" in finding["what"]
    assert "hunter2" not in json.dumps(finding)
