"""The layers in their order, put on by a sidecar around itself.

First what covers only the calling thread, before there is another; then the connection to the
engine is made; last the system call filter, under which no connection could be made any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from casparian.adapters.host.sandbox import landlock, limits, parent, privileges, reading, seccomp
from casparian.adapters.host.sandbox.hints import Hints
from casparian.adapters.host.sandbox.landlock import OWN, READ, WRITE, Access, Rules
from casparian.domain.sandbox import Grants, Layer, Missing, level_text

Mode = Literal["auto", "required", "off"]
THREADS = "/proc/self/task"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for. `read` is where its input lies, `port` the engine's, where it is TCP."""

    mode: Mode
    read: tuple[str, ...]
    grants: Grants
    scratch: str
    memory_mb: int
    port: int | None = None

    @staticmethod
    def of(told: Mapping[str, Any], scratch: str, memory_mb: int, port: int | None) -> Plan:
        grants = Grants.from_json(told["grants"])
        return Plan(told["mode"], tuple(told["read"]), grants, scratch, memory_mb, port)


@dataclass(slots=True)
class Sandbox:
    """The layers around this process, as far as they could be had."""

    plan: Plan
    missing: list[Missing] = field(default_factory=list)

    @property
    def off(self) -> bool:
        return self.plan.mode == "off"

    @property
    def level(self) -> str:
        return level_text([m.layer for m in self.missing], self.plan.grants, self.off)

    @property
    def refusal(self) -> str:
        """Why the plugin's code is not to be loaded here; empty where it may."""
        gone = [path for path in self.plan.grants.allow_read if not os.path.exists(path)]
        if gone and not self.off:
            return f"allow_read names {gone[0]}, which is not there"
        if self.missing and self.plan.mode == "required":
            return f'sandbox = "required", and there is no {self.missing[0]}'
        return ""

    def hints(self, plugin: str) -> Callable[[BaseException], str]:
        """What explains the errors of the plugin that this sandbox is for."""
        if self.off:
            return lambda error: ""
        return Hints(plugin, self.plan.grants, self.plan.scratch)

    def before_connecting(self) -> None:
        """To be called while this process has one thread."""
        self._put_on(Layer.PARENT, parent.die_with_parent)
        self._put_on(Layer.LIMITS, lambda: limits.take_limits(self.plan.memory_mb))
        if not parent.leads_its_group():
            self.missing.append(Missing(Layer.GROUP, "the process is in the group of another"))
        if self.off:
            return
        self._put_on(Layer.NO_NEW_PRIVILEGES, privileges.no_new_privileges)
        self._put_on(Layer.CAPABILITIES, privileges.drop_capabilities)
        self._put_on(Layer.LANDLOCK, self._restrict_files)

    def after_connecting(self) -> None:
        """To be called when no further connection is needed."""
        if not self.off:
            self._put_on(Layer.SECCOMP, self._filter_calls)

    def _put_on(self, layer: Layer, step: Callable[[], None]) -> None:
        try:
            step()
        except (OSError, ValueError) as error:
            self.missing.append(Missing(layer, str(error)))

    def _restrict_files(self) -> None:
        version = landlock.abi()
        if not version:
            raise OSError("the kernel has no Landlock, or it is switched off")
        threads = len(os.listdir(THREADS))
        landlock.restrict(self._rules(), version)
        if threads > 1:
            raise OSError(f"{threads - 1} threads ran before it, which it does not cover")
        if version < landlock.NEEDED_ABI:
            raise OSError(
                f"the kernel has version {version} of Landlock, which does not keep files that may "
                f"be read from being truncated; version {landlock.NEEDED_ABI} does"
            )

    def _rules(self) -> Rules:
        plan = self.plan
        # Held open, so that the kernel keeps the entry that the rule is about.
        os.open("/proc/self", os.O_PATH | os.O_CLOEXEC)
        readable = [*reading.SYSTEM, *reading.interpreter_paths(), *plan.read, "/proc/self"]
        readable += plan.grants.allow_read
        programs: tuple[tuple[str, Access], ...] = ()
        if plan.grants.allow_network:
            readable += reading.NETWORK
        if plan.grants.allow_subprocess:
            programs = tuple((path, READ | Access.EXECUTE) for path in reading.PROGRAMS)
        own = ((plan.scratch, OWN), (os.devnull, READ | WRITE))
        allowed = (*landlock.readable(readable), *own, *programs)
        return Rules(allowed, plan.port, plan.grants.allow_network)

    def _filter_calls(self) -> None:
        reason = seccomp.unavailable()
        if reason:
            raise OSError(reason)
        seccomp.install(self.plan.grants.allow_network, self.plan.grants.allow_subprocess)
