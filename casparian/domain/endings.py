"""Why a job or a sidecar ends other than by its plugin: a class of failure, and a sentence."""

from __future__ import annotations

from casparian.domain.errors import ErrorClass
from casparian.domain.instructions import FailJob, Instruction, RouterRules
from casparian.domain.jobs import Claim
from casparian.domain.plugins import LivePlugin
from casparian.domain.ports import SidecarExit
from casparian.domain.sidecars import STOPPED, Lane, Phase, Sidecar


def given_back(claim: Claim) -> FailJob:
    """End an attempt that never ran; the job is queued again at once."""
    return FailJob(claim, ErrorClass.CONFLICT, "the job was given back before it ran")


def refuse_waiting(lane: Lane) -> list[Instruction]:
    """Fail the waiting jobs of a plugin that cannot run."""
    error = ErrorClass.QUARANTINED if lane.plugin.quarantined else lane.broken_class
    text = lane.broken or f"plugin {lane.plugin.name} is in quarantine"
    message, _, detail = text.partition("\n")
    out: list[Instruction] = [FailJob(c, error, message, detail) for c in lane.waiting]
    lane.waiting.clear()
    return out


def overdue_reason(
    sidecar: Sidecar, rules: RouterRules, now: float
) -> tuple[ErrorClass, str] | None:
    """Why a sidecar is to be ended at this moment; None while it has time."""
    name = sidecar.plugin.name
    if sidecar.phase is Phase.STARTING:
        if now - sidecar.started_at > rules.start_s:
            text = f"a sidecar of plugin {name} did not register in {rules.start_s:g} s"
            return ErrorClass.CRASH, text
    elif sidecar.phase is Phase.READY:
        if sidecar.runs and now >= sidecar.deadline:
            limit = sidecar.plugin.config.timeout_s
            text = (
                f"plugin {name} did not finish the file within {limit:g} s; "
                f"raise timeout_s of [plugin.{name}] if it needs longer"
            )
            return ErrorClass.TIMEOUT, text
        if now - sidecar.last_seen > rules.kill_s:
            text = f"the sidecar of plugin {name} was silent for {rules.kill_s:g} s (hung)"
            return ErrorClass.TIMEOUT, text
    elif sidecar.ending == STOPPED and now - sidecar.last_seen > rules.kill_s:
        text = f"the sidecar of plugin {name} did not leave when it was asked to"
        return ErrorClass.TIMEOUT, text
    return None


def exit_reason(exit_: SidecarExit, plugin: LivePlugin) -> tuple[ErrorClass, str]:
    """Why a sidecar ended that nobody ended."""
    name, config = plugin.name, plugin.config
    if not exit_.started:
        return ErrorClass.INFRASTRUCTURE, f"there is no process for it: {exit_.tail}"
    if exit_.cpu_exceeded:
        return (
            ErrorClass.TIMEOUT,
            f"plugin {name} used more than {config.cpu_s} s of CPU on one file; "
            f"raise cpu_s of [plugin.{name}] if it needs more",
        )
    if exit_.out_of_memory:
        return (
            ErrorClass.OOM,
            f"the sidecar of plugin {name} ran out of memory (memory_mb = {config.memory_mb}); "
            f"publish in smaller batches, or raise memory_mb of [plugin.{name}]",
        )
    if exit_.code == -9:
        return (
            ErrorClass.CRASH,
            f"the sidecar of plugin {name} was killed by signal 9: by somebody, or by the "
            "kernel because the machine ran out of memory",
        )
    if exit_.code < 0:
        return ErrorClass.CRASH, f"the sidecar of plugin {name} died of signal {-exit_.code}"
    return (
        ErrorClass.CRASH,
        f"the sidecar of plugin {name} ended by itself with exit code {exit_.code}",
    )
