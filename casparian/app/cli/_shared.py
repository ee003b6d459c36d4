"""What both programs share: the options every command has, exit codes, errors as one line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from casparian.app.printable import printable
from casparian.domain.errors import (
    CasparianError,
    ConfigurationError,
    SchemaVersionError,
    UnavailableError,
)

if TYPE_CHECKING:
    from casparian.adapters.queue import QueueStores
    from casparian.app.settings import Settings

TRACEBACK = "CASPARIAN_TRACEBACK"

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help="The configuration file [default: $CASPARIAN_CONFIG, else casparian.toml].",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on standard output, and nothing else.")
]


class Exit(IntEnum):
    """Exit codes of both programs."""

    DONE = 0
    FAILURES = 1
    WRONG_USE = 2
    UNREACHABLE = 3


def show_version(value: bool) -> None:
    if value:
        from importlib import metadata

        typer.echo(f"casparian-flow {metadata.version('casparian-flow')}")
        raise typer.Exit(Exit.DONE)


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version", callback=show_version, is_eager=True, help="Show the version and exit."
    ),
]


def new_program(text: str) -> typer.Typer:
    """A program without commands yet, whose `--config` and `--version` stand before them."""
    app = typer.Typer(
        help=text,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def options(
        ctx: typer.Context, config: ConfigOption = None, version: VersionOption = False
    ) -> None:
        ctx.obj = config
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(Exit.WRONG_USE)

    return app


# --- what commands start with -----------------------------------------------------------------


def load_settings(ctx: typer.Context, config: str | None) -> Settings:
    """The settings of an operator's command; its logs are warnings, on standard error."""
    from casparian.app.logs import configure_logs
    from casparian.app.settings import Settings

    configure_logs("warning", as_json=False)
    return Settings.load(config or ctx.obj)


def open_stores(settings: Settings) -> QueueStores:
    """The queue as it is: a command that only reads makes no database.

    Raises UnavailableError where there is none, SchemaVersionError for an unknown schema.
    """
    from casparian.adapters.queue import wall_clock_us
    from casparian.app.registry import Registry

    return Registry.default().stores(settings, wall_clock_us, create=False)


# --- errors -----------------------------------------------------------------------------------


def exit_code(error: CasparianError) -> Exit:
    match error:
        case ConfigurationError() | SchemaVersionError():
            return Exit.WRONG_USE
        case UnavailableError():
            return Exit.UNREACHABLE
        case _:
            return Exit.FAILURES


def run_program(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> None:
    """Run a Typer app and exit. Every error becomes one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a character is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    command = typer.main.get_command(app)
    try:
        # An exit asked for by a command or by Typer comes back as the number.
        code: Any = command.main(
            None if arguments is None else list(arguments), prog_name=name, standalone_mode=False
        )
    except CasparianError as error:
        _say(str(error))
        sys.exit(exit_code(error))
    except Exception as error:
        if _is_wrong_use(error):
            _say(_wrong_use(error))
            sys.exit(Exit.WRONG_USE)
        if os.environ.get(TRACEBACK):
            raise
        _say(
            f"unexpected {type(error).__name__}: {error}. This is a mistake in the program: set "
            f"{TRACEBACK}=1 to see where, and report it."
        )
        sys.exit(Exit.FAILURES)
    sys.exit(code if isinstance(code, int) else Exit.DONE)


def _say(text: str) -> None:
    print(f"error: {printable(' '.join(text.split()))}", file=sys.stderr)


def _is_wrong_use(error: Exception) -> bool:
    """True for Typer's own errors, whose base class has no public name."""
    return callable(getattr(error, "format_message", None)) and hasattr(error, "exit_code")


def _wrong_use(error: Any) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "casparian"
    # Typer tells what its converters raise in the words of its validator.
    message = error.format_message().replace("Value error, ", "").rstrip(".")
    return f"{message}. See `{path} --help`."
