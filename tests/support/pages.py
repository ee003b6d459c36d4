"""Pages of the documentation as programs: run block by block, what they show is checked.

| block | what is done with it |
|---|---|
| `sh` | run by one bash for the whole page, which ends at the first command that fails |
| any, with `title="FILE"` | written to that file; added to it with ", appended" in the title |
| `python` without a title | run as one program with the earlier ones of the page |
| `sql title="duckdb"`, `sql title="sqlite: FILE"` | run as a query |
| `toml` without a title | must be configuration that the engine would take |
| `text` after one of these | its lines must be in the output, in this order; `…` is anything |

A comment `<!-- before: ... -->` holds shell commands for what a page takes as given; `$CHECKOUT` is
the project's own directory. A comment
`<!-- not run: reason -->` right before a block says why that one is not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from casparian.app.settings import Settings

LANGUAGES = {"sh", "python", "toml", "sql", "text", "json", "ini", "yaml", "mermaid"}
_PIECE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>[^\n]*)\n(?P<body>.*?)^(?P=indent)```$"
    r"|^<!-- before:\n(?P<before>.*?)-->$|^ *<!-- not run: (?P<reason>[^\n]+) -->$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
_APPENDED = ", appended"
CHECKOUT = Path(__file__).parents[2]
_MARK = "\x1e"


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    body: str
    line: int
    reason: str = ""
    """Why it is not run."""


def blocks(text: str) -> Iterator[Block]:
    """The blocks of a page, in order; `before` comments are `sh` blocks."""
    reason = ""
    for found in _PIECE.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found["reason"]:
            reason = found["reason"]
            continue
        if found["before"]:
            yield Block("sh", "", found["before"], line)
            continue
        indent = len(found["indent"])
        body = "".join(one[indent:] or "\n" for one in found["body"].splitlines(keepends=True))
        title = _TITLE.search(found["rest"])
        yield Block(found["language"], title[1] if title else "", body, line, reason)
        reason = ""


def script_of(page: list[Block]) -> str:
    """One shell script that does what a page says, with a mark before each block's output."""
    parts = ["exec 2>&1", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    session: list[str] = []
    for number, block in enumerate(page):
        if block.reason:
            continue
        parts.append(f"printf '\\n{_MARK}{number}\\n'")
        match block.language:
            case "sh":
                parts.append(block.body)
            case "python" if not block.title:
                parts.append(_heredoc("python -", _program(session, block.body)))
                session.append(block.body)
            case "sql":
                parts.append(_heredoc("python -", _query(block)))
            case "toml" if not block.title:
                Settings.of(tomllib.loads(block.body), Path("/nowhere"))
            case "python" | "toml" | "json" | "ini" | "yaml" if block.title:
                name = block.title.removesuffix(_APPENDED)
                parts.append(f'mkdir -p "$(dirname {name})"')
                parts.append(
                    _heredoc(f"cat {'>>' if name != block.title else '>'} {name}", block.body)
                )
    return "\n".join(parts)


def run(page: list[Block], directory: Path) -> dict[int, str]:
    """Do what a page says in a directory; the output of each block. Raises AssertionError."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script_of(page)],
        cwd=directory,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    outputs: dict[int, str] = {}
    for part in done.stdout.split(f"\n{_MARK}")[1:]:
        number, _, output = part.partition("\n")
        outputs[int(number)] = output
    at = page[max(outputs)].line if outputs else 0
    assert done.returncode == 0, (
        f"exit code {done.returncode} in the block of line {at}:\n{done.stdout}"
    )
    return outputs


def check(page: list[Block], outputs: dict[int, str]) -> None:
    """Every `text` block is what the block before it wrote. Raises AssertionError."""
    last: int | None = None
    for number, block in enumerate(page):
        if block.language != "text" or block.reason:
            last = number if number in outputs else last
            continue
        assert last is not None, f"line {block.line}: a text block stands after no other"
        lines = iter([_squeezed(line) for line in outputs[last].splitlines()])
        for shown in filter(None, map(_squeezed, block.body.splitlines())):
            like = ".*".join(map(re.escape, shown.split("…")))
            assert any(re.fullmatch(like, line) for line in lines), (
                f"line {block.line}: the page shows {shown!r}, the block of line "
                f"{page[last].line} wrote:\n{outputs[last]}"
            )


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # The files of the pages are whole when they appear, so there is nothing to wait for.
        "CASPARIAN_SCOUT__SETTLE_S": "0.2",
        "TZ": "UTC",
        "CHECKOUT": str(CHECKOUT),
        "COLUMNS": "100",
    }


def _squeezed(line: str) -> str:
    return " ".join(line.split())


def _heredoc(command: str, body: str) -> str:
    return f"{command} <<'END OF THE BLOCK'\n{body.rstrip()}\nEND OF THE BLOCK"


def _program(earlier: list[str], body: str) -> str:
    if not earlier:
        return body
    again = "".join(f"    exec({code!r}, globals())\n" for code in earlier)
    return f"import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n{again}{body}"


def _query(block: Block) -> str:
    if block.title == "duckdb":
        return f"import duckdb\nprint(duckdb.sql({block.body.strip().rstrip(';')!r}))"
    kind, _, file = block.title.partition(": ")
    assert kind == "sqlite", f"line {block.line}: name what to ask, duckdb or 'sqlite: FILE'"
    return (
        f"import sqlite3\nanswer = sqlite3.connect({file!r}).execute({block.body!r})\n"
        "print(*[column[0] for column in answer.description], sep='|')\n"
        "for row in answer: print(*row, sep='|')"
    )
