"""Libraries without what they bring along where it is installed, and this program never uses.

structlog loads Rich, for tracebacks that our logs render by themselves; the injector loads
pydantic-settings and YAML, for a source of configuration that is not ours. That would be a fifth
of what an engine loads. For a program's own process: a process that embeds an engine may want
Rich for itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NEVER_USED = ("pydantic_settings", "rich", "yaml")


@contextmanager
def without_what_is_never_used() -> Iterator[None]:
    """Within it, importing one of NEVER_USED fails as if it were not installed."""
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in NEVER_USED if name not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
