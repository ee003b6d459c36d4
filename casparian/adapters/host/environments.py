"""Environments of plugins: a directory of packages for each set of requirements, made once.

One is made under a private name and then renamed, so that it is there whole or not at all,
however many engines make it at once. Only wheels are installed: no code of a package runs before
a sidecar imports it. What an environment lacks comes from the engine's own packages, which lie
behind its own; what engine and sidecar speak with is the engine's in any case.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from casparian.domain.errors import ConfigurationError
from casparian.domain.requirements import (
    Environment,
    EnvironmentFailedError,
    Needed,
    Requirements,
)

SHARED = ("casparian-flow", "pyarrow", "pyzmq")
"""What engine and sidecar must have in the same version."""
MAKING = ".making-"
RESOLVED = "resolved.txt"
ENGINE_PACKAGES = "_casparian_engine.pth"
LONGEST_S = 1800.0
POLL_S = 0.1
STALE_S = 24 * 3600.0
TOLD_CHARACTERS = 1000
PASSED_ON = re.compile(
    r"(PIP_|UV_|SSL_CERT_|XDG_CONFIG_)\w+|(https?|all|no)_proxy|PATH|HOME|LANG|TMPDIR"
    r"|REQUESTS_CA_BUNDLE",
    re.IGNORECASE,
)
"""The variables that the installer sees: its own configuration, and the way to the network."""


class Found(NamedTuple):
    """An environment that is there: its interpreter, and what it holds."""

    python: str
    environment: Environment


class PluginEnvironments:
    """Those below one directory."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def needed(self, plugin: str, requirements: Requirements) -> Needed | None:
        """What must be made for a plugin; None where the engine's own packages do.

        Raises ConfigurationError for what can never be satisfied here.
        """
        _check_python(plugin, requirements.requires_python)
        parsed = [_parsed(plugin, text) for text in requirements.dependencies]
        wanted = [one for one in parsed if one.marker is None or one.marker.evaluate()]
        own = sorted({str(one) for one in wanted if not _is_shared(plugin, one)})
        if not own:
            return None
        known = json.dumps([own, sys.version, platform.machine(), _engine_paths(), _shared()])
        return Needed(hashlib.sha256(known.encode()).hexdigest()[:32], tuple(own))

    def find(self, needed: Needed) -> Found | None:
        """An environment that is there. Raises EnvironmentFailedError where it does not hold what
        was installed, or cannot be looked at."""
        place = self._directory / needed.key
        try:
            installed = (place / RESOLVED).read_text("utf-8").split()
            standing = _packages(_site_packages(place))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EnvironmentFailedError(f"{place}: {error}") from error
        if standing != installed:
            gone, come = set(installed) - set(standing), set(standing) - set(installed)
            raise EnvironmentFailedError(
                f"The environment {place} is not as it was made: gone from it "
                f"{', '.join(sorted(gone)) or 'nothing'}, new in it "
                f"{', '.join(sorted(come)) or 'nothing'}. Remove the directory: it is made anew."
            )
        # When it was used last, for `prune`.
        with contextlib.suppress(OSError):
            os.utime(place)
        python = f"{platform.python_implementation()} {platform.python_version()}"
        shared = {f"{name}=={version}" for name, version in _shared()}
        packages = tuple(sorted({*installed, *shared}))
        return Found(str(place / "bin" / "python"), Environment(needed.key, python, packages))

    def make(self, needed: Needed, stop: Event) -> Found:
        """The same, made where it is not there. Raises EnvironmentFailedError, also once `stop`
        is set."""
        if (found := self.find(needed)) is not None:
            return found
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._sweep()
            building = self._directory / f"{MAKING}{needed.key}-{secrets.token_hex(8)}"
            try:
                self._build(building, needed, stop)
                self._install(building, needed)
            finally:
                shutil.rmtree(building, ignore_errors=True)
        except OSError as error:
            raise EnvironmentFailedError(f"{self._directory}: {error}") from error
        made = self.find(needed)
        assert made is not None
        return made

    def prune(self, keep: Iterable[str], before_s: float) -> int:
        """Remove those that were used last before a time, but for these keys; returns how many."""
        kept, gone = set(keep), 0
        for place in self._places():
            if place.name not in kept and place.stat().st_mtime < before_s:
                # Its last sign first, so that half of it is never found.
                (place / RESOLVED).unlink(missing_ok=True)
                shutil.rmtree(place)
                gone += 1
        return gone

    def _places(self) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError):
            yield from (p for p in self._directory.iterdir() if (p / RESOLVED).is_file())

    def _sweep(self) -> None:
        """What an engine that died was making."""
        for place in self._directory.glob(f"{MAKING}*"):
            with contextlib.suppress(FileNotFoundError):
                if place.stat().st_mtime < time.time() - STALE_S:
                    shutil.rmtree(place, ignore_errors=True)

    def _build(self, building: Path, needed: Needed, stop: Event) -> None:
        has_pip = importlib.util.find_spec("pip") is not None
        tool = shutil.which("uv")
        venv.EnvBuilder(symlinks=True, with_pip=tool is None and not has_pip).create(building)
        constraints = building / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in _shared()))
        python = str(building / "bin" / "python")
        if tool is not None:
            command = [tool, "pip", "install", "--python", python, "--no-build", "--quiet"]
            command += ["--compile-bytecode"]
        else:
            command = [sys.executable, "-m", "pip", "--python", python] if has_pip else []
            command = command or [python, "-m", "pip"]
            command += ["install", "--only-binary", ":all:", "--no-input", "--quiet"]
            command += ["--disable-pip-version-check"]
        _run([*command, "--constraint", str(constraints), *needed.dependencies], stop)
        site = _site_packages(building)
        lines = [f"{package}\n" for package in _packages(site)]
        (site / ENGINE_PACKAGES).write_text("".join(f"{p}\n" for p in _engine_paths()), "utf-8")
        (building / RESOLVED).write_text("".join(lines), "utf-8")

    def _install(self, building: Path, needed: Needed) -> None:
        # All of it is on the disk before it has its name.
        os.sync()
        try:
            building.rename(self._directory / needed.key)
        except OSError:
            # Somebody else was quicker.
            if self.find(needed) is None:
                raise


