"""Code that does its worst while it is loaded, deployed to a running engine: it is ended, its
sender is told why, and the code that was live goes on with the files."""

from __future__ import annotations

import pytest

from tests.support.project import CSV_PLUGIN, FAST, Project, wait_for

HOSTILE = {
    "loops": ("while True:\n    pass\n", "it could not be loaded within 3 s"),
    "takes all memory": ("x = []\nwhile True:\n    x.append(b'x' * (1 << 20))\n", "MemoryError"),
    "exits well": ("import os\nos._exit(0)\n", "exit code 0"),
}


@pytest.mark.slow
def test_code_that_does_its_worst_when_it_is_loaded(project: Project) -> None:
    project.csv_to("parquet://./output")
    text = (project.directory / "casparian.toml").read_text()
    assert "[plugin_host]\n" in FAST
    text = text.replace("[plugin_host]\n", "[plugin_host]\nstart_s = 3\n")
    project.configure(text.replace("[plugin.csv_table]\n", "[plugin.csv_table]\nmemory_mb = 512\n"))
    project.casparian("keys", "new", "office")
    code = project.directory / "hostile.py"
    deploy = ("deploy", str(code), "--plugin", "csv_table", "--key-id", "office")
    with project.running() as engine:
        project.move_in("first.csv", "a\n1\n")
        wait_for(lambda: project.statuses() == {"COMPLETED": 1})
        (live,) = project.query("select content_hash from plugin_manifest where live")
        for number, (source, reason) in enumerate(HOSTILE.values(), 2):
            code.write_text(source)
            told = project.casparian(*deploy, code=1).stderr
            assert f"Version {number} of plugin csv_table is recorded, and not live" in told
            assert reason in told
            project.move_in(f"{number}.csv", f"a\n{number}\n")
            wait_for(lambda n=number: project.statuses() == {"COMPLETED": n})
        assert project.query("select content_hash from plugin_manifest where live") == [live]
        verdicts = project.query("select verdict from plugin_deployment order by version")
        assert verdicts == [("installed",), *[("failed",)] * len(HOSTILE)]
        # Nothing of what was tried is left, and what is right is taken.
        wait_for(lambda: len(project.sidecar_pids(engine.pid)) <= 2)
        code.write_text(CSV_PLUGIN + "# better\n")
        project.casparian(*deploy)
    assert project.query("select distinct plugin_hash from processing_job") == [live]
