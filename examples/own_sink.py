"""A sink of one's own: `arrow://DIR` writes a file of Arrow's stream format for each input file.

    python examples/own_sink.py

What the port `Sink` promises (`casparian.domain.ports`) rests on one thing here: a slot is one
file, rows and marker together, and it appears or is replaced by one rename. So a reader sees the
old rows or the new ones and never a mixture, and promoting twice finds the marker and does nothing.
`casparian.testing.sink.SinkContract` holds this sink to every promise.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from casparian import Engine, Settings
from casparian.adapters.sink import writing
from casparian.domain.errors import ConfigurationError
from casparian.domain.ports import PromoteItem, StagedRows, StageRequest
from casparian.domain.publish import (
    InstallCase,
    Manifest,
    ManifestItem,
    Marker,
    MarkerCase,
    Receipt,
    StagingKey,
    Target,
    compare_marker,
)
from casparian.domain.schemas import TargetSchema

SCHEME = "arrow"
TRAILER = struct.Struct("<Q")


class ArrowSettings(BaseModel):
    """The table `[sinks.arrow]`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    compression: Literal["lz4", "zstd", "none"] = "none"
    """Of the buffers in a file."""


class ArrowSinkFactory:
    """Port `SinkFactory`. The class is what is registered; the engine makes one of it."""

    scheme = SCHEME
    settings_model = ArrowSettings

    def __init__(self, own_settings: ArrowSettings | None = None) -> None:
        self._settings = own_settings or ArrowSettings()

    def absolute(self, uri: str, base: str) -> str:
        directory = writing.after_scheme(uri, SCHEME, "arrow://DIR")
        return f"{SCHEME}://{writing.absolute(directory, base)}"

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        directory = writing.after_scheme(uri, SCHEME, "arrow://DIR")
        name = writing.topic_target_name(plugin, topic)
        return Target(SCHEME, writing.absolute(directory, base), name)

    def open(self, location: str) -> ArrowSink:
        return ArrowSink(location, self._settings.compression)


class ArrowStaging:
    """Port `Staging`: batches go to disk as they come; `finish` brings them to one schema."""

    def __init__(
        self, path: Path, where: str, known: TargetSchema | None, options: pa.ipc.IpcWriteOptions
    ) -> None:
        self._path = path
        self._where = where
        self._options = options
        self._shaper = writing.Shaper(known, where)
        self._parts: list[Path] = []
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self._schema: pa.Schema | None = None
        self._rows = 0

    def write(self, batch: Any) -> None:
        shaped = self._shaper.shape(batch)
        with _disk("Staging rows"):
            if self._writer is None or shaped.schema != self._schema:
                self._begin(shaped.schema)
            assert self._writer is not None
            self._writer.write_batch(shaped)
        self._rows += shaped.num_rows

    def _begin(self, schema: pa.Schema) -> None:
        """A part for each schema: a later batch may widen what earlier ones had."""
        self._end()
        self._parts.append(self._path.with_suffix(f".part{len(self._parts)}"))
        self._schema = schema
        self._writer = pa.ipc.new_stream(str(self._parts[-1]), schema)

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def finish(self) -> StagedRows:
        schema = self._shaper.arrow
        with _disk("Staging rows"):
            self._end()
            with pa.ipc.new_stream(str(self._path), schema, options=self._options) as writer:
                for part in self._parts:
                    with pa.OSFile(str(part)) as file:
                        for batch in pa.ipc.open_stream(file):
                            writer.write_batch(writing.reshape(batch, schema, self._where))
            self._remove_parts()
            with self._path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        return StagedRows(self._rows, digest, self._shaper.columns, (self._path.name,))

    def discard(self) -> None:
        self._end()
        self._remove_parts()
        self._path.unlink(missing_ok=True)

    def _remove_parts(self) -> None:
        for part in self._parts:
            part.unlink(missing_ok=True)


