"""CSV files as tables: one row of the file is one row of the topic, columns bound by header name.

    [plugin.csv_table]
    tags = ["csv"]
    settings = { delimiter = ";", null_values = ["", "NA"], types = { zip = "string" } }

Types are inferred from the values at the start of each file. Give a type to each column whose
values only look like numbers (zip codes, account numbers), and to each that has whole numbers
in one file and fractions in the next.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import csv

from casparian.sdk import BasePlugin

DEFAULTS: dict[str, Any] = {
    "delimiter": ",",
    "encoding": "utf8",
    # The topic's name. {stem} is the file's name up to its first dot, {folder} its directory's.
    "topic": "output",
    # Values that mean "none", in text columns too; [] for pyarrow's own list, numbers only.
    "null_values": [],
    # Column name to type: int64, double, string, bool, date32, timestamp[us], ...
    "types": {},
    # Columns that a file must have; without one of them it fails.
    "required": [],
    # A file of no bytes at all: "fail", or "accept" it as one without rows.
    "empty": "fail",
    # Bytes from which types are inferred, and which are read at a time.
    "block_bytes": 4 << 20,
}


class Handler(BasePlugin):
    def configure(self, ctx: Any, config: Any) -> None:
        super().configure(ctx, config)
        unknown = sorted(set(config) - set(DEFAULTS))
        if unknown:
            raise ValueError(f"unknown settings {unknown}; known: {', '.join(DEFAULTS)}")
        self._settings = {**DEFAULTS, **config}
        if self._settings["empty"] not in ("fail", "accept"):
            raise ValueError(f"empty = {self._settings['empty']!r}: it is 'fail' or 'accept'")
        self._types = {c: pa.type_for_alias(t) for c, t in self._settings["types"].items()}

    def execute(self, file_path: str) -> None:
        with open(file_path, "rb") as file:
            empty = not file.read(1)
        if empty:
            if self._settings["empty"] == "accept":
                return
            raise ValueError(
                "the file is empty, not even a header is in it; "
                "settings.empty = 'accept' takes such a file as one without rows"
            )
        with self._open(file_path) as reader:
            self._check_header(reader.schema)
            try:
                self.publish(self._topic(), reader)
            except pa.ArrowInvalid as error:
                raise ValueError(
                    f"{error}. If a column's first {self._settings['block_bytes']} bytes of file "
                    "mislead about its type, name the type in settings.types"
                ) from error

    def _open(self, file_path: str) -> csv.CSVStreamingReader:
        settings = self._settings
        nulls = settings["null_values"]
        return csv.open_csv(
            file_path,
            read_options=csv.ReadOptions(
                # Several sidecars share the cores.
                use_threads=False,
                block_size=settings["block_bytes"],
                encoding=settings["encoding"],
            ),
            parse_options=csv.ParseOptions(
                delimiter=settings["delimiter"], newlines_in_values=True
            ),
            convert_options=csv.ConvertOptions(
                column_types=self._types,
                null_values=nulls or None,
                strings_can_be_null=bool(nulls),
            ),
        )

    def _check_header(self, schema: pa.Schema) -> None:
        missing = [c for c in self._settings["required"] if c not in schema.names]
        if missing:
            raise ValueError(f"the header lacks {missing}; it has {schema.names}")
        for field in schema:
            if pa.types.is_binary(field.type) and field.name not in self._types:
                raise ValueError(
                    f"column {field.name!r} holds bytes that are not UTF-8: "
                    "name the file's encoding in settings.encoding"
                )

    def _topic(self) -> str:
        path = PurePosixPath(self.ctx.path)
        topic: str = self._settings["topic"]
        return topic.replace("{stem}", path.name.split(".")[0]).replace(
            "{folder}", path.parent.name
        )
