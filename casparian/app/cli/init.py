"""`casparian init`: a directory that an engine can be started in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from casparian.domain.errors import ConfigurationError

CONFIGURATION = "casparian.toml"
PLUGINS, INBOX = "plugins", "inbox"
PLUGIN = "csv_table.py"


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Made where it does not exist yet.")
    ],
) -> None:
    """Make a directory to start with.

    It holds a commented casparian.toml, plugins/ and inbox/. Nothing that exists is
    overwritten.

    Example: casparian init flights && cd flights && casparian-engine run
    """
    standing = [n for n in (CONFIGURATION, PLUGINS, INBOX) if _exists(directory / n)]
    if standing:
        raise ConfigurationError(
            f"{directory} already holds {', '.join(standing)}, and init overwrites nothing: "
            "name another directory, or move them away."
        )
    try:
        _write(directory)
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or directory} cannot be made: {error.strerror}. Name a directory "
            "that you may write to."
        ) from error
    typer.echo(
        f"Made {directory / CONFIGURATION}, {directory / PLUGINS / PLUGIN} and "
        f"{directory / INBOX}/.\n"
        f"Put CSV files into {directory / INBOX}, then run\n"
        f"    casparian-engine run --drain --config {directory / CONFIGURATION}\n"
        f"and their rows are in {directory / 'output'}."
    )


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _write(directory: Path) -> None:
    from importlib import resources

    templates = resources.files("casparian.app.cli") / "templates"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / PLUGINS).mkdir()
    (directory / INBOX).mkdir()
    for name, source in (
        (f"{PLUGINS}/{PLUGIN}", templates / PLUGINS / PLUGIN),
        # Last: without its configuration a directory is not taken for a whole one.
        (CONFIGURATION, templates / CONFIGURATION),
    ):
        with (directory / name).open("xb") as file:
            file.write(source.read_bytes())
