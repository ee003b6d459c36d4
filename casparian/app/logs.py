"""Structured logs: on standard error, or in a file that is turned over when it is full."""

from __future__ import annotations

import io
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
    lines = stream if isinstance(stream, _FileLines) else _StreamLines(stream)
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
            lines.tell_missing,
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, lines)),
        cache_logger_on_first_use=False,
    )


class _StreamLines:
    """Writes lines to a stream. Where it takes none, as on a full disk or into a pipe that nobody
    reads any more, that ends nothing: the next line that it takes tells how many are missing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._missing = 0
        self._torn = False

    def tell_missing(self, logger: Any, method: str, said: MutableMapping[str, Any]) -> Any:
        if self._missing:
            said["lines_missing"] = self._missing
        return said

    def write(self, line: str) -> int:
        """A line is one write, so that several processes can append to one file."""
        try:
            self._write("\n" + line if self._torn else line)
            self._missing = 0
        except (OSError, ValueError):
            # On the disk, or of a stream that was closed.
            self._missing += 1
        return len(line)

    def _write(self, text: str) -> None:
        try:
            descriptor = self._stream.fileno()
        except io.UnsupportedOperation:
            self._stream.write(text)
            self._stream.flush()
            return
        # Not by way of the stream, which would keep what it cannot write, and write it later.
        data = text.encode(self._stream.encoding, self._stream.errors or "strict")
        while data:
            written = os.write(descriptor, data)
            data = data[written:]
            self._torn = bool(data)

    def flush(self) -> None:
        """Every line was flushed when it was written."""


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
    return cast(TextIO, _FileLines(handler))


class _FileLines:
    """As much of a text stream as logs need, over a handler that turns its file over."""

    def __init__(self, handler: RotatingFileHandler) -> None:
        self._handler = handler

    def tell_missing(self, logger: Any, method: str, said: MutableMapping[str, Any]) -> Any:
        """The handler itself tells standard error what it could not write."""
        return said

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
