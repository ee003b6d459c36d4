"""`casparian`: the operator's tool, put together from one module per command."""

from __future__ import annotations

from casparian.app.cli._shared import new_program
from casparian.app.cli.about import adapters, config_reference
from casparian.app.cli.adopt import adopt
from casparian.app.cli.backfill import backfill
from casparian.app.cli.cancel import cancel
from casparian.app.cli.check import check
from casparian.app.cli.deploy import deploy
from casparian.app.cli.deployments import deployments
from casparian.app.cli.forget import forget
from casparian.app.cli.init import init
from casparian.app.cli.keys import keys
from casparian.app.cli.lists import files, jobs, status
from casparian.app.cli.plugins import plugins
from casparian.app.cli.prune import prune
from casparian.app.cli.purge import purge
from casparian.app.cli.retry import retry
from casparian.app.cli.rollback import rollback
from casparian.app.cli.scan import scan
from casparian.app.cli.trace import trace
from casparian.app.cli.upgrade import upgrade
from casparian.app.cli.why import why

app = new_program(
    "Looks after an engine: makes a configuration, shows files, jobs and what became of them."
)
LOOKING = (scan, status, files, jobs, plugins, deployments, why, trace)
REPAIRING = (retry, cancel, backfill, forget, purge, adopt, prune)
DEPLOYING = (deploy, rollback)
INSTALLING = (check, upgrade, adapters, config_reference)
for command in (init, *LOOKING, *REPAIRING, *DEPLOYING, *INSTALLING):
    app.command()(command)
app.add_typer(keys, name="keys")
