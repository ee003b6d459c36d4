"""What the author of a sink needs besides the port: rows in a target's columns, names, receipts.

For sinks of other packages too; the rest of this package is its own affair.
"""

from __future__ import annotations

from casparian.adapters.sink._errors import disk_error, failed, is_passing, taken_over, withheld
from casparian.adapters.sink._schema import Shaper, reshape
from casparian.adapters.sink._uri import absolute, after_scheme, topic_target_name

__all__ = [
    "Shaper",
    "absolute",
    "after_scheme",
    "disk_error",
    "failed",
    "is_passing",
    "reshape",
    "taken_over",
    "topic_target_name",
    "withheld",
]
