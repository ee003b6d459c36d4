"""Which ODBC driver for SQL Server this host has: for queue and sink, which ignore one another."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from casparian.domain.errors import ConfigurationError

BY_NAME = ("ODBC Driver 18 for SQL Server", "ODBC Driver 17 for SQL Server", "FreeTDS")
"""Drivers that the system may know, the best first."""


def find_driver(known: Sequence[str], url: str) -> str:
    """The file of Microsoft's driver, or a name that the system knows; `known` are all of those,
    `url` says where else a driver could be named. Raises ConfigurationError."""
    shipped = _shipped_driver()
    if shipped is not None:
        return str(shipped)
    for name in BY_NAME:
        if name in known:
            return name
    raise ConfigurationError(
        "There is no ODBC driver for SQL Server on this host. Run `pip install "
        "mssql-python-odbc`, which brings Microsoft's, or install Microsoft's package "
        f"msodbcsql18 or Debian's tdsodbc; or name one by driver= in {url}."
        + (f" The system knows {', '.join(known)}." if known else "")
    )


def _shipped_driver() -> Path | None:
    """The file that the package mssql-python-odbc has for this system, where it is installed."""
    package = find_spec("mssql_python_odbc")
    if package is None or package.origin is None:
        return None
    machine = platform.machine().lower()
    arch = {"amd64": "x86_64", "aarch64": "arm64"}.get(machine, machine)
    found = sorted(Path(package.origin).parent.glob(f"libs/linux/*/{arch}/lib/libmsodbcsql-*.so*"))
    system = {"rhel": "rhel", "fedora": "rhel", "suse": "suse", "alpine": "alpine"}
    release: Mapping[str, str] = {}
    with contextlib.suppress(OSError):
        release = platform.freedesktop_os_release()
    names = f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".split()
    wanted = next((system[name] for name in names if name in system), "debian_ubuntu")
    return next((path for path in found if path.parts[-4] == wanted), None)
