"""A package of adapters by somebody else: built, installed and used, with no help from here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import Project, documents

HERE = Path(__file__).parents[1]
SAMPLE = HERE / "sample_package"
OWN_SINK = HERE.parent / "examples" / "own_sink.py"

pytestmark = pytest.mark.slow


class Installed:
    """A virtual environment in which the sample package is installed beside the engine."""

    def __init__(self, home: Path) -> None:
        self.python = home / "venv" / "bin" / "python"
        venv.create(home / "venv", with_pip=False, symlinks=True)
        self._see_the_packages_of_this_interpreter(home)
        source = home / "source"
        shutil.copytree(SAMPLE, source)
        # The sink of the example is what this package publishes as its own.
        shutil.copy(OWN_SINK, source / "src" / "pigeon_adapters" / "sink.py")
        self.contracts = source / "check_contracts.py"
        wheels = home / "wheels"
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        offline = ("--no-index", "--no-deps", "--no-build-isolation")
        run(*pip, "wheel", "--quiet", *offline, "--wheel-dir", str(wheels), str(source))
        (wheel,) = wheels.glob("*.whl")
        site = self._site(home)
        run(*pip, "install", "--quiet", *offline, "--target", str(site), str(wheel))

    def _site(self, home: Path) -> Path:
        base = str(home / "venv")
        return Path(sysconfig.get_path("purelib", "venv", vars={"base": base, "platbase": base}))

    def _see_the_packages_of_this_interpreter(self, home: Path) -> None:
        places = [p for p in sys.path if p.endswith("site-packages")]
        lines = "".join(f"import site; site.addsitedir({place!r})\n" for place in places)
        (self._site(home) / "engine.pth").write_text(lines)

    def casparian(
        self, *arguments: str, cwd: Path, program: str = "casparian", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        home = "casparian.app.cli" + (".engine" if program == "casparian-engine" else "")
        start = f"from {home} import main; main()"
        command = (str(self.python), "-c", start, *arguments)
        return run(*command, cwd=cwd, check=False, **environment)


def run(
    *command: str, cwd: Path | None = None, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("third"))


@pytest.fixture
def pigeons(project: Project) -> Project:
    """A project in which every port is the package's."""
    project.csv_to("arrow://./output")
    file = project.directory / "casparian.toml"
    text = file.read_text().replace("[plugin_host]", '[plugin_host]\nadapter = "pigeon"')
    file.write_text(
        f"""{text}
[plugin_host.settings]
note = "starts.txt"
[database]
url = "pigeon://queue"
[queue.settings]
suffix = ".coo"
[transport]
adapter = "pigeon"
endpoint = "p-{{pid}}"
settings = {{ height_m = 7 }}
[sinks.arrow]
compression = "zstd"
"""
    )
    return project


def test_an_engine_made_of_them_publishes(installed: Installed, pigeons: Project) -> None:
    home = pigeons.directory
    pigeons.drop("a.csv", "n\n1\n2\n")
    drain = ("run", "--drain", "--log-json")
    done = installed.casparian(*drain, cwd=home, program="casparian-engine")
    assert done.returncode == 0, done.stderr
    started = next(line for line in documents(done.stderr) if line["event"] == "worker started")
    assert started["endpoint"].startswith(f"pigeon://{home}/p-")
    assert (home / "starts.txt").read_text().splitlines() == ["csv_table"]
    assert (home / "queue.coo").exists()
    assert not pigeons.database.exists()
    (file,) = (home / "output" / "output").glob("*.arrow")
    assert file.stat().st_size > 0
    status = installed.casparian("status", "--json", cwd=home)
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["jobs"]["COMPLETED"] == 1
    # The other environment has no such adapters, and says so.
    assert pigeons.drain("--log-json") == 2
    assert "begins with 'pigeon'; known: mssql, postgresql, sqlite." in pigeons.log()


def test_checking_looks_at_them_too(installed: Installed, pigeons: Project) -> None:
    pigeons.drop("a.csv", "n\n1\n")
    installed.casparian("scan", cwd=pigeons.directory)
    done = installed.casparian("check", "--json", cwd=pigeons.directory)
    findings = json.loads(done.stdout)["findings"]
    assert [f for f in findings if f["level"] == "problem"] == [], done.stderr
    assert any("arrow://" in f["where"] and f["level"] == "ok" for f in findings)


def test_their_contracts_are_kept(installed: Installed, tmp_path: Path) -> None:
    """With the suites that ship, in the package's own environment."""
    run(
        *(str(installed.python), "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("--rootdir", str(installed.contracts.parent)),
        str(installed.contracts),
        cwd=tmp_path,
    )


# --- what is told of them ---------------------------------------------------------------------


def test_every_adapter_is_listed_with_where_it_comes_from(
    installed: Installed, tmp_path: Path
) -> None:
    done = installed.casparian("adapters", "--json", cwd=tmp_path)
    found = {(one["port"], one["name"]): one for one in json.loads(done.stdout)}
    for port in ("queue", "transport", "plugin_host"):
        assert found[port, "pigeon"]["installed"]
        assert found[port, "pigeon"]["origin"].startswith("pigeon-adapters (pigeon_adapters.")
    assert found["sink", "parquet"]["origin"] == "built in"
    loft = found["sink", "loft"]
    assert not loft["installed"]
    assert 'pip install "pigeon-adapters[loft]"' in loft["problem"]
    assert "this module is broken" in found["sink", "broken"]["problem"]


def test_their_settings_stand_in_the_reference(installed: Installed, tmp_path: Path) -> None:
    text = installed.casparian("config-reference", cwd=tmp_path).stdout
    assert '## `[queue.settings]` for `adapter = "pigeon"`' in text
    assert "| `height_m` | whole number, 1 or more | `50` | Above the ground. |" in text
    assert "## `[sinks.arrow]` for `arrow://`" in text
    assert '| `compression` | `"lz4"` or `"zstd"` or `"none"` |' in text
    assert "| `note` | text, not empty | **required** |" in text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'suffix = ".coo"',
            'sufix = ".coo"',
            "the key queue.settings.sufix is unknown; known here: suffix. Did you mean 'suffix'?",
        ),
        ("height_m = 7", "height_m = 0", "transport.settings.height_m: Input should be greater"),
        ('note = "starts.txt"', "", "plugin_host.settings.note: Field required"),
        ('compression = "zstd"', 'compression = "zip"', "sinks.arrow.compression: Input should"),
        ("[sinks.arrow]", "[sinks.arow]", "there is no sink 'arow'; known: "),
        ('sink = "arrow://./output"', 'sink = "loft://x"', 'pip install "pigeon-adapters[loft]"'),
        ('sink = "arrow://./output"', 'sink = "broken://x"', "this module is broken"),
        ('adapter = "pigeon"\nendpoint', 'adapter = "pidgeon"\nendpoint', "mean 'pigeon'?"),
    ],
)
def test_a_mistake_in_their_settings_is_one_line(
    installed: Installed, pigeons: Project, old: str, new: str, words: str
) -> None:
    file = pigeons.directory / "casparian.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    drain: tuple[Any, ...] = ("run", "--drain", "--log-level", "error")
    done = installed.casparian(*drain, cwd=pigeons.directory, program="casparian-engine")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line
