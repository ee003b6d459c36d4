"""The sandbox of a sidecar as values: the layers there are, and what a plugin is granted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


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


class Layer(StrEnum):
    """What stands between a plugin and the machine; each holds something that no other does."""

    ENVIRONMENT = "environment"
    GROUP = "group"
    PARENT = "parent"
    LIMITS = "limits"
    NO_NEW_PRIVILEGES = "no_new_privileges"
    CAPABILITIES = "capabilities"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"


SWITCHED = (Layer.NO_NEW_PRIVILEGES, Layer.CAPABILITIES, Layer.LANDLOCK, Layer.SECCOMP)
"""The layers that `sandbox = "off"` leaves out; the others are how a sidecar is run at all."""

PROMISE = {
    Layer.ENVIRONMENT: "a cleared environment",
    Layer.GROUP: "a process group that ends as one",
    Layer.PARENT: "its end with the engine's",
    Layer.LIMITS: "limits of memory, CPU time and files",
    Layer.NO_NEW_PRIVILEGES: "no way to new privileges",
    Layer.CAPABILITIES: "none of root's capabilities",
    Layer.LANDLOCK: "its own files alone",
    Layer.SECCOMP: "no system calls but those it needs",
}
REMEDY = {
    Layer.ENVIRONMENT: "Report it: this is the engine's own doing.",
    Layer.GROUP: "Report it: this is the engine's own doing.",
    Layer.PARENT: "Run the engine on Linux.",
    Layer.LIMITS: "Let the engine's user set limits (ulimit), and give it enough memory.",
    Layer.NO_NEW_PRIVILEGES: "Use Linux 3.5 or newer.",
    Layer.CAPABILITIES: "Run the engine as a plain user.",
    Layer.LANDLOCK: "Use Linux 6.2 or newer, with landlock among its security modules (boot "
    "parameter lsm=); in a container, let it make these system calls.",
    Layer.SECCOMP: "Use a kernel with seccomp filters, on x86_64 or aarch64; in a container, let "
    "it make the system call seccomp.",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """A layer that this kernel, or this process, could not have."""

    layer: Layer
    reason: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.reason}"


def level_text(missing: Iterable[Layer], grants: Grants, off: bool = False) -> str:
    """In a few words: `full`, `full, with network`, `partial, without landlock`, `off`."""
    if off:
        return "off"
    gone = [layer.value for layer in Layer if layer in set(missing)]
    words = ["partial", f"without {' and '.join(gone)}"] if gone else ["full"]
    granted = [name for name, given in _granted(grants) if given]
    if granted:
        words.append(f"with {' and '.join(granted)}")
    return ", ".join(words)


def _granted(grants: Grants) -> Sequence[tuple[str, bool]]:
    return (
        ("files", bool(grants.allow_read)),
        ("network", grants.allow_network),
        ("subprocesses", grants.allow_subprocess),
    )
