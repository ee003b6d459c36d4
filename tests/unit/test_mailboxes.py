"""The newest of each name waits, and no other."""

from __future__ import annotations

import threading

from casparian.app.mailboxes import Mailboxes, Superseded


def test_the_newest_waits_and_the_other_is_told() -> None:
    boxes: Mailboxes[str] = Mailboxes()
    assert boxes.put("a", 2, "second") is None
    assert boxes.put("a", 1, "first") == Superseded("first", 2)
    assert boxes.put("a", 2, "second again") == Superseded("second again", 2)
    assert boxes.put("a", 3, "third") == Superseded("second", 3)
    boxes.close()
    assert (boxes.take(), boxes.take()) == (("a", "third"), None)


def test_who_came_first_is_taken_first() -> None:
    boxes: Mailboxes[str] = Mailboxes()
    boxes.put("a", 1, "old of a")
    boxes.put("b", 1, "of b")
    boxes.put("a", 2, "of a")
    assert (boxes.take(), boxes.take()) == (("a", "of a"), ("b", "of b"))


def test_taking_waits_for_what_is_put_and_for_the_end() -> None:
    boxes: Mailboxes[str] = Mailboxes()
    taken: list[tuple[str, str] | None] = []
    thread = threading.Thread(target=lambda: taken.extend([boxes.take(), boxes.take()]))
    thread.start()
    boxes.put("a", 1, "one")
    boxes.close()
    thread.join()
    assert taken == [("a", "one"), None]


def test_of_one_name_the_next_waits_for_the_one_before() -> None:
    boxes: Mailboxes[str] = Mailboxes()
    boxes.put("a", 1, "first of a")
    assert boxes.take() == ("a", "first of a")
    boxes.put("a", 2, "second of a")
    boxes.put("b", 1, "of b")
    assert boxes.take() == ("b", "of b")
    boxes.close()
    taken: list[tuple[str, str] | None] = []
    threads = [threading.Thread(target=lambda: taken.append(boxes.take())) for _ in range(2)]
    for thread in threads:
        thread.start()
    boxes.done("b")
    assert taken == []
    boxes.done("a")
    for thread in threads:
        thread.join()
    assert sorted(taken, key=str) == [("a", "second of a"), None]
