"""Which ODBC driver is taken."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from casparian.adapters import odbc


def test_drivers_are_found_the_best_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["SQLite3", "FreeTDS"]
    monkeypatch.setattr(odbc, "find_spec", lambda name: None)
    assert odbc.find_driver(names, "url") == "FreeTDS"
    names.append("ODBC Driver 18 for SQL Server")
    assert odbc.find_driver(names, "url") == "ODBC Driver 18 for SQL Server"

    package = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(odbc, "find_spec", lambda name: package)
    monkeypatch.setattr(odbc.platform, "machine", lambda: "aarch64")
    release = {"ID": "rocky", "ID_LIKE": "rhel centos fedora"}
    monkeypatch.setattr(odbc.platform, "freedesktop_os_release", lambda: release)
    assert odbc.find_driver(names, "url") == "ODBC Driver 18 for SQL Server"
    for system in ("debian_ubuntu", "rhel"):
        for arch in ("arm64", "x86_64"):
            file = tmp_path / "libs" / "linux" / system / arch / "lib" / "libmsodbcsql-18.9.so.1.1"
            file.parent.mkdir(parents=True)
            file.touch()
    assert odbc.find_driver(names, "url") == str(
        tmp_path / "libs" / "linux" / "rhel" / "arm64" / "lib" / "libmsodbcsql-18.9.so.1.1"
    )
