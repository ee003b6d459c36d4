"""A sidecar ends with its engine, and is one group with all that it starts."""

from __future__ import annotations

import os
import signal

from casparian.adapters.host.sandbox.libc import prctl

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Raises OSError. Who is gone already is not noticed: the parent is to be looked at after."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def leads_its_group() -> bool:
    return os.getpgid(0) == os.getpid()
