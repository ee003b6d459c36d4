"""`casparian check` on plugins, rules and adapters: each mistake, made for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian.app.cli._check_plugins import check_code
from casparian.app.cli._findings import Level
from tests.integration.check.spoilt import Project, only


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (b"class Handler(\n", "no valid Python"),
        (b"def execute(path): ...\n", "no class named Handler"),
        (b"def f():\n    class Handler: ...\n", "no class named Handler"),
        (b"from casparian.sdk import BasePlugin\nclass Handler(BasePlugin): ...\n", "no method"),
        (b"class Handler:\n    x = 1\n", "no method execute"),
        (b"# \xff\n", "cannot be read as Python"),
        (b"x = '\0'\n", ""),
    ],
)
def test_code_that_cannot_be_a_plugin(tmp_path: Path, code: bytes, what: str) -> None:
    file = tmp_path / "p.py"
    file.write_bytes(code)
    finding = check_code("p", file)
    assert finding.level is Level.PROBLEM
    assert what in finding.what
    assert str(file) in finding.where


@pytest.mark.parametrize(
    "code",
    [
        "class Handler:\n    def execute(self, path): ...\n",
        "class Handler(Other): ...\n",
        "from other import Plugin as Handler\n",
        "Handler = make()\n",
        "try:\n    import x\nexcept ImportError:\n    class Handler(Base): ...\n",
        "if True:\n    class Handler(sdk.Base): ...\n",
        "class Handler(BasePlugin):\n    execute = run\n",
        "import boom_at_import\nx = '\\d'\nclass Handler(Base): ...\n",
    ],
)
def test_code_that_may_be_a_plugin_is_not_run(tmp_path: Path, code: str) -> None:
    file = tmp_path / "p.py"
    file.write_text(code)
    assert check_code("p", file).level is Level.OK


def test_a_plugin_without_its_file(project: Project) -> None:
    project.plugin.unlink()
    finding = only(project.check())
    assert finding["where"] == "[plugin.csv_table]"
    assert str(project.plugin) in finding["what"]


def test_a_mistake_in_a_plugin_is_told_with_its_line(project: Project) -> None:
    project.plugin.write_text("x = 1\ny = = 2\n")
    assert only(project.check())["where"] == f"{project.plugin}:2"


def test_every_plugin_is_looked_at(project: Project) -> None:
    for name in ("one", "two"):
        project.add(f'[plugin.{name}]\ntags = ["csv"]')
    assert [f["where"] for f in project.check()] == ["[plugin.one]", "[plugin.two]"]


def test_a_plugin_that_no_table_names(project: Project) -> None:
    (project.directory / "plugins" / "idle.py").write_text("class Handler: ...\n")
    finding = only(project.check())
    assert finding["level"] == "warning"
    assert "never run" in finding["what"]


def test_tags_that_do_not_meet(project: Project) -> None:
    project.configure('tags = ["csv"]', 'tags = ["cvs"]')
    findings = project.check()
    assert [f["level"] for f in findings] == ["warning", "warning"]
    assert "No rule gives the tag 'cvs'" in findings[0]["what"]
    assert "No plugin subscribes to its tag 'csv'" in findings[1]["what"]


def test_a_pattern_that_cannot_be_compiled(project: Project) -> None:
    project.configure('pattern = "**/*.csv"', 'pattern = "[a"')
    assert only(project.check())["where"] == "[[rule]] '[a'"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"parquet://./output"', '"parkett://./output"', "no known scheme"),
        ('"parquet://./output"', '"./output"', "no known scheme"),
    ],
)
def test_a_sink_that_is_none(project: Project, old: str, new: str, words: str) -> None:
    project.configure(f"\nsink = {old}", f"\nsink = {new}")
    finding = only(project.check())
    assert finding["where"] == "[plugin.csv_table]"
    assert words in finding["what"]


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ("redis", "is unknown; known: mssql, postgresql, sqlite."),
        ("postgresql", "does not fit the database url, which begins with sqlite://"),
    ],
)
def test_a_queue_adapter_that_is_none(project: Project, adapter: str, words: str) -> None:
    project.add(f'[queue]\nadapter = "{adapter}"')
    finding, *others = project.check()
    assert finding["where"] == "[queue] adapter"
    assert words in finding["what"]
    assert [f["level"] for f in others if f["level"] == "problem"] == []


def test_the_queue_adapter_of_the_url(project: Project) -> None:
    project.add('[queue]\nadapter = "sqlite"')
    assert project.check() == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("parquet", "'parquet' has no settings of its own"), ("parket", "Did you mean 'parquet'?")],
)
def test_settings_of_sinks_that_have_none(project: Project, name: str, words: str) -> None:
    project.add(f'[sinks.{name}]\ncompression = "zstd"')
    finding = only(project.check())
    assert finding["where"] == "configuration"
    assert words in finding["what"]


@pytest.mark.parametrize("table", ["transport", "plugin_host"])
def test_an_unknown_adapter_names_the_known_ones(project: Project, table: str) -> None:
    if table == "plugin_host":
        project.configure("[plugin_host]", '[plugin_host]\nadapter = "docker"')
    else:
        project.add('[transport]\nadapter = "smoke"')
    finding = only(project.check())
    assert finding["where"] == f"[{table}]"
    known = "zmq-ipc" if table == "transport" else "subprocess"
    assert known in finding["what"] + finding["remedy"]
