"""`casparian-engine`: the daemon."""

from __future__ import annotations

import signal
from enum import StrEnum
from types import FrameType
from typing import Annotated

import structlog
import typer

from casparian.app.cli._shared import ConfigOption, Exit, VersionOption, run_program
from casparian.app.engine import BOTH, SCOUT, WORKER, DrainResult, Engine
from casparian.app.logs import configure_logs
from casparian.app.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Watches directories, runs plugins on new file versions, publishes their rows.",
)
log = structlog.get_logger("casparian.engine")


class Role(StrEnum):
    SCOUT = SCOUT
    WORKER = WORKER


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@app.callback()
def options(
    ctx: typer.Context, config: ConfigOption = None, version: VersionOption = False
) -> None:
    """Options that may stand before the command."""
    ctx.obj = config


@app.command()
def run(
    ctx: typer.Context,
    config: ConfigOption = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="Work until nothing is left to do, then exit.")
    ] = False,
    role: Annotated[
        Role | None, typer.Option("--role", help="One half only [default: both].")
    ] = None,
    log_level: Annotated[LogLevel, typer.Option("--log-level")] = LogLevel.INFO,
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json/--log-text", help="Logs as JSON [default: unless on a terminal]."),
    ] = None,
) -> None:
    """Run until SIGTERM or SIGINT, or with --drain until all is done.

    Example: casparian-engine run --drain --config casparian.toml
    """
    configure_logs(log_level.value, log_json)
    roles = (role.value,) if role is not None else BOTH
    engine = Engine(Settings.load(config or ctx.obj), roles)

    def end(number: int, frame: FrameType | None) -> None:
        engine.stop()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        if not drain:
            engine.run()
            return
        result = engine.drain()
    finally:
        engine.close()
    _report(result)
    if not result.ok:
        raise typer.Exit(Exit.FAILURES)


def _report(result: DrainResult) -> None:
    for failure in result.failures:
        error = failure.get("error") or {}
        log.error(
            "not published",
            path=failure["path"],
            job=failure["id"],
            status=failure["status"],
            plugin=failure["plugin"],
            error=error.get("message"),
        )
    for path, reason in result.unsettled.items():
        log.error("never settled", path=path, reason=reason)
    log.info("drained", **result.jobs, failures=len(result.failures))


def main() -> None:
    """Entry point."""
    run_program(app)


if __name__ == "__main__":
    main()
