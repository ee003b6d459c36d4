"""A sandbox put on in a process of its own, and tried: which layers a sidecar of this engine has.

Run as a module it is that process. A layer counts when what it is there for is refused, not when
the kernel took the call.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from casparian.adapters.host.sandbox.layers import Plan, Sandbox
from casparian.domain.errors import ConfigurationError
from casparian.domain.sandbox import REMEDY, Grants, Layer, Missing

PATIENCE_S = 60.0


def missing_layers(memory_mb: int = 2048, python: str = sys.executable) -> list[Missing]:
    """Those that a process which this one starts cannot have, with the reason.

    Raises ConfigurationError where no such process comes to an end.
    """
    with tempfile.TemporaryDirectory(prefix="casparian-trial-") as scratch:
        try:
            ended = subprocess.run(
                [python, "-I", "-m", __name__, str(memory_mb)],
                cwd=scratch,
                env={"PATH": os.defpath, "HOME": scratch, "TMPDIR": scratch},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                start_new_session=True,
                timeout=PATIENCE_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigurationError(f"The sandbox cannot be tried: {error}.") from error
    if ended.returncode != 0:
        last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise ConfigurationError(f"A process in the sandbox of a sidecar does not start: {last}.")
    return [Missing(Layer(layer), reason) for layer, reason in json.loads(ended.stdout)]


def refuse_missing(missing: Sequence[Missing]) -> None:
    """Raise ConfigurationError for the first one, with what to do."""
    if missing:
        first = missing[0]
        raise ConfigurationError(
            f'[plugins] sandbox = "required", and this machine cannot give sidecars the layer '
            f'{first}. {REMEDY[first.layer]} Or write "auto", to run with the layers there are.'
        )


def main(memory_mb: int) -> int:
    """Prints the layers that do not hold, as JSON."""
    sandbox = Sandbox(Plan("auto", (), Grants(), os.getcwd(), memory_mb))
    sandbox.before_connecting()
    sandbox.after_connecting()
    known = {missing.layer for missing in sandbox.missing}
    for layer, holds in _TRIALS.items():
        if layer not in known and not holds(memory_mb):
            sandbox.missing.append(Missing(layer, "the kernel took it, and it does not hold"))
    print(json.dumps([(m.layer, m.reason) for m in sandbox.missing]))
    return 0


def _is_refused(step: Callable[[], object]) -> bool:
    try:
        step()
    except PermissionError:
        return True
    return False


def _status(name: str) -> int:
    """A number of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value, 16)
    return -1


_TRIALS: dict[Layer, Callable[[int], bool]] = {
    Layer.LIMITS: lambda mb: 0 < resource.getrlimit(resource.RLIMIT_DATA)[0] <= mb << 20,
    Layer.NO_NEW_PRIVILEGES: lambda mb: _status("NoNewPrivs") == 1,
    Layer.CAPABILITIES: lambda mb: _status("CapEff") == _status("CapPrm") == 0,
    Layer.LANDLOCK: lambda mb: _is_refused(lambda: os.listdir("/")),
    Layer.SECCOMP: lambda mb: _is_refused(socket.socket),
}

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
