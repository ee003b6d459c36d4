"""The demo: real files in, the engine twice, and every total compared with the source.

    make demo            (or: .venv/bin/python demo/run.py [DIRECTORY])

Exit code 0 only if all that the engine published is what the source says it must be.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
from drops import BROKEN, CORRECTED, Source, Tally, first_drop, second_drop, tally

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
BIN = Path(sys.executable).parent
MARKER = ".casparian-demo"


class Wrong(Exception):
    """Something is not as the source says."""


class Demo:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.inbox = directory / "inbox"
        self.config = directory / "casparian.toml"
        self.flights = directory / "lake" / "flights" / "**" / "*.parquet"
        self.database = directory / "nyc.db"

    def run(self) -> None:
        self.set_up()
        source = Source()

        say(f"1. Producers drop their files into {shown(self.inbox)}")
        months = first_drop(self.inbox, source)
        self.list_drop(sum(map(len, months.values())))

        say("2. The engine loads them and ends when nothing is left to do")
        self.engine(expected=0)
        expected = {month: tally(records) for month, records in months.items()}
        before = self.read_flights()
        self.check("flights", before, expected)
        self.check("the other tables", self.read_tables(), tables_of(source))
        jobs_before = self.jobs_by_month()
        self.print_totals(before)

        say("3. February is issued again, corrected, over the old file; another file is cut short")
        corrected = tally(second_drop(self.inbox, months))
        removed = expected[CORRECTED].rows - corrected.rows
        print(
            f"   flights/{CORRECTED}.csv: {removed} flights withdrawn, delays of one day corrected"
        )
        print(f"   flights/{BROKEN}.csv: ends in the middle of a line")

        say("4. The engine again; exit code 1 says that one file could not be loaded")
        self.engine(expected=1)
        expected[CORRECTED] = corrected
        after = self.read_flights()
        self.check("flights", after, expected)
        self.check("the other tables", self.read_tables(), tables_of(source))
        self.check_superseded(jobs_before, self.jobs_by_month())
        self.print_totals(after, before)
        print(
            f"   Only the rows of {CORRECTED} were replaced: every other month still has the rows\n"
            f"   of its first job. Nothing of {BROKEN} is visible."
        )

        say("5. Why is the broken file not there?")
        self.program("casparian", "why", f"flights/{BROKEN}.csv")

        say("6. Look for yourself")
        self.print_query()

    # --- steps ------------------------------------------------------------------------------

    def set_up(self) -> None:
        """An empty directory with configuration and plugins. Only a demo's is removed."""
        marker = self.directory / MARKER
        if self.directory.exists() and any(self.directory.iterdir()) and not marker.exists():
            raise SystemExit(f"{self.directory} is not empty and not a demo's: name another.")
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        marker.touch()
        shutil.copy(HERE / "casparian.toml", self.config)
        shutil.copytree(
            PROJECT / "plugins",
            self.directory / "plugins",
            ignore=shutil.ignore_patterns("__pycache__"),
        )

    def list_drop(self, flights: int) -> None:
        files = [p for p in self.inbox.rglob("*") if p.is_file()]
        megabytes = sum(p.stat().st_size for p in files) / 1e6
        print(f"   {len(files)} files, {megabytes:.1f} MB, {flights:,} flights among them")

    def engine(self, expected: int) -> None:
        began = time.monotonic()
        code = self.program(
            "casparian-engine", "run", "--drain", "--log-level", "error", "--log-text"
        )
        print(f"   exit code {code} after {time.monotonic() - began:.1f} s")
        if code != expected:
            raise Wrong(f"the engine ended with exit code {code}, expected was {expected}")

    def program(self, name: str, *arguments: str) -> int:
        command = [str(BIN / name), *arguments, "--config", str(self.config)]
        print("   $", shlex.join([shown(BIN / name), *arguments, "--config", shown(self.config)]))
        sys.stdout.flush()
        return subprocess.run(command, check=False).returncode

    # --- reading back -----------------------------------------------------------------------

    def read_flights(self) -> dict[str, Tally]:
        rows = self.query(
            "select printf('%d-%02d', year, month), count(*), "
            "coalesce(sum(dep_delay), 0)::bigint from read_parquet($1) group by 1 order by 1"
        )
        return {month: Tally(count, delay) for month, count, delay in rows}

    def jobs_by_month(self) -> dict[str, Any]:
        """The jobs whose rows each month has."""
        rows = self.query(
            "select printf('%d-%02d', year, month), list(distinct _casparian_job_id) "
            "from read_parquet($1) group by 1"
        )
        return dict(rows)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect() as connection:
            return connection.execute(sql, [str(self.flights)]).fetchall()

    def read_tables(self) -> dict[str, int]:
        """Rows by table, of weather by airport."""
        with closing(sqlite3.connect(self.database)) as connection:
            rows = dict(
                connection.execute(
                    "select 'weather of ' || origin, count(*) from weather group by origin "
                    "union all select 'planes', count(*) from planes"
                ).fetchall()
            )
        for topic in ("airports", "airlines"):
            files = str(self.directory / "lake" / topic / "**" / "*.parquet")
            with duckdb.connect() as connection:
                counted = connection.execute("select count(*) from read_parquet($1)", [files])
                rows[topic] = counted.fetchall()[0][0]
        return rows

    # --- checks -----------------------------------------------------------------------------

    def check(self, what: str, read: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        if read == expected:
            return
        names = sorted({*read, *expected})
        wrong = [
            f"{name}: published {read.get(name)}, source says {expected.get(name)}"
            for name in names
            if read.get(name) != expected.get(name)
        ]
        raise Wrong(f"{what} are wrong: " + "; ".join(wrong))

    def check_superseded(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        changed = {month for month in after if before.get(month) != after[month]}
        if changed != {CORRECTED}:
            raise Wrong(f"rows of {sorted(changed)} were replaced, only {CORRECTED} was to be")

    # --- words ------------------------------------------------------------------------------

    def print_totals(
        self, months: Mapping[str, Tally], before: Mapping[str, Tally] | None = None
    ) -> None:
        print(f"\n   {'month':8} {'flights':>8} {'minutes of delay':>17}")
        for month, (rows, delay) in months.items():
            old = before.get(month) if before else None
            note = (
                f"   (was {old.rows:,} and {old.delay:,})" if old and old != (rows, delay) else ""
            )
            print(f"   {month:8} {rows:8,} {delay:17,}{note}")
        total = Tally(*map(sum, zip(*months.values(), strict=True)))
        print(f"   {'total':8} {total.rows:8,} {total.delay:17,}")
        tables = ", ".join(f"{name} {rows:,}" for name, rows in self.read_tables().items())
        print(f"   {tables}")
        print("   Every number is what the source files say.")

    def print_query(self) -> None:
        airlines = self.directory / "lake" / "airlines" / "**" / "*.parquet"
        print(
            f"""   {shown(Path(sys.executable))} -c "import duckdb; print(duckdb.sql('''
     select name, count(*) flights, round(avg(dep_delay), 1) mean_delay
     from '{shown(self.flights)}'
     join '{shown(airlines)}' using (carrier)
     group by name order by mean_delay desc'''))"

   Configuration, plugins, inbox and output: {shown(self.directory)}"""
        )


def tables_of(source: Source) -> dict[str, int]:
    """What `read_tables` must find."""
    rows = {name: len(source.table(name)) for name in ("planes", "airports", "airlines")}
    for record in source.table("weather"):
        name = f"weather of {record['origin']}"
        rows[name] = rows.get(name, 0) + 1
    return rows


def say(text: str) -> None:
    print(f"\n{text}")


def shown(path: Path) -> str:
    """A path as the reader would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the engine on real data and checks it.")
    parser.add_argument(
        "directory", nargs="?", type=Path, default=PROJECT / "demo-output", help="made anew"
    )
    try:
        Demo(parser.parse_args().directory.absolute()).run()
    except Wrong as error:
        print(f"\nThe demo FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
