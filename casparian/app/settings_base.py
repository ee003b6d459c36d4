"""What every table of the configuration file has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A table of the file: its keys are known, and no other is taken."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
