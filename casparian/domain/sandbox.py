"""What a plugin may do beyond its own: grants, given by configuration; nothing by default."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grants:
    """`allow_read` holds absolute paths; of a directory all below it is meant."""

    allow_read: tuple[str, ...] = ()
    allow_network: bool = False
    allow_subprocess: bool = False

    def to_json(self) -> str:
        """What is granted, as the plugin_config table keeps it: `{}` for nothing."""
        granted: dict[str, object] = {}
        if self.allow_read:
            granted["allow_read"] = list(self.allow_read)
        if self.allow_network:
            granted["allow_network"] = True
        if self.allow_subprocess:
            granted["allow_subprocess"] = True
        return json.dumps(granted, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> Grants:
        granted = json.loads(text)
        return Grants(
            tuple(granted.get("allow_read", ())),
            granted.get("allow_network", False),
            granted.get("allow_subprocess", False),
        )
