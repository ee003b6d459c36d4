"""What commands print, how they end, and that the reference says what they take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from casparian.app.cli import engine, operator
from casparian.app.cli._output import count, moment, show_json, show_table
from casparian.app.cli._shared import Exit, exit_code, new_program, run_program
from casparian.app.cli.reference import flat, reference
from casparian.app.printable import printable
from casparian.domain.errors import (
    CasparianError,
    ConfigurationError,
    SchemaVersionError,
    UnavailableError,
)

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


# --- text -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2013/flights é 表.csv", "2013/flights é 表.csv"),
        ("a\tb\nc\r", "a\\tb\\nc\\r"),
        ("\x1b[31mred", "\\x1b[31mred"),
        (b"\xff\x80".decode("utf-8", "surrogateescape"), "\\xff\\x80"),
        ("\u202egnp.csv", "\\u202egnp.csv"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_json_keeps_bytes_that_are_no_utf8(capsys: pytest.CaptureFixture[str]) -> None:
    name = b"\xff\n".decode("utf-8", "surrogateescape")
    show_json({"path": name})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == {"path": name}


def test_a_pipe_gets_one_line_per_row(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("path", "n", "gone"), [("a\tb\n", None, True), ("[red]", 2000, False)])
    assert capsys.readouterr().out == "path\tn\tgone\na\\tb\\n\t\tyes\n[red]\t2000\tno\n"


def test_a_terminal_gets_a_table_and_names_are_no_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casparian.app.cli._output.on_terminal", lambda: True)
    show_table(("path", "n"), [("[red]x[/red]", 7)], title="Files", numbers=["n"])
    printed = capsys.readouterr().out
    assert "[red]x[/red]" in printed
    assert "\t" not in printed


def test_counts_and_times_for_people() -> None:
    assert count(1, "job") == "1 job"
    assert count(2000, "row") == "2,000 rows"
    assert moment("2026-01-31T10:00:05.000001Z") == "2026-01-31 10:00:05 UTC"
    assert moment(None) == ""


# --- endings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("x"), Exit.WRONG_USE),
        (SchemaVersionError("x"), Exit.WRONG_USE),
        (UnavailableError("x"), Exit.UNREACHABLE),
        (CasparianError("x"), Exit.FAILURES),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: CasparianError, code: Exit) -> None:
    assert exit_code(error) is code


def ending(
    error: BaseException, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, str]:
    """Exit code and standard error of a program whose command raises."""
    app = new_program("A program.")

    @app.command()
    def go(ctx: typer.Context) -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        run_program(app, "program", arguments or ("go",))
    return end.value.code, capsys.readouterr().err


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = ending(UnavailableError("It is\n  not there."), capsys)
    assert (code, said) == (3, "error: It is not there.\n")


def test_ctrl_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending(KeyboardInterrupt(), capsys) == (130, "")


def test_a_mistake_in_the_program_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CASPARIAN_TRACEBACK", raising=False)
    code, said = ending(KeyError("x"), capsys)
    assert code == 1
    assert said.startswith("error: unexpected KeyError: 'x'.")
    assert said.count("\n") == 1


def test_the_traceback_of_a_mistake_can_be_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASPARIAN_TRACEBACK", "1")
    with pytest.raises(KeyError):
        ending(KeyError("x"), capsys)


@pytest.mark.parametrize("arguments", [("og",), ("go", "--no-such-option"), ("go", "more")])
def test_wrong_use_is_one_line_that_names_the_help(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = ending(AssertionError("not reached"), capsys, *arguments)
    assert code == 2
    assert said.count("\n") == 1
    assert "--help`." in said


@pytest.mark.parametrize("app", [operator.app, engine.app])
def test_a_program_without_a_command_shows_its_help(
    app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run_program(app, "program", [])
    assert end.value.code == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize("app", [operator.app, engine.app])
def test_version(app: typer.Typer, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_program(app, "program", ["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("casparian-flow ")


# --- help -------------------------------------------------------------------------------


@pytest.mark.parametrize("app", [operator.app, engine.app])
def test_every_command_shows_an_example(
    app: typer.Typer, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, _ in flat("program", typer.main.get_command(app).commands):
        with pytest.raises(SystemExit) as end:
            run_program(app, "program", [*path.split()[1:], "--help"])
        assert end.value.code == 0
        assert "Example: casparian" in capsys.readouterr().out


def test_the_reference_is_current() -> None:
    assert REFERENCE.read_text() == reference(), (
        "run `python -m casparian.app.cli.reference > docs/reference/cli.md`"
    )


def test_adapters_are_listed_by_port(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_program(operator.app, "casparian", ["adapters", "--json"])
    documents = json.loads(capsys.readouterr().out)
    assert ("sink", "parquet", "built in") in [
        (d["port"], d["name"], d["origin"]) for d in documents
    ]
    assert {d["port"] for d in documents} == {"queue", "transport", "plugin_host", "sink"}


def test_the_configuration_has_a_reference(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_program(operator.app, "casparian", ["config-reference"])
    assert end.value.code == 0
    assert "interval_s" in capsys.readouterr().out
