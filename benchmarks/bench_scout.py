"""What the scout costs: scans against `find` and a bare read-and-hash loop, large files against
`openssl`, and both scans from ten thousand files to a million.

    python benchmarks/bench_scout.py                          # 10,000 files, large files
    python benchmarks/bench_scout.py --files 200000 --trees /var/tmp/trees
    python benchmarks/bench_scout.py --files 10000 100000 1000000 --plot scout.svg

Trees of files of 2 KB, a hundred in a directory, are made once under `--trees` and stay there.
Each figure of a scan is of a process of its own; what is compared is measured in turn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from scout_plot import plot

from casparian.adapters.files import LocalFileSource
from casparian.adapters.queue.sqlite import open_database
from casparian.adapters.queue.stores import stores_of
from casparian.app.process import calm_the_collector, share_the_interpreter
from casparian.app.scout import Scout
from casparian.app.scout_service import ScoutService
from casparian.domain.files import ScanReport, ScanRules
from casparian.domain.ports import Applied
from casparian.domain.routing import RoutingRule, RoutingTable, Subscription

SIZE, PER_DIRECTORY = 2000, 100
LARGE_FILES, LARGE_MB = 4, 256
Figures = dict[str, Any]


# --- what is scanned -------------------------------------------------------------------------


def tree_of(trees: Path, files: int) -> Path:
    """The tree with so many files; made where it is not there."""
    tree = trees / f"tree-{files}"
    if tree.exists():
        return tree
    making = trees / f"tree-{files}.making"
    content = os.urandom(SIZE)
    for number in range(files):
        directory, name = divmod(number, PER_DIRECTORY)
        inner = making / f"{directory // 100:03}" / f"{directory:05}"
        if name == 0:
            inner.mkdir(parents=True)
        (inner / f"file-{name:05}.csv").write_bytes(b"%d\n" % number + content)
    making.rename(tree)
    return tree


class Subject(NamedTuple):
    """A scout with a new catalog, for which all files have settled."""

    scout: Scout
    scan: Callable[[], ScanReport]
    writes: Callable[[], int]
    """How many transactions wrote so far."""


@contextmanager
def scout_on(tree: Path) -> Iterator[Subject]:
    with tempfile.TemporaryDirectory(prefix="bench-scout-") as directory:
        database = open_database(f"{directory}/queue.sqlite3", lambda: later_us())
        writes = 0
        begin = database.dialect.begin_write

        def counted(*given: Any) -> None:
            nonlocal writes
            writes += 1
            begin(*given)

        database.dialect.begin_write = counted  # type: ignore[method-assign]
        stores = stores_of(database)
        rules = (RoutingRule("**/*.csv", "csv"),)
        stores.store.apply(Applied((os.fsencode(tree),), rules, (), ()))
        (root,) = stores.catalog.roots()
        routing = RoutingTable(
            stores.store.routing().rules, (Subscription("plugin", frozenset({"csv"})),)
        )
        scout = Scout(stores.catalog, LocalFileSource(), ScanRules(), later_us, lambda: routing)
        try:
            yield Subject(scout, lambda: scout.scan(root), lambda: writes)
        finally:
            stores.close()


def later_us() -> int:
    return time.time_ns() // 1000 + 10_000_000


# --- measuring -------------------------------------------------------------------------------


def timed(work: Callable[[], Any], who: int = resource.RUSAGE_SELF) -> tuple[float, float]:
    """Seconds on the wall, and of CPU."""
    cpu, wall = cpu_s(who), time.perf_counter()
    work()
    return time.perf_counter() - wall, cpu_s(who) - cpu


def cpu_s(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def find(tree: Path) -> tuple[float, float]:
    return program(["find", str(tree), "-type", "f", "-printf", "%s %T@\n"])


def program(command: list[str]) -> tuple[float, float]:
    run = partial(subprocess.run, command, stdout=subprocess.DEVNULL, check=True)
    return timed(run, resource.RUSAGE_CHILDREN)


def bare_loop(tree: Path) -> None:
    for directory, _, names in os.walk(os.fsencode(tree)):
        for name in names:
            fd = os.open(directory + b"/" + name, os.O_RDONLY)
            hashlib.sha256(os.read(fd, 1 << 16)).digest()
            os.close(fd)


def in_own_process(what: str, tree: Path, rounds: int) -> Figures:
    command = [sys.executable, __file__, "--one", what, "--rounds", str(rounds), str(tree)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    # Before it may stand what the scout logs.
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def scans(tree: Path, rounds: int) -> Figures:
    """One first scan, the bare loop before and after it; then rescans and `find` in turn."""
    bare = [timed(lambda: bare_loop(tree))]
    with scout_on(tree) as (_, scan, writes):
        reports: list[ScanReport] = []

        def scan_once() -> None:
            reports.append(scan())

        first = timed(scan_once)
        files, jobs = reports[0].new, reports[0].jobs
        bare.append(timed(lambda: bare_loop(tree)))
        compare_all = timed(scan_once)
        before, rescans, finds = writes(), [], []
        for _ in range(rounds):
            finds.append(find(tree))
            rescans.append(timed(scan_once))
        assert {report.unchanged for report in reports[1:]} == {files}
        written = (writes() - before) / rounds
    base = min(wall for wall, _ in bare)
    wall, cpu = (
        statistics.median(r[i] / f[i] for r, f in zip(rescans, finds, strict=True)) for i in (0, 1)
    )
    return {
        "files": files,
        "jobs": jobs,
        "first_s": first[0],
        "first_cpu_s": first[1],
        "first_files_per_s": files / first[0],
        "first_to_bare": first[0] / base,
        "first_to_bare_cpu": first[1] / min(cpu for _, cpu in bare),
        "compare_all_s": compare_all[0],
        "rescan_s": statistics.median(r[0] for r in rescans),
        "find_s": statistics.median(f[0] for f in finds),
        "rescan_to_find": wall,
        "rescan_to_find_cpu": cpu,
        "rescan_writes": written,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def large(tree: Path, rounds: int) -> Figures:
    """Large files: one and all of them, by the scout's reader and by `openssl dgst`, in turn."""
    paths = sorted(tree.iterdir())
    ratios: dict[str, list[float]] = {"one": [], "all": []}
    for _ in range(rounds):
        for name, some in (("one", paths[:1]), ("all", paths)):
            command = ["openssl", "dgst", "-sha256", *map(str, some)]
            theirs, _ = program(command)
            with tempfile.TemporaryDirectory(dir=tree.parent) as directory:
                for path in some:
                    os.link(path, Path(directory) / path.name)
                with scout_on(Path(directory)) as subject:
                    ours, _ = timed(subject.scan)
            ratios[name].append(ours / theirs)
    return {f"{name}_to_openssl": statistics.median(found) for name, found in ratios.items()}


