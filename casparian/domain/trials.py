"""Trials: code that is not live yet, loaded in a sidecar that gets no job.

What can be loaded registers, as every sidecar does, and has then shown all that was asked of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from casparian.domain.endings import exit_reason
from casparian.domain.instructions import (
    Instruction,
    KillSidecar,
    RouterRules,
    StartSidecar,
    TrialEnded,
)
from casparian.domain.messages import Register
from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import SidecarExit


@dataclass(slots=True)
class Trial:
    """`late`: it was killed because it did not register in time."""

    ticket: int
    plugin: LivePlugin
    started_at: float
    late: bool = False


class Trials:
    """Those that run, by session."""

    def __init__(self, rules: RouterRules, new_session: Callable[[], str]) -> None:
        self._rules = rules
        self._new_session = new_session
        self.running: dict[str, Trial] = {}

    def start(self, ticket: int, plugin: LivePlugin, code: bytes, now: float) -> list[Instruction]:
        session = self._new_session()
        self.running[session] = Trial(ticket, plugin, now)
        return [StartSidecar(session, plugin, code)]

    def registered(self, message: Register) -> list[Instruction]:
        """A REG; nothing is said to one that is of no trial."""
        trial = self.running.pop(message.session, None)
        if trial is None:
            return []
        failure = message.failure
        if (message.plugin, message.plugin_hash) != (trial.plugin.name, trial.plugin.content_hash):
            failure = "it registered as another plugin, or with other code"
        return [
            TrialEnded(trial.ticket, failure),
            KillSidecar(message.session, "its trial is over", dismissed=True),
        ]

    def exited(self, exit_: SidecarExit) -> list[Instruction]:
        """A sidecar ended that had not registered, if it was a trial's."""
        trial = self.running.pop(exit_.session, None)
        if trial is None:
            return []
        _, reason = exit_reason(exit_, trial.plugin)
        if trial.late:
            reason = f"it could not be loaded within {self._rules.start_s:g} s"
        return [TrialEnded(trial.ticket, f"{reason}\n{exit_.tail}".strip())]

    def overdue(self, now: float) -> list[Instruction]:
        out: list[Instruction] = []
        for session, trial in self.running.items():
            if not trial.late and now - trial.started_at > self._rules.start_s:
                trial.late = True
                text = f"the new code of plugin {trial.plugin.name} did not load in time"
                out.append(KillSidecar(session, text))
        return out
