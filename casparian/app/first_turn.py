"""What an engine does at its start while another program holds the database: it waits its turn.

Later on everybody who works with the database has a way of his own to try again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count
from typing import TypeVar

import structlog

from casparian.domain.errors import BusyError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0

log = structlog.get_logger("casparian.engine")
T = TypeVar("T")


def when_free(step: Callable[[], T], stop: threading.Event) -> T:
    """What the step gives, which is begun again, after growing pauses, as long as somebody else
    holds what it needs. Raises BusyError when `stop` is set before that."""
    for nth in count():
        try:
            return step()
        except BusyError as error:
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**nth)
            log.warning("the start waits", error=str(error), again_in_s=pause_s)
            if stop.wait(pause_s):
                raise
    raise AssertionError("unreachable")