def events(tree: Path, rounds: int) -> Figures:
    """From a new file to its job in the queue, by events alone; and CPU while nothing happens."""
    directories = sorted(tree.glob("*/*"))[:: max(1, len(list(tree.glob("*/*"))) // (8 * rounds))]
    made: list[Path] = []
    recorded, stop = threading.Event(), threading.Event()
    with scout_on(tree) as (scout, scan, _):
        scan()
        service = ScoutService(scout, interval_s=3600, on_recorded=lambda jobs: recorded.set())
        thread = threading.Thread(target=service.run, args=(stop,))
        thread.start()

        def seen_after(directory: Path, wait_s: float) -> float | None:
            made.append(directory / f"new-{len(made)}.csv")
            recorded.clear()
            began = time.perf_counter()
            made[-1].write_bytes(b"%d\n" % time.time_ns())
            return time.perf_counter() - began if recorded.wait(wait_s) else None

        try:
            # Watching begins after the first scan, and with one more.
            while seen_after(directories[0], 2) is None:
                pass
            time.sleep(2)
            cpu, began = cpu_s(resource.RUSAGE_SELF), time.perf_counter()
            time.sleep(10)
            idle = (cpu_s(resource.RUSAGE_SELF) - cpu) / (time.perf_counter() - began)
            taken = [seen_after(directory, 30) for directory in directories]
        finally:
            stop.set()
            service.wake()
            thread.join()
            for path in made:
                path.unlink()
    in_time = [one for one in taken if one is not None]
    assert len(in_time) == len(taken)
    return {
        "changes": len(taken),
        "noticed_median_s": statistics.median(in_time),
        "noticed_worst_s": max(in_time),
        "idle_cpu_percent": 100 * idle,
    }


# --- all of it -------------------------------------------------------------------------------


def make_large(trees: Path) -> Path:
    tree = trees / f"large-{LARGE_FILES}x{LARGE_MB}"
    tree.mkdir(exist_ok=True)
    for number in range(LARGE_FILES):
        path = tree / f"{number}.csv"
        if not path.exists() or path.stat().st_size != LARGE_MB << 20:
            block = os.urandom(1 << 20)
            with path.open("wb") as file:
                for _ in range(LARGE_MB):
                    file.write(block)
    return tree


def show(title: str, figures: Figures) -> None:
    print(f"\n{title}")
    for name, value in figures.items():
        print(f"  {name:20} {value:,.3f}" if isinstance(value, float) else f"  {name:20} {value:,}")
    sys.stdout.flush()


MEASURES = {"scans": scans, "large": large, "events": events}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, nargs="*", default=[10_000])
    parser.add_argument("--trees", type=Path, help="where trees are, and stay; else a new place")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="large files, too: 1 GB")
    parser.add_argument("--events", action="store_true", help="events in each tree, too")
    parser.add_argument("--plot", type=Path, help="an SVG of time and memory by files")
    parser.add_argument("--one", choices=sorted(MEASURES), help=argparse.SUPPRESS)
    parser.add_argument("tree", type=Path, nargs="?", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        # As the engine does.
        calm_the_collector()
        share_the_interpreter()
        print(json.dumps(MEASURES[given.one](given.tree, given.rounds)))
        return
    trees = given.trees or Path(tempfile.mkdtemp(prefix="bench-scout-"))
    trees.mkdir(parents=True, exist_ok=True)
    try:
        found = []
        for files in given.files:
            found.append(in_own_process("scans", tree_of(trees, files), given.rounds))
            show(f"{files:,} files of {SIZE:,} bytes", found[-1])
            if given.events:
                show("events", in_own_process("events", tree_of(trees, files), given.rounds))
        if given.large:
            title = f"{LARGE_FILES} files of {LARGE_MB} MB"
            show(title, in_own_process("large", make_large(trees), given.rounds))
        if given.plot:
            given.plot.write_text(plot(found))
    finally:
        if not given.trees:
            shutil.rmtree(trees)


if __name__ == "__main__":
    main()
