"""`casparian-engine`: the daemon."""

from __future__ import annotations

import gc
import signal
from collections.abc import Sequence
from enum import StrEnum
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._lean import without_what_is_never_used
from casparian.app.cli._shared import ConfigOption, Exit, new_program, run_program
from casparian.app.process import calm_the_collector, share_the_interpreter

if TYPE_CHECKING:
    from casparian.app.results import DrainResult
    from casparian.app.settings import Settings

app = new_program("Watches directories, runs plugins on new file versions, publishes their rows.")


class Role(StrEnum):
    SCOUT = "scout"
    WORKER = "worker"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@app.command()
def run(
    ctx: typer.Context,
    config: ConfigOption = None,
    drain: Annotated[
        bool, typer.Option("--drain", help="Work until nothing is left to do, then exit.")
    ] = False,
    role: Annotated[
        Role | None,
        typer.Option("--role", metavar="|".join(Role), help="One half only [default: both]."),
    ] = None,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(
            "--log-level",
            metavar="|".join(LogLevel),
            help="The least that is logged [default: as [log] says].",
        ),
    ] = None,
    log_json: Annotated[
        bool | None,
        typer.Option("--log-json/--log-text", help="Logs as JSON [default: as [log] says]."),
    ] = None,
) -> None:
    """Run until SIGTERM, SIGINT or SIGHUP, or with --drain until all is done.

    Running jobs are finished first; a second signal ends at once, and the next engine runs
    them again.

    Example: casparian-engine run --drain --config casparian.toml
    """
    # What is loaded stays: looking through it for garbage is a fifth of the time to load it.
    gc.disable()
    from casparian.adapters.host.freed_memory import keep_freed_memory

    keep_freed_memory()
    from casparian.adapters.host.forking import discard_ahead
    from casparian.app.ahead import start_sidecars_ahead
    from casparian.app.settings import Settings

    settings = Settings.load(config or ctx.obj)
    try:
        if role is not Role.SCOUT:
            start_sidecars_ahead(settings, drain)
        result = _run(settings, drain, role, log_level, log_json)
    finally:
        discard_ahead()
    if result is not None and not result.ok:
        raise typer.Exit(Exit.FAILURES)


def _run(
    settings: Settings,
    drain: bool,
    role: Role | None,
    log_level: LogLevel | None,
    log_json: bool | None,
) -> DrainResult | None:
    with without_what_is_never_used():
        from casparian.app.cli._systemd import notify
        from casparian.app.engine import BOTH, Engine
        from casparian.app.logs import configure_logs_by

    level = log_level.value if log_level is not None else None
    configure_logs_by(settings.log, str(settings.base), level, log_json)
    calm_the_collector()
    share_the_interpreter()
    roles = (role.value,) if role is not None else BOTH
    engine = Engine(settings, roles)
    engine.container.observing().on_phase = notify

    def end(number: int, frame: FrameType | None) -> None:
        engine.stop()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, end)
    try:
        if not drain:
            engine.run()
            return None
        result = engine.drain()
    finally:
        engine.close()
    _report(result)
    return result


def _report(result: DrainResult) -> None:
    import structlog

    log = structlog.get_logger("casparian.engine")
    for failure in result.failures:
        log.error(
            "not published",
            path=failure.path,
            job=failure.id,
            status=failure.status,
            plugin=failure.plugin,
            error=failure.message,
        )
    for path, reason in result.unsettled.items():
        log.error("never settled", path=path, reason=reason)
    for plugin, reason in result.not_run.items():
        log.error("plugin not run", plugin=plugin, reason=reason)
    log.info("drained", **result.jobs, failures=len(result.failures))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; `arguments` are those of the process where none are given."""
    run_program(app, "casparian-engine", arguments)


if __name__ == "__main__":
    main()
