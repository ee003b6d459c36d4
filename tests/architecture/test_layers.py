"""The layers of ARCHITECTURE.md, enforced: the contracts of pyproject.toml, and what they miss.

import-linter reads neither `.pyx` nor `.pyi`, and its list of forbidden modules is a list of names
that somebody thought of. The tests here read those files too, and turn the list round: the domain
may import what is named below and nothing else.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PACKAGE = PROJECT / "casparian"

# What each layer may import of casparian, itself included.
ALLOWED_LAYERS = {
    "domain": {"domain"},
    "_fastpath": {"_fastpath", "domain"},
    "sdk": {"sdk", "_fastpath", "domain"},
    "adapters": {"adapters", "sdk", "_fastpath", "domain"},
    "app": {"app", "adapters", "sdk", "_fastpath", "domain"},
    "testing": {"testing", "adapters", "sdk", "_fastpath", "domain"},
}

# Parts of the standard library that compute and do nothing else.
DOMAIN_STDLIB = {
    "__future__", "abc", "base64", "bisect", "binascii", "collections", "contextlib",
    "dataclasses", "datetime", "decimal", "enum", "fnmatch", "fractions", "functools", "hashlib",
    "heapq", "hmac", "itertools", "json", "math", "operator", "re", "string", "struct", "tomllib",
    "types", "typing", "unicodedata", "uuid",
}  # fmt: skip

PYX_IMPORT = re.compile(
    r"^\s*(?:from\s+([\w.]+)\s+c?import\b|c?import\s+([\w.]+(?:\s*,\s*[\w.]+)*))"
)


def module_of(path: Path) -> str:
    parts = list(path.relative_to(PROJECT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of_python(path: Path) -> set[str]:
    """Absolute names of all modules that a `.py` or `.pyi` file imports, at any depth."""
    package = module_of(path).split(".")
    if path.stem != "__init__":
        package = package[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from casparian import domain` imports casparian.domain.
            found.update(f"{module}.{alias.name}" for alias in node.names)
    return found


def imports_of_cython(path: Path) -> set[str]:
    """The same of a `.pyx` or `.pxd` file; relative imports there are refused by this test."""
    found: set[str] = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        assert not re.match(r"\s*from\s+\.", line), (
            f"{path.name}:{number}: write the import in full; this test reads only such imports."
        )
        match = PYX_IMPORT.match(line)
        if match:
            names = match.group(1) or match.group(2)
            found.update(name.strip() for name in names.split(","))
    return found


def imports_of(path: Path) -> set[str]:
    if path.suffix in {".pyx", ".pxd"}:
        return imports_of_cython(path)
    return imports_of_python(path)


def sources(*suffixes: str) -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*") if path.suffix in suffixes)


def layer_of(path: Path) -> str | None:
    first = path.relative_to(PACKAGE).parts[0]
    return first if first in ALLOWED_LAYERS else None


def test_contracts_of_import_linter_are_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sources(".pyx", ".pxd", ".pyi"), ids=module_of)
def test_compiled_modules_and_stubs_keep_the_layers(path: Path) -> None:
    layer = layer_of(path)
    assert layer is not None, f"{path} belongs to no layer"
    foreign = {
        name
        for name in imports_of(path)
        if name.split(".")[0] == "casparian" and name.split(".")[1] not in ALLOWED_LAYERS[layer]
    }
    assert not foreign, f"{module_of(path)} is in layer {layer} and imports {sorted(foreign)}"


def test_there_is_a_compiled_module_to_check() -> None:
    assert sources(".pyx"), "no .pyx found: the test above would pass on nothing"
    assert sources(".pyi"), "no .pyi found: the test above would pass on nothing"


@pytest.mark.parametrize(
    "path", [p for p in sources(".py") if layer_of(p) == "domain"], ids=module_of
)
def test_domain_imports_only_what_computes(path: Path) -> None:
    foreign = {
        name
        for name in imports_of_python(path)
        if name.split(".")[0] not in DOMAIN_STDLIB and not name.startswith("casparian.domain")
    }
    assert not foreign, (
        f"{module_of(path)} imports {sorted(foreign)}; the domain does no I/O and knows no third"
        " party. If the module only computes, add it to DOMAIN_STDLIB."
    )


def test_importing_the_package_loads_no_third_party() -> None:
    code = (
        "import sys, casparian;"
        "heavy = {'pyarrow', 'zmq', 'sqlalchemy', 'typer', 'pydantic'} & set(sys.modules);"
        "sys.exit(f'import casparian loads {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
