"""What one call of `promote` has yet to make durable, and to move out of the way."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from casparian.domain.publish import StagingKey


@dataclass
class PromoteRound:
    touched: dict[str, None] = field(default_factory=dict)
    displaced: list[tuple[str, StagingKey]] = field(default_factory=list)

    def touch(self, directories: Iterable[str]) -> None:
        self.touched.update(dict.fromkeys(directories))

    def still_there(self) -> list[str]:
        """The directories to sync; a staging renamed meanwhile is its new holder's."""
        return [path for path in self.touched if os.path.isdir(path)]
