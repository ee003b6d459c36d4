"""Script metadata of plugins: what is read of it, and what is refused."""

from __future__ import annotations

import platform

import pytest

from casparian.adapters.host.environments import PluginEnvironments
from casparian.domain.errors import ConfigurationError
from casparian.domain.requirements import Requirements, requirements_of

BLOCK = """# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "openpyxl>=3.1",
#
#   "units; python_version < '4'",
# ]
# ///
"""


def needed(code: str) -> tuple[str, ...]:
    found = PluginEnvironments("/nowhere").needed("p", requirements_of("p", code.encode()))
    return () if found is None else found.dependencies


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("begin", ["", "\ufeff", '"""Rows."""\nimport os\n\n'])
def test_a_block_is_read_wherever_it_stands(begin: str, ends: str) -> None:
    code = f"{begin}{BLOCK}class Handler: ...\n".replace("\n", ends).encode()
    assert requirements_of("p", code) == Requirements(
        ">=3.11", ("openpyxl>=3.1", "units; python_version < '4'")
    )


@pytest.mark.parametrize(
    "code",
    ["class Handler: ...\n", "# /// other\n# a = 1\n# ///\n", "text = '# /// script'\n", "\xff"],
)
def test_nothing_is_asked_for_without_a_block(code: str) -> None:
    assert requirements_of("p", code.encode("latin-1")) == Requirements()


def test_a_block_at_the_very_end_of_the_file() -> None:
    code = b'# /// script\n# dependencies = ["a"]\n# ///'
    assert requirements_of("p", code).dependencies == ("a",)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (BLOCK + BLOCK, "there are 2 blocks"),
        ("# /// script\n# dependencies = []\n", "has no end"),
        ("# /// script\n# dependencies = [\n# ///\n", "is no TOML"),
        ('# /// script\n# dependencies = "a"\n# ///\n', "write a list of texts"),
        ("# /// script\n# dependencies = [1]\n# ///\n", "write a list of texts"),
        ("# /// script\n# requires-python = 3.11\n# ///\n", "write a text"),
        ('# /// script\n# requires-python = "about 3"\n# ///\n', "no version specifier"),
        ('# /// script\n# requires-python = ">=9"\n# ///\n', platform.python_version()),
        ('# /// script\n# dependencies = ["--index-url x"]\n# ///\n', "is no requirement"),
        ('# /// script\n# dependencies = ["a @ https://h/a.whl"]\n# ///\n', "by an address"),
        ('# /// script\n# dependencies = ["pyarrow<2"]\n# ///\n', "this engine has pyarrow"),
    ],
)
def test_what_cannot_be_is_refused(code: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        needed(code)
    assert "plugin 'p'" in str(caught.value).lower()


def test_what_the_engine_brings_is_not_installed_again() -> None:
    assert needed('# /// script\n# dependencies = ["casparian_flow", "PyArrow>=2"]\n# ///\n') == ()
    other = "# /// script\n# dependencies = [\"a; python_version < '3'\"]\n# ///\n"
    assert needed(other) == ()
    assert needed(BLOCK) == ("openpyxl>=3.1", 'units; python_version < "4"')