def _run(command: Sequence[str], stop: Event) -> None:
    variables = {name: v for name, v in os.environ.items() if PASSED_ON.fullmatch(name)}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=variables,
        start_new_session=True,
    ) as process:
        give_up_at = time.monotonic() + LONGEST_S
        told: bytes | None = None
        while told is None:
            try:
                told, _ = process.communicate(timeout=POLL_S)
            except subprocess.TimeoutExpired:
                if stop.is_set() or time.monotonic() > give_up_at:
                    process.kill()
                    raise EnvironmentFailedError(
                        "the engine stopped while its packages were installed"
                        if stop.is_set()
                        else f"its packages were not installed within {LONGEST_S:.0f} s"
                    ) from None
    if process.returncode:
        raise EnvironmentFailedError(_said(told.decode("utf-8", "replace")))


def _said(output: str) -> str:
    """The end of what the installer said, without a password of an index."""
    text = re.sub(r"//[^/@\s]+@", "//****@", " ".join(output.split()))
    return text[-TOLD_CHARACTERS:] or "the installer failed without a word"


def _site_packages(building: Path) -> Path:
    variables = {"base": str(building), "platbase": str(building)}
    return Path(sysconfig.get_path("purelib", "venv", variables))


def _packages(site: Path) -> list[str]:
    """What is installed there, as `name==version`, sorted."""
    found = importlib.metadata.distributions(path=[str(site)])
    return sorted({f"{one.metadata['Name']}=={one.version}" for one in found})


def _engine_paths() -> list[str]:
    """Where the engine's packages are: its own code may be elsewhere, as in a checkout."""
    paths = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    paths += [str(Path(__file__).parents[3])]
    return list(dict.fromkeys(paths))


def _shared() -> list[tuple[str, str]]:
    return [(name, importlib.metadata.version(name)) for name in SHARED]


def _check_python(plugin: str, specifier: str) -> None:
    try:
        fits = SpecifierSet(specifier).contains(platform.python_version(), prereleases=True)
    except InvalidSpecifier as error:
        raise ConfigurationError(
            f"The script metadata of plugin {plugin!r} is wrong: requires-python = {specifier!r} "
            'is no version specifier; write one as ">=3.11".'
        ) from error
    if not fits:
        raise ConfigurationError(
            f"Plugin {plugin!r} needs Python {specifier}, and this engine runs "
            f"{platform.python_version()}: a sidecar has the engine's."
        )


def _parsed(plugin: str, text: str) -> Requirement:
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise ConfigurationError(
            f"The script metadata of plugin {plugin!r} is wrong: the dependency {text!r} is no "
            f"requirement ({str(error).splitlines()[0]}); write one as openpyxl>=3.1."
        ) from error
    if requirement.url:
        raise ConfigurationError(
            f"Plugin {plugin!r} depends on {text!r}, by an address: packages are installed from "
            "the index that pip or uv is configured with. Name a version."
        )
    return requirement


def _is_shared(plugin: str, requirement: Requirement) -> bool:
    """True for what the engine brings. Raises ConfigurationError where that does not do."""
    name = canonicalize_name(requirement.name)
    if name not in SHARED:
        return False
    version = importlib.metadata.version(name)
    if not requirement.specifier.contains(version, prereleases=True):
        raise ConfigurationError(
            f"Plugin {plugin!r} depends on {requirement}, and this engine has {name} {version}, "
            "which its sidecars must have too."
        )
    return True
