"""Writes docs/reference/cli.md from the commands themselves.

python -m casparian.app.cli.reference > docs/reference/cli.md
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from casparian.app.cli import engine, json_reference, operator

INTRODUCTION = """\
# Command line

<!-- Written by `python -m casparian.app.cli.reference`; change the commands, not this file. -->

Two programs: `casparian-engine` is the daemon, `casparian` the operator's tool. Both take
`--config PATH` before or after the command's name. Without it the environment variable
`CASPARIAN_CONFIG` names the file, and without that it is `casparian.toml` in the current
directory. `casparian init` works without a configuration. Both have `--version`.

## Output

With `--json` a command writes one JSON document to standard output, and nothing else there; what
is in it stands [below](#json-documents).
Without it, tables are drawn on a terminal; into a pipe go lines of fields set apart by tabs,
the first of them the names. Control characters in names of files, and bytes that are not
UTF-8, are shown as escapes such as `\\n` and `\\xff`; in JSON such a byte is a lone surrogate
(Python's `surrogateescape`), so that every name can be told exactly. Logs and errors go to
standard error; an error is one line. `CASPARIAN_TRACEBACK=1` adds the traceback of a mistake
in the program.

## Completion by the shell

`casparian --install-completion` and `casparian-engine --install-completion` teach the shell in
use (bash, zsh, fish or PowerShell) to complete commands and options; a new shell knows them.
`--show-completion` prints what would be installed, for a place of one's own.

## Exit codes

| code | meaning |
|---|---|
| 0 | Done. A listing is done whatever it lists. |
| 1 | Done, but with failures, with something left as it was, or with problems found (`check`). |
| 2 | Wrong use, an unknown path or name, a wrong configuration, an unknown database schema. |
| 3 | The database or a peer cannot be reached, or there is no database yet. |
| 130 | Interrupted by Ctrl-C. |
"""


def reference() -> str:
    """The whole document."""
    programs = (("casparian-engine", engine.app), ("casparian", operator.app))
    parts = [INTRODUCTION]
    for name, app in programs:
        parts.append(f"## {name}\n\n{app.info.help}\n")
        commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        for path, command in flat(name, commands):
            parts.append("\n".join(_command(path, command)))
    parts.append("\n".join(json_reference.documents()))
    return "\n".join(parts)


def flat(name: str, commands: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Commands with what is called before them, those of groups too."""
    for command_name, command in commands.items():
        path = f"{name} {command_name}"
        inner: dict[str, Any] | None = getattr(command, "commands", None)
        if inner is None:
            yield path, command
        else:
            yield from flat(path, inner)


def _command(path: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    names = " ".join(_name(argument) for argument in arguments)
    yield f"### {path}{f' {names}' if names else ''}\n"
    for paragraph in inspect.cleandoc(command.help).split("\n\n"):
        text = " ".join(paragraph.split())
        before, separator, example = text.partition("Example: ")
        yield f"```sh\n{example}\n```\n" if separator and not before else f"{text}\n"
    printed = json_reference.line(path.partition(" ")[2])
    if printed is not None:
        yield f"{printed}\n"
    yield "| argument or option | meaning |"
    yield "|---|---|"
    for argument in arguments:
        yield f"| `{_name(argument)}` | {_cell(argument.help)} |"
    for option in options:
        yield f"| `{_cell(_spelling(option))}` | {_cell(option.help)} |"
    yield ""


def _name(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return f"{name}..." if argument.nargs == -1 else name


def _spelling(option: Any) -> str:
    spelled = " / ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return spelled
    return f"{spelled} {option.metavar or option.name.upper()}"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
