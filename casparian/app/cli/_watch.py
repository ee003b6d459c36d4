"""Looking again and again: a screen that is drawn anew, or a line for every change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from casparian.app.cli._output import count, on_terminal

EVERY_S = 1.0

if TYPE_CHECKING:
    from casparian.app.cli.shapes import StatusTodayDocument


def watch(
    look: Callable[[], StatusTodayDocument], show: Callable[[StatusTodayDocument], None]
) -> NoReturn:
    """Until Ctrl-C. `look` gives the document of `casparian status`, `show` draws it."""
    before = ""
    while True:
        document = look()
        if on_terminal():
            from rich.console import Console

            Console().clear()
            show(document)
        elif (line := _line(document)) != before:
            at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            print(f"{at}\t{line}", flush=True)
            before = line
        time.sleep(EVERY_S)


def _line(document: StatusTodayDocument) -> str:
    jobs = ", ".join(f"{number} {status}" for status, number in document["jobs"].items())
    return f"{jobs}; {count(document['files'], 'file')}"
