"""A queue named `pigeon`: `[database] url = "pigeon://FILE"`, kept in an SQLite file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from casparian import Settings
from casparian.adapters.queue import QueueStores, open_sqlite
from casparian.domain.ports import Clock


class QueueSettings(BaseModel):
    """Where the pigeons live."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    suffix: str = Field(default=".pigeon", min_length=1)
    """What the database's file ends with."""


def open_queue(
    settings: Settings, clock: Clock, create: bool, *, own_settings: QueueSettings
) -> QueueStores:
    name = settings.database.url.removeprefix("pigeon://")
    return open_sqlite(str(settings.path(name)) + own_settings.suffix, clock, create)


open_queue.settings_model = QueueSettings  # type: ignore[attr-defined]
