"""How many examples a property is tried with: few in a normal run, whose seeds differ, so that runs
add up; CASPARIAN_EXAMPLES times as many in a long one (`make properties`).
"""

from __future__ import annotations

import os

TIMES = int(os.environ.get("CASPARIAN_EXAMPLES", "1"))


def examples(count: int) -> int:
    return count * TIMES