class ArrowSink:
    """Port `Sink`. Stagings lie beside the directory, where no reader of it looks."""

    scheme = SCHEME

    def __init__(self, location: str, compression: str = "none") -> None:
        self.location = location
        codec = None if compression == "none" else compression
        self._options = pa.ipc.IpcWriteOptions(compression=codec)
        self._root = Path(location)
        self._private = self._root.parent / f".{self._root.name}.staging"

    def check(self) -> None:
        try:
            for directory in (self._root, self._private):
                directory.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=directory):
                    pass
        except OSError as error:
            raise ConfigurationError(
                f"{SCHEME}://{self.location} cannot be written: {error}. Choose another directory, "
                "or give the engine's user the right to write there."
            ) from error
        if self._root.stat().st_dev != self._private.stat().st_dev:
            raise ConfigurationError(
                f"{self._root} and {self._private} are on two file systems, so that nothing can be "
                "renamed from one to the other. Use a directory below the mount point."
            )

    # --- staging --------------------------------------------------------------------------

    def stage(self, request: StageRequest, known: TargetSchema | None) -> ArrowStaging:
        path = self._staged(request.key, request.target)
        with _disk("Staging rows"):
            path.parent.mkdir(parents=True, exist_ok=True)
            for old in path.parent.glob(f"{path.stem}.*"):
                old.unlink()
        return ArrowStaging(path, str(request.target), known, self._options)

    def _staged(self, key: StagingKey, target: Target) -> Path:
        return self._private / key.name / f"{target.name}.rows"

    def _emptying(self, key: StagingKey, item: ManifestItem) -> Path:
        return self._private / key.name / f"{item.target.name}.{item.slot.name}.empty"

    def stage_empty(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        path = self._emptying(key, item)
        with _disk("Staging"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with pa.ipc.new_stream(str(path), pa.schema([])):
                pass
            _append_marker(path, Marker.of(manifest, item))

    def stage_marker(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        with _disk("Staging"):
            _append_marker(self._staged(key, item.target), Marker.of(manifest, item))

    def sync(self, keys: Sequence[StagingKey]) -> None:
        with _disk("Making stagings durable"):
            for key in keys:
                directory = self._private / key.name
                for path in directory.glob("*"):
                    _flush(path)
                if directory.exists():
                    _flush(directory)

    # --- publishing -----------------------------------------------------------------------

    def promote(self, items: Sequence[PromoteItem]) -> list[Receipt]:
        return [self._promote(each) for each in items]

    def _promote(self, each: PromoteItem) -> Receipt:
        try:
            with self._locked():
                return self._install(each)
        except OSError as error:
            passing = writing.is_passing(error)
            return writing.failed(each.item, f"{each.item.target}: {error}", transient=passing)

    def _install(self, each: PromoteItem) -> Receipt:
        item, mine = each.item, Marker.of(each.manifest, each.item)
        slot = self._root / item.target.name / f"{item.slot.name}.arrow"
        neighbour = next(slot.parent.glob("*.arrow"), None)
        standing = _marker_of(slot) if slot.exists() else None
        about = standing or (_marker_of(neighbour) if neighbour is not None else None)
        case = compare_marker(standing, mine)
        if about is not None and about.installation != mine.installation:
            case = MarkerCase.FOREIGN
        if about is not None and case is not MarkerCase.INSTALL:
            return writing.withheld(item, about, case)
        staged = (
            self._staged(each.key, item.target) if item.staged else self._emptying(each.key, item)
        )
        if not staged.exists():
            return writing.taken_over(item, str(staged))
        if not slot.parent.exists():
            slot.parent.mkdir()
            _flush(self._root)
        os.replace(staged, slot)
        _flush(slot.parent)
        return Receipt(item, InstallCase.INSTALLED)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One promoter at a time, be it of this process or of another."""
        self._private.mkdir(parents=True, exist_ok=True)
        with (self._private / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # --- recovery -------------------------------------------------------------------------

    def rekey(self, key: StagingKey) -> None:
        with self._locked():
            for other in self.stagings():
                if other.same_attempt(key) and other.name != key.name:
                    (self._private / other.name).rename(self._private / key.name)

    def stagings(self) -> list[StagingKey]:
        names = [p.name for p in self._private.iterdir()] if self._private.exists() else []
        return [key for name in names if (key := StagingKey.parse(name)) is not None]

    def discard(self, key: StagingKey) -> None:
        shutil.rmtree(self._private / key.name, ignore_errors=True)

    def clean(self, now_us: int) -> None:
        """What was replaced is gone: readers that have it open keep it."""

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        for slot in sorted(self._root.glob("*/*.arrow")):
            yield Target(SCHEME, self.location, slot.parent.name), _marker_of(slot)


# --- the form of a file -------------------------------------------------------------------------


def _append_marker(path: Path, marker: Marker) -> None:
    """After the end of the stream, where readers of Arrow do not look. Done again, it stands."""
    text = marker.to_json().encode()
    with path.open("ab") as file:
        file.write(text + TRAILER.pack(len(text)))


def _marker_of(path: Path) -> Marker:
    with path.open("rb") as file:
        file.seek(-TRAILER.size, os.SEEK_END)
        (size,) = TRAILER.unpack(file.read())
        file.seek(-TRAILER.size - size, os.SEEK_END)
        return Marker.from_json(file.read(size).decode())


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise writing.disk_error(doing, error) from error


def read(directory: Path) -> pa.Table | None:
    """All rows of a topic, as any reader of Arrow streams gets them; None where there are none."""
    tables = []
    for path in sorted(directory.glob("*.arrow")):
        with pa.OSFile(str(path)) as file:
            table = pa.ipc.open_stream(file).read_all()
        if table.num_columns:
            tables.append(table)
    return pa.concat_tables(tables, promote_options="permissive") if tables else None


# --- the example --------------------------------------------------------------------------------

CONFIGURATION = """
[scout]
settle_s = 0
[plugin_host]
adapter = "inline"
[[source_root]]
path = "inbox"
[[rule]]
pattern = "**/*.csv"
tag = "csv"
[plugin.table]
tags = ["csv"]
[plugin.table.topics.rows]
sink = "arrow://./output"
[sinks.arrow]
compression = "zstd"
"""

PLUGIN = """
import pyarrow.csv
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        self.publish("rows", pyarrow.csv.read_csv(file_path))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        for directory, file, text in (
            ("inbox", "a.csv", "city,degrees\nUlm,3.5\nRom,14.0\n"),
            ("inbox", "b.csv", "city,degrees\nOslo,-2.5\n"),
            ("plugins", "table.py", PLUGIN),
            (".", "casparian.toml", CONFIGURATION),
        ):
            (home / directory).mkdir(exist_ok=True)
            (home / directory / file).write_text(text)
        engine = Engine(Settings.load(home / "casparian.toml"), sinks={SCHEME: ArrowSinkFactory})
        try:
            result = engine.drain()
        finally:
            engine.close()
        table = read(home / "output" / "rows")
        assert result.ok
        assert table is not None
        print(f"{dict(result.jobs)}: {table.num_rows} rows, cities {table['city'].to_pylist()}")


if __name__ == "__main__":
    main()
