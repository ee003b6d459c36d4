"""Bundles under any order of steps: several engines, corrections, takeovers, lost answers.

At every moment readers see of each file all rows of one of its versions, or none, and never an
older one than before; in the end those of the newest.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casparian.adapters.queue import open_memory
from casparian.domain.errors import UnavailableError
from casparian.testing.world import HASH, PLUGIN, VirtualClock
from tests.support.audit import violations
from tests.support.examples import examples
from tests.support.outputs import ParquetOutput
from tests.support.stepped import Engine, Stage, lost, virtual_time

FILES = 4
ENGINES = 3
LARGE = 9_000

steps = st.one_of(
    st.tuples(st.just("stage"), st.integers(0, ENGINES - 1), st.integers(0, FILES - 1),
              st.sampled_from([1, 2, 2, 3, LARGE])),
    st.tuples(st.sampled_from(["decide", "promote", "publish", "doubt", "unsent"]),
              st.integers(0, ENGINES - 1)),
    st.tuples(st.sampled_from(["stop", "pause"]), st.integers(0, ENGINES - 1)),
    st.tuples(st.just("sweep"), st.integers(0, ENGINES - 1)),
)  # fmt: skip


class Run:
    """One history."""

    def __init__(self, directory: Path, clock: VirtualClock) -> None:
        self.clock = clock
        self.stage = Stage(open_memory(clock), clock, ParquetOutput(directory, clock))
        self.engines: list[Engine] = [self.stage.engine(f"e{n}") for n in range(ENGINES)]
        self.newest: dict[int, int] = {}
        self.rows: dict[tuple[int, int], int] = {}
        self.seen: dict[int, int] = defaultdict(int)

    def step(self, name: str, engine: int, *rest: int) -> None:
        here = self.engines[engine]
        with contextlib.suppress(UnavailableError):
            match name:
                case "stage":
                    self.stage_version(here, *rest)
                case "doubt" | "unsent":
                    which = here.ledger.after if name == "doubt" else here.ledger.before
                    which("decide", lost)
                    here.decide()
                case "stop":
                    self.engines[engine] = self.stage.engine(f"{here.name}+")
                case "pause":
                    self.clock.advance(31)
                    self.engines[(engine + 1) % ENGINES].recover()
                case "sweep":
                    here.keeper.sweep()
                case _:
                    getattr(here, name)()
        self.check()

    def stage_version(self, engine: Engine, file: int, rows: int) -> None:
        version = self.newest[file] = self.newest.get(file, 0) + 1
        self.rows[file, version] = rows
        self.stage.world.record((b"%d.csv" % file, f"{file}.{version}"))
        self.take_up(engine)

    def take_up(self, engine: Engine) -> bool:
        """Claim what waits and stage it, as the plugin would."""
        claims = self.stage.stores.queue.claim(engine.name, {PLUGIN: HASH}, 1, 30_000_000)
        for claim in claims:
            engine.leases.add([(claim.job_id, claim.token)])
            file = int(claim.path.split(b".")[0])
            rows = self.rows[file, claim.ordinal]
            text = f"{file}.{claim.ordinal}.{rows}"
            engine.stages(claim, {"rows": {"v": [text] * rows}})
        return bool(claims)

    def check(self) -> None:
        found: dict[int, list[str]] = defaultdict(list)
        for text in self.stage.rows():
            found[int(text.split(".")[0])].append(text)
        for file, texts in found.items():
            assert len(set(texts)) == 1, texts
            _, version, rows = (int(part) for part in texts[0].split("."))
            assert len(texts) == rows, texts[:3]
            assert version >= self.seen[file], f"{texts[0]} after version {self.seen[file]}"
            self.seen[file] = version
        lost_files = [f for f, version in self.seen.items() if version and not found[f]]
        assert not lost_files

    def finish(self) -> None:
        last = self.stage.engine("last")
        for _ in range(20):
            self.clock.advance(31)
            last.recover()
            while self.take_up(last) or last.staged or last.decided:
                last.publish()
                self.clock.advance(0.1)
            self.check()
        assert self.seen == self.newest, self.stage.world.statuses()
        last.keeper.sweep()
        assert violations(self.stage.stores) == []


def run(history: list[tuple[Any, ...]]) -> None:
    clock = VirtualClock()
    with (
        TemporaryDirectory() as directory,
        pytest.MonkeyPatch.context() as patch,
        virtual_time(clock, patch),
    ):
        patch.setattr("casparian.app.publisher.log", _Quiet())
        history_of = Run(Path(directory), clock)
        for step in history:
            history_of.step(*step)
        history_of.finish()


class _Quiet:
    def __getattr__(self, name: str) -> object:
        return lambda *_, **__: None


@settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(steps, min_size=5, max_size=40))
def test_any_order_of_steps(history: list[tuple[Any, ...]]) -> None:
    run(history)
