"""The reference of the configuration is the settings model, in words."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from casparian.app.config_reference import reference
from casparian.app.settings import Settings

FILE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"


def test_the_file_is_current() -> None:
    made = "casparian config-reference > docs/reference/configuration.md"
    assert FILE.read_text(encoding="utf-8") == reference(), f"out of date; run {made}"


def test_every_table_and_key_is_there() -> None:
    text = reference()
    for heading in ("[database]", "[[source_root]]", "[[rule]]", "[plugin.NAME.topics.TOPIC]"):
        assert f"## `{heading}`" in text
    for key in ("url", "settle_s", "verify", "pattern", "tags", "mode"):
        assert f"| `{key}` |" in text


def test_defaults_and_limits_are_the_models_own() -> None:
    rows = {row.split("`")[1]: row for row in reference().splitlines() if row.startswith("| `")}
    assert "| `30.0` |" in rows["lease_s"]
    assert "above 0" in rows["lease_s"]
    assert "**required**" in rows["pattern"]
    assert '`"replace"` or `"append"`' in rows["mode"]


def test_the_environment_overrides_as_the_reference_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASPARIAN_SCOUT__INTERVAL_S", "1")
    monkeypatch.setenv("CASPARIAN_SOURCE_ROOT", '[{"path": "elsewhere"}]')
    document = tomllib.loads('[scout]\ninterval_s = 9\n[[source_root]]\npath = "inbox"\n')
    settings = Settings.of(document, tmp_path)
    assert settings.scout.interval_s == 1
    assert [root.path for root in settings.source_root] == ["elsewhere"]
