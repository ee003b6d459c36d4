"""Connections of SQL sinks: as many as threads need at once, and looked at when they rested."""

from __future__ import annotations

import threading

import pytest

from casparian.adapters.sink._sql_pool import LOOK_AFTER_S, Pool


class FakeSession:
    def __init__(self) -> None:
        self.alive = True
        self.looks = 0
        self.closed = False

    def is_alive(self) -> bool:
        self.looks += 1
        return self.alive

    def close(self) -> None:
        self.closed = True


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.made: list[FakeSession] = []
        self.pool = Pool(self._connect, lambda: self.now)

    def _connect(self) -> FakeSession:
        self.made.append(FakeSession())
        return self.made[-1]

    def use(self) -> FakeSession:
        with self.pool.session() as session:
            return session


def test_a_connection_is_looked_at_only_when_it_rested() -> None:
    world = World()
    first = world.use()
    assert world.use() is first
    assert first.looks == 0
    world.now += LOOK_AFTER_S
    assert world.use() is first
    assert first.looks == 1


def test_one_that_died_while_it_rested_is_replaced() -> None:
    world = World()
    first = world.use()
    first.alive = False
    world.now += LOOK_AFTER_S
    assert world.use() is not first
    assert first.closed


def test_after_an_error_all_others_are_looked_at() -> None:
    """A server that restarts ends them all at once, also those that were in use a moment ago."""
    world = World()
    with world.pool.session() as one, world.pool.session() as other:
        pass
    one.alive = other.alive = False
    with pytest.raises(RuntimeError), world.pool.session():
        raise RuntimeError("the server closed the connection")
    third = world.use()
    assert third not in (one, other)
    assert one.closed
    assert other.closed


def test_there_are_as_many_as_threads_use_at_the_same_time() -> None:
    world = World()
    for _ in range(3):
        together = threading.Barrier(4)

        def work(together: threading.Barrier = together) -> None:
            with world.pool.session():
                together.wait(30)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(world.made) == 4
    del world.pool
    assert all(session.closed for session in world.made)
