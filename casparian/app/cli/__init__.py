"""The two programs: `casparian`, the operator's tool, and `casparian-engine`, the daemon.

A command imports what it needs when it runs: help and errors of use come at once.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `casparian`; `arguments` are those of the process where none are given."""
    from casparian.app.cli._shared import run_program
    from casparian.app.cli.operator import app

    run_program(app, "casparian", arguments)
