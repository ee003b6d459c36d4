"""`casparian trace` and `casparian plugins`: from the rows that readers see back to the bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest
import structlog

from casparian.app.cli import main
from tests.support.project import FAST, Project

PLUGIN = """
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        lines = open(file_path).read().split()
        if "broken" in lines:
            raise ValueError("a broken line")
        self.publish("words", [{"word": line} for line in lines])
        self.publish("sizes", [{"size": len(lines)}])
"""
SET_UP = f"""{FAST}
[[source_root]]
path = "inbox"
[[rule]]
pattern = "*.txt"
tag = "text"
[plugin.words]
tags = ["text"]
[plugin.words.topics."*"]
sink = "parquet://./output"
"""


@pytest.fixture(scope="module")
def drained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("trace") / "project")
    project.plugin("words", PLUGIN)
    project.configure(SET_UP)
    project.drop("a.txt", "one two three")
    project.drop("bad.txt", "broken")
    assert project.drain() == 1
    return project


@pytest.fixture
def say(drained: Project, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Runs `casparian` here: its standard output, or its errors where it should not end with 0."""

    def call(*arguments: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--config", str(drained.directory / "casparian.toml")])
        said = capsys.readouterr()
        assert end.value.code == code, said
        return said.err if code else said.out

    yield call
    structlog.reset_defaults()


def read_row(project: Project) -> dict[str, Any]:
    (file,) = (project.directory / "output" / "words").glob("**/*.parquet")
    return next(r for r in pq.ParquetFile(file).read().to_pylist() if r["word"] == "two")


def test_a_row_is_traced_to_its_bytes(drained: Project, say: Callable[..., str]) -> None:
    row = read_row(drained)
    number, nth = str(row["_casparian_job_id"]), str(row["_casparian_row"])
    document = json.loads(say("trace", number, nth, "--topic", "words", "--json"))
    assert document.keys() >= {"job", "version", "path", "row", "source_root", "outputs"}
    assert (document["path"], document["row"]) == ("a.txt", 1)
    assert document["version"]["file_version_id"] == row["_casparian_file_version_id"]
    assert document["version"]["content_hash"] == hashlib.sha256(b"one two three").hexdigest()
    assert (
        document["job"]["plugin_hash"]
        == hashlib.sha256((drained.plugins / "words.py").read_bytes()).hexdigest()
    )
    assert [output["topic"] for output in document["outputs"]] == ["words"]
    text = say("trace", number, nth)
    assert "row 1 of 3 rows of topic words" in text
    assert f"SHA-256 {document['version']['content_hash']}" in text
    assert "casparian why a.txt" in text


def test_without_a_row_all_outputs_are_told(drained: Project, say: Callable[..., str]) -> None:
    number = str(read_row(drained)["_casparian_job_id"])
    document = json.loads(say("trace", number, "--json"))
    assert document["row"] is None
    assert {o["topic"]: o["rows"] for o in document["outputs"]} == {"words": 3, "sizes": 1}


def test_what_is_not_there_ends_with_2(drained: Project, say: Callable[..., str]) -> None:
    number = str(read_row(drained)["_casparian_job_id"])
    ((failed,),) = drained.query("select id from processing_job where status = 'FAILED'")
    assert "no job 99" in say("trace", "99", code=2)
    assert "words has 3 rows" in say("trace", number, "3", code=2)
    assert "sizes has 1 row," in say("trace", number, "1", "--topic", "sizes", code=2)
    assert "it wrote" in say("trace", number, "--topic", "sises", code=2)
    assert "is FAILED and wrote no rows" in say("trace", str(failed), "0", code=2)
    assert "bad.txt" in say("trace", str(failed))


def test_plugins(drained: Project, say: Callable[..., str]) -> None:
    plugin, built_in = json.loads(say("plugins", "--json"))
    assert plugin["name"] == "words"
    assert (built_in["name"], built_in["state"]) == ("system_deployer", "built in")
    assert (
        plugin["content_hash"]
        == hashlib.sha256((drained.plugins / "words.py").read_bytes()).hexdigest()
    )
    assert (plugin["tags"], plugin["state"], plugin["sidecars"]) == (["text"], "active", 0)
    assert [t["topic"] for t in plugin["topics"]] == ["*"]
    header, line, _ = say("plugins").splitlines()
    assert header == "plugin\tversion\tcode\ttags\ttopics\tstate\tsidecars"
    assert line.split("\t")[0] == "words"
