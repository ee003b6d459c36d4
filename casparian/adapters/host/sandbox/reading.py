"""What every sidecar must read: its interpreter, the libraries, a little of the system."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import cache

SYSTEM = (
    "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib",
    "/usr/share/zoneinfo", "/usr/share/locale", "/etc/ld.so.cache", "/etc/localtime",
    "/etc/timezone", "/etc/mime.types", "/dev/urandom", "/dev/random",
    # How much memory and how many cores there are.
    "/proc/meminfo", "/proc/cpuinfo", "/proc/filesystems", "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu", "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage", "/sys/fs/cgroup",
)  # fmt: skip
NETWORK = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/gai.conf",
    "/etc/services", "/etc/protocols", "/etc/ssl", "/etc/pki", "/etc/ca-certificates",
    "/usr/share/ca-certificates", "/run/systemd/resolve",
)  # fmt: skip
"""Names of hosts, and certificates."""
PROGRAMS = (
    "/bin", "/usr/bin", "/usr/local/bin", "/lib", "/lib64", "/usr/lib", "/usr/lib64",
    os.path.dirname(sys.executable), os.path.dirname(os.path.realpath(sys.executable)),
)  # fmt: skip
"""What may be started, where programs may be; the loader of programs lies with the libraries."""
_OF_A_PREFIX = ("lib", "lib64", "pyvenv.cfg")


@cache
def interpreter_paths() -> tuple[str, ...]:
    """Of the interpreter that runs this, its environment, and packages installed for editing."""
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    paths = {os.path.join(prefix, name) for prefix in prefixes for name in _OF_A_PREFIX}
    paths |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {os.path.abspath(entry) for entry in sys.path if entry}
    own = os.path.abspath(sys.modules["casparian"].__path__[0])
    if os.path.dirname(own) not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        # Beside this package lies what is no library, as in a checkout.
        paths.discard(os.path.dirname(own))
    return tuple(sorted(paths | {own} | _edited_packages()))


def _edited_packages() -> set[str]:
    """Of packages that are imported from where they are written, each package alone."""
    found: set[str] = set()
    for name, module in list(sys.modules.items()):
        if name.startswith("__editable__"):
            found |= {str(path) for path in getattr(module, "MAPPING", {}).values()}
    return found
