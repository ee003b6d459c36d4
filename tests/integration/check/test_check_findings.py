"""What `casparian check` says of a project in order, how it says it, and that it leaves nothing."""

from __future__ import annotations

import os

from tests.integration.check.spoilt import Project, only


def test_a_fresh_project_is_in_order(project: Project) -> None:
    assert project.check() == []


def test_a_pipe_gets_one_line_per_finding(project: Project) -> None:
    code, out = project.run("check", "--config", str(project.config))
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "level\twhere\twhat\tremedy"
    assert all(line.startswith("ok\t") for line in lines[1:])


def test_checking_leaves_nothing_behind(project: Project) -> None:
    project.check()
    before = sorted(os.fspath(p) for p in project.directory.rglob("*"))
    project.check()
    assert sorted(os.fspath(p) for p in project.directory.rglob("*")) == before


def test_a_mistake_in_the_file_is_told_with_its_line(project: Project) -> None:
    project.configure("[plugin.csv_table]", "[plugin.csv_table]\nmax_rejects = 2.5")
    text = project.config.read_text().splitlines()
    line = text.index("max_rejects = 2.5") + 1
    told = f"casparian.toml, line {line}: plugin.csv_table.max_rejects"
    assert told in only(project.check())["what"]
