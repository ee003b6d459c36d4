"""Secrets that a test plants, in every form in which they might come out somewhere."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote


@dataclass
class Planted:
    """`secrets` by what they are. What is found is kept in `found`, as where and what."""

    secrets: Mapping[str, str]
    found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._forms = [
            (what, form) for what, secret in self.secrets.items() for form in _forms(secret)
        ]

    def look(self, where: str, said: bytes | str) -> None:
        text = said.encode("utf-8", "surrogateescape") if isinstance(said, str) else said
        for what, form in self._forms:
            if form in text:
                start = max(0, text.index(form) - 60)
                around = text[start : start + 60].decode("utf-8", "replace")
                self.found.append(f"{what} in {where}, after {around!r}")

    def look_below(self, directory: Path, but: Iterable[Path]) -> int:
        """Every file, its name and what is in it; returns how many."""
        left, seen = set(but), 0
        for path in sorted(directory.rglob("*")):
            if path in left or any(above in left for above in path.parents):
                continue
            self.look("the names of files", str(path))
            if path.is_file():
                seen += 1
                self.look(str(path.relative_to(directory)), path.read_bytes())
        return seen

    def look_at_processes(self, engine: int) -> int:
        """The titles of an engine and all that it has started, and what these can read of their
        environment and directory; returns how many there are."""
        seen = 0
        for pid in _family(engine):
            process = Path("/proc") / str(pid)
            try:
                self.look(f"the title of process {pid}", (process / "cmdline").read_bytes())
                if pid != engine:
                    self.look(f"the environment of {pid}", (process / "environ").read_bytes())
                    self.look_below(Path(os.readlink(process / "cwd")), ())
                    seen += 1
            except (FileNotFoundError, ProcessLookupError):
                continue
        return seen


def _forms(secret: str) -> Iterator[bytes]:
    raw = secret.encode()
    encoded = base64.b64encode(raw).rstrip(b"=")
    forms = {raw, quote(secret, safe="").encode(), raw.hex().encode(), encoded}
    yield from forms | {json.dumps(secret)[1:-1].encode()}


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        threads = Path(f"/proc/{pid}/task").iterdir()
        children = " ".join((thread / "children").read_text() for thread in threads)
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in children.split():
        yield from _family(int(child))
