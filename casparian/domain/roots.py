"""What one source root takes for input: globs, names to be ignored, done markers.

A rule of a root never changes what is known already: a file that is left out from now on keeps
its versions and its rows, and gets no new version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from casparian.domain.departures import PRIVATE, After
from casparian.domain.errors import ConfigurationError
from casparian.domain.files import ScanRules, StatIdentity, path_bytes, path_text
from casparian.domain.routing import compile_glob
from casparian.domain.unpacking import UnpackLimits, is_archive

NAME, STEM = "{name}", "{stem}"


@dataclass(frozen=True, slots=True)
class DoneMarker:
    """The name of the file that says that another one is whole.

    `{name}` in the template stands for that file's name, `{stem}` for its name without the
    last ending; a template with neither is one marker for all files of its directory.
    """

    template: str

    def of(self, path: bytes) -> bytes:
        """The marker's path, beside the file at `path`."""
        directory, slash, name = path_text(path).rpartition("/")
        stem = name.rpartition(".")[0] or name
        marker = self.template.replace(NAME, name).replace(STEM, stem)
        return path_bytes(directory + slash + marker)

    def is_marker(self, path: bytes) -> bool:
        """True for a marker, which is no input itself."""
        return _marker_pattern(self.template).fullmatch(_name_of(path)) is not None

    def about(self, marker: bytes) -> bytes:
        """What to look at when a marker has changed: its file, or the directory around it where
        the marker's name does not tell which file that is."""
        directory, slash, name = path_text(marker).rpartition("/")
        if NAME in self.template:
            before, _, after = self.template.partition(NAME)
            return path_bytes(directory + slash + name[len(before) : len(name) - len(after)])
        return path_bytes(directory)

    @staticmethod
    def vouches(marker: StatIdentity, identity: StatIdentity) -> bool:
        """Whether the marker was made after the file was last written.

        One that was brought here with its old mtime counts by its ctime, which nobody can set;
        a file whose ctime alone is newer (it was renamed, or its mode was changed) is as whole
        as it was. A marker's mtime in the future says no more than its ctime.
        """
        if marker.ctime_ns >= identity.ctime_ns:
            return True
        return min(marker.mtime_ns, marker.ctime_ns) >= identity.mtime_ns


@dataclass(frozen=True, slots=True)
class RootRules:
    """The rules of one source root.

    `include` (none: everything) and `exclude` are globs on the path below the root, `ignore`
    globs on the name alone; `after` is what is done with a file when its jobs are,
    `unpack` says that archives and compressed files are opened, and how far.
    """

    scan: ScanRules = field(default_factory=ScanRules)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    done: DoneMarker | None = None
    after: After | None = None
    unpack: UnpackLimits | None = None

    def left_out(self, path: bytes) -> str | None:
        """Why a path is no input, as the end of a sentence; None for one that is."""
        if PRIVATE in path and _name_of(path).startswith(path_text(PRIVATE)):
            return "it is on its way out (after)"
        if self.scan.ignores(path):
            return "its name has an ignored ending ([scout] ignored_suffixes)"
        if not (self.include or self.exclude or self.ignore or self.done):
            return None
        if self.done is not None and self.done.is_marker(path):
            return f"it is a marker (done_marker = {self.done.template!r})"
        pattern = _first_match(self.ignore, _name_of(path))
        if pattern is not None:
            return f"its name matches ignore = {pattern!r}"
        text = path_text(path)
        pattern = _first_match(self.exclude, text)
        if pattern is not None:
            return f"its path matches exclude = {pattern!r}"
        if self.unpack is not None and is_archive(path):
            # Its members are asked for one by one.
            return None
        if self.include and _first_match(self.include, text) is None:
            return "its path matches none of the globs of include"
        return None


def check_root_rules(rules: RootRules) -> None:
    """Raise ConfigurationError for a glob or a marker that cannot be used."""
    for pattern in (*rules.include, *rules.exclude, *rules.ignore):
        compile_glob(pattern)
    for pattern in rules.ignore:
        if "/" in pattern:
            raise ConfigurationError(
                f"ignore = {pattern!r}: these globs are matched against the name alone, so that "
                "one with '/' matches nothing; use exclude for paths."
            )
    if rules.done is not None:
        _check_marker(rules.done.template)


def _check_marker(template: str) -> None:
    if not template or "/" in template or template in (".", ".."):
        raise ConfigurationError(
            f"done_marker = {template!r}: it is the name of a file in the directory of the one it "
            "is about, such as '{name}.done'."
        )
    if template.count(NAME) + template.count(STEM) > 1 or template in (NAME, STEM):
        raise ConfigurationError(
            f"done_marker = {template!r}: a name has {NAME} or {STEM} once, and something else, "
            "such as '{name}.done'."
        )
    if re.search(r"[{}]", template.replace(NAME, "").replace(STEM, "")):
        raise ConfigurationError(
            f"done_marker = {template!r}: only {NAME} and {STEM} stand for something."
        )


def _first_match(patterns: tuple[str, ...], text: str) -> str | None:
    return next((p for p in patterns if compile_glob(p).fullmatch(text)), None)


def _name_of(path: bytes) -> str:
    return path_text(path).rpartition("/")[2]


@lru_cache(maxsize=64)
def _marker_pattern(template: str) -> re.Pattern[str]:
    any_name = {NAME: ".+", STEM: ".+"}
    parts = re.split(r"(\{name\}|\{stem\})", template)
    return re.compile("".join(any_name.get(part, re.escape(part)) for part in parts), re.DOTALL)
