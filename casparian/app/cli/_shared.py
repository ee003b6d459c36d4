"""What both programs share: the --config option, exit codes, errors as one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import IntEnum
from importlib import metadata
from typing import Annotated

import typer

from casparian.domain.errors import (
    CasparianError,
    ConfigurationError,
    SchemaVersionError,
    UnavailableError,
)

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        help="The configuration file [default: $CASPARIAN_CONFIG or casparian.toml].",
        show_default=False,
    ),
]


class Exit(IntEnum):
    """Exit codes of both programs."""

    DONE = 0
    FAILURES = 1
    WRONG_USE = 2
    UNREACHABLE = 3


def show_version(value: bool) -> None:
    if value:
        typer.echo(f"casparian-flow {metadata.version('casparian-flow')}")
        raise typer.Exit(Exit.DONE)


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version", callback=show_version, is_eager=True, help="Show the version and exit."
    ),
]


def exit_code(error: CasparianError) -> Exit:
    match error:
        case ConfigurationError() | SchemaVersionError():
            return Exit.WRONG_USE
        case UnavailableError():
            return Exit.UNREACHABLE
        case _:
            return Exit.FAILURES


def run_program(app: Callable[[], object]) -> None:
    """Run a Typer app: errors raised on purpose become one line and an exit code."""
    try:
        app()
    except CasparianError as error:
        text = " ".join(str(error).split())
        print(f"error: {text}", file=sys.stderr)
        sys.exit(exit_code(error))
