"""The rules of each source root, from the settings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from casparian.adapters.files.archive import VersionArchive
from casparian.app.places import inside
from casparian.app.settings import Settings
from casparian.app.settings_roots import SourceRootSection
from casparian.domain.departures import After, parse_after
from casparian.domain.errors import ConfigurationError
from casparian.domain.files import ScanRules
from casparian.domain.roots import DoneMarker, RootRules, check_root_rules
from casparian.domain.unpacking import UnpackLimits


def root_rules(settings: Settings) -> Mapping[bytes, RootRules]:
    """By the root's absolute path.

    Raises ConfigurationError for rules that cannot be used, or that differ between two tables
    of one root.
    """
    found: dict[bytes, RootRules] = {}
    for index, section in enumerate(settings.source_root):
        path, where = os.fsencode(settings.path(section.path)), settings.place("source_root", index)
        try:
            rules = _rules(settings, section)
            check_root_rules(rules)
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from error
        if found.setdefault(path, rules) != rules:
            raise ConfigurationError(
                f"{where}: {section.path!r} is a source root already, with other settings: leave "
                "one of the two tables out."
            )
    return found


def scan_rules(settings: Settings, settle_s: float | None = None) -> ScanRules:
    """Those of [scout], for a root that says nothing else."""
    chosen = settings.scout.settle_s if settle_s is None else settle_s
    return ScanRules(int(chosen * 1e9), tuple(settings.scout.ignored_suffixes))


def _rules(settings: Settings, section: SourceRootSection) -> RootRules:
    return RootRules(
        scan_rules(settings, section.settle_s),
        section.include,
        section.exclude,
        section.ignore,
        DoneMarker(section.done_marker) if section.done_marker else None,
        _after(settings, section.after),
        _limits(settings) if section.unpack else None,
    )


def _limits(settings: Settings) -> UnpackLimits:
    scout = settings.scout
    return UnpackLimits(scout.unpack_members, int(scout.unpack_mb * 1e6), scout.unpack_ratio)


def unpack_limits(settings: Settings) -> Mapping[bytes, UnpackLimits]:
    """By the path of each root that unpacks."""
    return {path: rules.unpack for path, rules in root_rules(settings).items() if rules.unpack}


def _after(settings: Settings, text: str) -> After | None:
    action, written = parse_after(text)
    if action is None:
        return None
    directory = str(settings.path(written)) if written else ""
    for root in settings.source_root if directory else ():
        if inside(directory, str(settings.path(root.path))):
            raise ConfigurationError(
                f"after = {text!r} lies in the source root {root.path!r}: what is archived would "
                "be taken for input. Archive outside of every source root."
            )
    return After(action, os.fsencode(directory))


def departures_of(settings: Settings) -> Mapping[bytes, After]:
    """What is to be done with files when their jobs are, by the path of each root that wants it."""
    return {path: rules.after for path, rules in root_rules(settings).items() if rules.after}


def version_archive(settings: Settings) -> VersionArchive | None:
    """Where the bytes of versions are kept, as `[archive]` says; raises ConfigurationError for a
    directory in a source root."""
    if not settings.archive.directory:
        return None
    directory = str(settings.path(settings.archive.directory))
    for root in settings.source_root:
        if inside(directory, str(settings.path(root.path))):
            raise ConfigurationError(
                f"{settings.place('archive', 'directory')} = {settings.archive.directory!r} lies "
                f"in the source root {root.path!r}: what is kept would be taken for input. Keep it "
                "outside of every source root."
            )
    return VersionArchive(directory)


def described(settings: Settings, path: str) -> str:
    """What a root's table says beside its path, for people: ``; include = ["*.csv"]``."""
    for section in settings.source_root:
        if str(settings.path(section.path)) == path:
            given = section.model_dump(exclude_defaults=True, exclude={"path"})
            return "".join(f"; {key} = {json.dumps(value)}" for key, value in given.items())
    return ""
