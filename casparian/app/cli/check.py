"""`casparian check`: all that can be looked at before an engine runs, each with a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._findings import Finding, Level
from casparian.app.cli._output import count, on_terminal, show_json, show_table
from casparian.app.cli._shared import ConfigOption, Exit, JsonOption, load_settings
from casparian.app.printable import printable

if TYPE_CHECKING:
    from casparian.app.cli.shapes import CheckDocument, FindingDocument
    from casparian.app.settings import Settings


DeepOption = Annotated[
    bool,
    typer.Option(
        "--deep",
        help="Also read every published row, and hold it against what the queue decided.",
        show_default=False,
    ),
]


def check(
    ctx: typer.Context,
    config: ConfigOption = None,
    deep: DeepOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look for problems, each with a remedy.

    Looked at: configuration, plugins, database, sinks, source roots and this machine. Plugins
    are compiled, not run. Sinks are tried by writing beside their place and removing it
    again. Exits with 1 when there is a problem.

    With --deep, rows that are lost, doubled, changed or nobody's are named, by sink, slot and
    job. It reads all that was ever published, also while engines run, and changes nothing.

    Example: casparian check --config flights/casparian.toml
    """
    findings = _findings(load_settings(ctx, config), deep)
    problems = sum(f.level is Level.PROBLEM for f in findings)
    if as_json:
        show_json(_document(findings, problems))
    else:
        _show(findings, problems)
    if problems:
        raise typer.Exit(Exit.FAILURES)


def _document(findings: list[Finding], problems: int) -> CheckDocument:
    told: list[FindingDocument] = [
        {"level": str(f.level), "where": f.where, "what": f.what, "remedy": f.remedy}
        for f in findings
    ]
    return {"problems": problems, "findings": told}


def _findings(settings: Settings, deep: bool) -> list[Finding]:
    from casparian.app.cli import (
        _check_deep,
        _check_deployed,
        _check_environments,
        _check_host,
        _check_places,
        _check_plugins,
        _check_readable,
        _check_secrets,
        _check_transport,
    )
    from casparian.app.cli._findings import ok, problem
    from casparian.app.configuration import resolve
    from casparian.app.registry import Registry
    from casparian.app.targets import Targets
    from casparian.domain.errors import ConfigurationError

    registry = Registry.default()
    found: list[Finding] = []
    try:
        targets = Targets(registry.sink_factories(settings))
        resolve(settings.model_copy(update={"plugin": {}, "rule": []}), targets)
        found.append(ok("configuration", "The file's tables and keys are known."))
    except ConfigurationError as error:
        found.append(problem("configuration", str(error), "Change this key."))
        # Told once, not again by every plugin.
        tolerated = {"sandbox": "auto"}
        plugins = settings.plugins.model_copy(update=tolerated)
        settings = settings.model_copy(update={"plugins": plugins, "sinks": {}})
        targets = Targets(registry.sink_factories(settings))
    found += _check_secrets.check_secrets(settings)
    deployed, of_code = _check_deployed.check_deployed(settings, registry)
    found += _check_plugins.check_plugins(settings, targets, deployed)
    found += of_code
    found += _check_environments.check_environments(settings, registry)
    found += _check_plugins.check_rules(settings, targets)
    found += _check_places.check_roots(settings)
    found += _check_readable.check_readable(settings)
    found += _check_places.check_database(settings, registry)
    found += _check_places.check_sinks(settings, targets, registry)
    if deep:
        found += _check_deep.check_published(settings, targets, registry)
    found.append(_check_host.check_compiled())
    found += _check_transport.check_transport(settings, registry)
    found += _check_host.check_adapters(settings, registry)
    found += _check_host.check_sandbox(settings)
    found += _check_host.check_watches(settings)
    return found


def _show(findings: list[Finding], problems: int) -> None:
    if not on_terminal():
        show_table(Finding._fields, findings)
        return
    for finding in sorted(findings, key=lambda f: list(Level).index(f.level)):
        print(f"{finding.level:8} {printable(finding.where)}: {printable(finding.what)}")
        if finding.remedy:
            print(f"         -> {printable(finding.remedy)}")
    print(f"{count(problems, 'problem')}.")
