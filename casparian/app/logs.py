"""Structured logs: on standard error, or in a file that is turned over when it is full."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import MutableMapping
from logging.handlers import RotatingFileHandler
from typing import Any, TextIO, cast

import structlog

from casparian.app.printable import printable
from casparian.app.settings_observing import LogSection
from casparian.domain.errors import ConfigurationError


def configure_logs(
    level: str = "info", as_json: bool | None = None, stream: TextIO | None = None
) -> None:
    """Send every log of this process to a stream, by default standard error.

    `as_json` None: JSON unless the stream is a terminal.
    """
    stream = stream or sys.stderr
    if as_json is None:
        as_json = not stream.isatty()
    # Colours only where somebody sees them: in a file or a pipe they are noise between the words.
    renderers: list[Any] = (
        [structlog.processors.JSONRenderer()]
        if as_json
        else [_without_controls, structlog.dev.ConsoleRenderer(colors=stream.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        # A line is one write, so that several processes can append to one file.
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _without_controls(logger: Any, method: str, said: MutableMapping[str, Any]) -> Any:
    """For people: names of files and what plugins say may hold what a terminal obeys."""
    for name, value in said.items():
        if isinstance(value, str):
            lines = value.split("\n") if name == "exception" else [value]
            said[name] = "\n".join(map(printable, lines))
    return said


def configure_logs_by(
    section: LogSection, base: str, level: str | None = None, as_json: bool | None = None
) -> None:
    """As `[log]` says; `level` and `as_json` beat it where they are given.

    `base` is the directory that the file's path is relative to. Raises ConfigurationError for a
    file that cannot be written.
    """
    if as_json is None and section.format:
        as_json = section.format == "json"
    configure_logs(level or section.level, as_json, log_file(section, base))


def log_file(section: LogSection, base: str) -> TextIO | None:
    """The file that `[log]` names, opened; None where it names none."""
    if not section.file:
        return None
    name = os.path.expanduser(section.file.replace("{pid}", str(os.getpid())))
    path = os.path.abspath(os.path.join(base, name))
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handler = RotatingFileHandler(
            path,
            maxBytes=max(1, int(section.max_mb * 1_000_000)),
            backupCount=section.backups,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except OSError as error:
        raise ConfigurationError(
            f"log.file: {path} cannot be written: {error.strerror}. Name a file that the engine's "
            "user may write, or leave the key out for standard error."
        ) from error
    return cast(TextIO, _Lines(handler))


class _Lines:
    """As much of a text stream as logs need, over a handler that turns its file over."""

    def __init__(self, handler: RotatingFileHandler) -> None:
        self._handler = handler

    def write(self, text: str) -> int:
        record: Any = logging.makeLogRecord({"msg": text.removesuffix("\n"), "args": ()})
        # `handle` holds the lock of the handler: threads log at the same time.
        self._handler.handle(record)
        return len(text)

    def flush(self) -> None:
        """Every line was flushed when it was written."""

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        self._handler.close()
