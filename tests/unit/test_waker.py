"""The waker of the ZMQ transports: many say it, one byte travels, none is lost."""

from __future__ import annotations

import select
import threading
from collections import deque

from casparian.adapters.transport._waker import Waker

PATIENCE_S = 20.0


def _readable(waker: Waker, timeout_s: float = 0.0) -> bool:
    return bool(select.select([waker], [], [], timeout_s)[0])


def test_says_it_once_until_it_is_heard() -> None:
    waker = Waker()
    waker.wake()
    waker.wake()
    assert _readable(waker)
    waker.clear()
    assert not _readable(waker)
    waker.wake()
    assert _readable(waker)
    waker.close()


def test_no_work_is_left_lying_however_the_wakes_fall() -> None:
    """Each thread puts work first and wakes then; who hears it clears first and looks then."""
    waker = Waker()
    work: deque[int] = deque()
    each, threads = 20_000, 3

    def put() -> None:
        for n in range(each):
            work.append(n)
            waker.wake()

    putters = [threading.Thread(target=put) for _ in range(threads)]
    for putter in putters:
        putter.start()
    done = 0
    while done < each * threads:
        assert _readable(waker, PATIENCE_S), f"{len(work)} pieces of work that nobody heard of"
        waker.clear()
        while work:
            work.popleft()
            done += 1
    for putter in putters:
        putter.join()
    waker.close()
