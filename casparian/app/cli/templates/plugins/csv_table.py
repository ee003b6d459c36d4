"""Publishes the rows of CSV files. The names of the columns come from a file's first line.

The file's name is the plugin's name: its table in the configuration is [plugin.csv_table].
"""

import os

import pyarrow as pa
from pyarrow import csv

from casparian.sdk import BasePlugin


class Handler(BasePlugin):
    def execute(self, file_path: str) -> None:
        # `settings` of the plugin's table arrive as self.config.
        types = {name: pa.type_for_alias(t) for name, t in self.config.get("types", {}).items()}
        parsing = csv.ParseOptions(
            delimiter=self.config.get("delimiter", ","), newlines_in_values=True
        )
        # A name need not be UTF-8: it is handed over as the bytes that it is.
        with pa.OSFile(os.fsencode(file_path)) as file:
            table = csv.read_csv(
                file, parse_options=parsing, convert_options=csv.ConvertOptions(column_types=types)
            )
        # Nobody sees these rows before the whole file is done. A file that cannot be read
        # raises, which fails its job with that message: `casparian why FILE` tells it.
        self.publish("output", table)
