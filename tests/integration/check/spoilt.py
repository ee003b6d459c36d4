"""A project to be spoilt, and what `casparian check` finds in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casparian.app.cli import main

Findings = list[dict[str, str]]


class Project:
    """A directory made by `casparian init`, to be spoilt and checked."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory, self._capsys = directory, capsys
        self.config = directory / "casparian.toml"
        self.plugin = directory / "plugins" / "csv_table.py"
        self.run("init", str(directory))

    def run(self, *arguments: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        captured = self._capsys.readouterr()
        assert captured.err == ""
        return end.value.code, captured.out

    def check(self) -> Findings:
        """Findings other than ok; the exit code and the count must fit them."""
        code, out = self.run("check", "--json", "--config", str(self.config))
        document = json.loads(out)
        problems = [f for f in document["findings"] if f["level"] == "problem"]
        assert document["problems"] == len(problems)
        assert code == (1 if problems else 0)
        for finding in document["findings"]:
            assert finding.keys() == {"level", "what", "where", "remedy"}
            assert finding["level"] == "ok" or finding["remedy"]
        return [f for f in document["findings"] if f["level"] != "ok"]

    def add(self, text: str) -> None:
        self.config.write_text(f"{self.config.read_text()}\n{text}\n")

    def configure(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))


def only(findings: Findings) -> dict[str, str]:
    (finding,) = findings
    return finding


def project_database(project: Project) -> Path:
    return project.directory / "casparian_flow.sqlite3"
