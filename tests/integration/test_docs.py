"""The documents are followed literally: their blocks are run, their output is what they show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from casparian.app.cli import engine, operator
from casparian.app.reference import pages as generated
from tests.support import pages
from tests.support.postgres_server import Server

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
# Texts of the checkout itself; their commands are targets of make, which CI runs.
ABOUT_THE_CHECKOUT = {"CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"}
COMMANDS = "docs/reference/cli.md"
# Signatures, bytes, and the examples of the commands, which the last test here is about.
MADE_FROM_THE_CODE = {f"docs/reference/{name}" for name in generated()}
ON_A_SERVER = {"docs/how-to/postgresql.md", "docs/how-to/publish-to-postgresql.md"}
RUN = [
    page
    for page in (str(page.relative_to(ROOT)) for page in PAGES)
    if page not in ABOUT_THE_CHECKOUT | MADE_FROM_THE_CODE
    and any(b.language in pages.LANGUAGES for b in pages.blocks((ROOT / page).read_text("utf-8")))
]


@pytest.fixture
def roles_of_a_server(postgresql_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of this page alone, since roles are all of a server's databases'."""
    url = postgresql_server.url
    monkeypatch.setenv("ADMIN_URL", url.replace("+psycopg", ""))
    monkeypatch.setenv("QUEUE_URL", url.replace("postgres@", "casparian@"))
    monkeypatch.setenv("WORKER_URL", url.replace("postgres@", "casparian_worker@"))
    plain = url.replace("+psycopg", "")
    monkeypatch.setenv("ROWS_URL", plain.replace("postgres@", "casparian_rows@"))
    monkeypatch.setenv("ANALYST_URL", plain.replace("postgres@", "analyst@"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", RUN)
def test_a_page_does_what_it_says(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if name in ON_A_SERVER:
        request.getfixturevalue("roles_of_a_server")
    page = list(pages.blocks((ROOT / name).read_text(encoding="utf-8")))
    unknown = {f"line {b.line}: {b.language!r}" for b in page if b.language not in pages.LANGUAGES}
    assert not unknown, "a block needs a language that tells what to do with it"
    pages.check(page, pages.run(page, tmp_path))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\[[^\]]+\]\(([^)\s]+)\)", text)
    local = [link.partition("#")[0] for link in links if "://" not in link]
    missing = [link for link in local if link and not (page.parent / link).exists()]
    assert not missing


def test_the_examples_of_commands_are_understood_by_them() -> None:
    apps = {"casparian": operator.app, "casparian-engine": engine.app}
    examples = [b.body for b in pages.blocks((ROOT / COMMANDS).read_text("utf-8"))]
    seen = 0
    for part in re.split(r"&&|\||;|\n|&", "\n".join(examples)):
        words = shlex.split(part)
        if not words or words[0] not in apps:
            continue
        command = typer.main.get_group(apps[words[0]])
        at = next(i for i, word in enumerate(words) if word in command.commands)
        with command.make_context(words[0], words[1 : at + 1]) as ctx:
            sub = command.commands[words[at]]
            sub.make_context(words[at], words[at + 1 :], parent=ctx).close()
        seen += 1
    assert seen >= 10
