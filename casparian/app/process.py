"""How a process that works through many files treats its memory and its threads."""

from __future__ import annotations

import gc
import sys


def calm_the_collector() -> None:
    """Modules and models live as long as the process: collecting through them again and again
    took a third of the engine's CPU time in a profile of many small files. What is garbage by
    now stays too: it is little, and to find it takes longer than to read the configuration."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()


def share_the_interpreter() -> None:
    """Threads that wait for disks give the interpreter up often, and by default wait 5 ms to
    get it back from one that computes: the publisher spent two thirds of its time so."""
    sys.setswitchinterval(0.0005)
