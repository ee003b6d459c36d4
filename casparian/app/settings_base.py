"""What every table of the configuration file has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A table of the file: its keys are known, and no other is taken.

    What stands below a key is its meaning, which the reference reads from the source when it is
    made: for pydantic to do so at each import took as long as all else about the settings.
    """

    model_config = ConfigDict(extra="forbid")
