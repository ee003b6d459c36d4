"""Plugins: their identity is the SHA-256 of their code, their settings come from configuration."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from casparian.domain.errors import ConfigurationError
from casparian.domain.sandbox import Grants

PLUGIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
EVERY_TOPIC = "*"
REJECTS_TOPIC = "_rejects"
LONGEST_TOPIC_BYTES = 150
SYSTEM_DEPLOYER = "system_deployer"
"""The built-in plugin by which others are deployed."""
_BAD_IN_TOPIC = re.compile(r"[\x00-\x1f\x7f/\\=:*?\"<>|\ud800-\udfff]")


class Mode(StrEnum):
    """How a topic's rows meet those of the same file's earlier versions."""

    REPLACE = "replace"
    APPEND = "append"


def code_hash(code: bytes) -> str:
    """A plugin's identity: the SHA-256 of its source, as 64 hex digits."""
    return hashlib.sha256(code).hexdigest()


def check_plugin_name(name: str) -> None:
    """Raise ConfigurationError unless `name` can be a plugin's (and a Python module's) name."""
    if not PLUGIN_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot be a plugin's name: letters, digits and underscores, "
            "not starting with a digit, at most 100."
        )
    if name == SYSTEM_DEPLOYER:
        raise ConfigurationError(
            f"{name!r} is the engine's own plugin, by which others are deployed: choose another "
            "name."
        )


def check_topic_name(topic: str) -> str | None:
    """Why `topic` cannot be a topic's name, as the end of a sentence; None where it can.

    A topic becomes a directory or a table. Readers of directories skip names that start
    with `.` or `_`, and take `=` for a partition.
    """
    if not topic:
        return "is empty"
    if topic[0] in "._":
        return "starts with '.' or '_', which readers of directories skip"
    if _BAD_IN_TOPIC.search(topic):
        return 'contains a control character or one of / \\ = : * ? " < > |'
    if topic != topic.strip():
        return "starts or ends with white space"
    if len(topic.encode("utf-8")) > LONGEST_TOPIC_BYTES:
        return f"is longer than {LONGEST_TOPIC_BYTES} bytes"
    return None


class Duplicates(StrEnum):
    """What is done with a file whose content another file of the same plugin has."""

    PROCESS = "process"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class PluginManifest:
    """One version of a plugin's code, addressed by its hash."""

    content_hash: str
    plugin: str
    code: bytes
    origin: str = "directory"
    version: int = 0
    created_at_us: int = 0


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """Where a topic's rows go. `sink` is a URI whose paths are absolute."""

    topic: str
    sink: str
    mode: Mode = Mode.REPLACE
    duplicates: Duplicates = Duplicates.PROCESS


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """A plugin's settings and limits. `max_rejects`: a count, or a share of the rows."""

    plugin: str
    tags: frozenset[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    topics: tuple[TopicConfig, ...] = ()
    timeout_s: float = 3600.0
    memory_mb: int = 2048
    cpu_s: int = 3600
    max_rejects: float | int = 0.01
    grants: Grants = field(default_factory=Grants)

    def topic_config(self, topic: str) -> TopicConfig | None:
        """The configuration that covers `topic`: its own table, else the one of `"*"`."""
        by_name = {t.topic: t for t in self.topics}
        return by_name.get(topic) or by_name.get(EVERY_TOPIC)

    @property
    def topic_names(self) -> Sequence[str]:
        return [t.topic for t in self.topics]

    @property
    def replaces_everything(self) -> bool:
        """True when an older version's rows would be replaced by a newer one's in any case."""
        return all(t.mode is Mode.REPLACE for t in self.topics)

    @property
    def skips_duplicates(self) -> bool:
        """True when one of several files of the same content is published."""
        rows = [t for t in self.topics if t.topic != REJECTS_TOPIC]
        return bool(rows) and all(t.duplicates is Duplicates.SKIP for t in rows)

    def settings_json(self) -> str:
        return json.dumps(dict(self.settings), sort_keys=True)


DirectoryId: TypeAlias = tuple[int, int]
"""Device and inode."""


@dataclass(frozen=True, slots=True)
class LivePlugin:
    """What a worker runs: a plugin's configuration with the manifest that is live.

    `roots`: the paths of the source roots, which a sidecar is started with; `root_ids`: which
    directory stood at each of them by then, None where there was none. `environment`: the digest
    of the one that its sidecars run in, empty for the engine's own packages.
    """

    config: PluginConfig
    content_hash: str
    quarantined: bool = False
    roots: tuple[bytes, ...] = ()
    root_ids: tuple[DirectoryId | None, ...] = ()
    environment: str = ""

    @property
    def standing_roots(self) -> Mapping[bytes, DirectoryId | None]:
        return dict(zip(self.roots, self.root_ids, strict=False))

    @property
    def name(self) -> str:
        return self.config.plugin
