"""What an engine with nothing to do asks of a PostgreSQL server."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.test_postgresql import Shared
from tests.support.postgres_server import Server, server_programs
from tests.support.project import wait_for

SPAN_S = 10.0
MOST_PER_S = 2.0


@pytest.mark.slow
def test_an_idle_engine_costs_less_than_two_statements_a_second(
    tmp_path: Path, postgresql_url: str
) -> None:
    """All that is sent counts: BEGIN, COMMIT and pings too."""
    programs = server_programs()
    if programs is None:
        pytest.skip("PostgreSQL's own programs are not on this machine")
    server = Server(programs, "fsync=off", "log_statement=all", "log_line_prefix=")
    server.start()
    try:
        project = Shared(tmp_path / "project", server.url)
        toml = project.directory / "casparian.toml"
        # The interval by default; how long it is says how often an idle scout looks.
        toml.write_text(toml.read_text().replace("interval_s = 0.5", "interval_s = 5.0"))
        project.drop_some(0, 1)
        with project.running():
            wait_for(lambda: project.statuses() == {"COMPLETED": 1})
            time.sleep(6)  # The scans right after a file came look at it again.
            before = len(server.said)
            time.sleep(SPAN_S)
            said = server.said[before:]
            # It is not asleep: what comes is taken by its event, and worked on.
            project.drop_some(1, 1)
            wait_for(lambda: project.statuses() == {"COMPLETED": 2})
    finally:
        server.remove()
    sent = Counter(line.strip() for line in said if line.startswith("LOG:  "))
    assert 0 < sent.total() < MOST_PER_S * SPAN_S, sent.most_common()
