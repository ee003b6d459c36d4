"""The end of an engine, for what has to be given up because of it."""

from __future__ import annotations

from casparian.domain.errors import CasparianError


class StoppingError(CasparianError):
    """The engine stops, and what was asked of it is not done."""
