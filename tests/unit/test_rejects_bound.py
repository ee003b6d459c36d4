"""How many rows may be rejected: a count while they come, a share when all have come."""

from __future__ import annotations

import pytest

from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.rejects import LONGEST_SHOWN, MOST_SHOWN, RejectBound


def first(*lines: int) -> list[tuple[int | None, str | None]]:
    return [(line, f"reason {line}") for line in lines]


def test_a_count_is_held_while_rejects_come() -> None:
    bound = RejectBound("csv_table", 10)
    bound.add(10, first(2, 5))
    bound.finish(0)
    with pytest.raises(JobError) as caught:
        bound.add(1, first(17))
    assert caught.value.error_class is ErrorClass.DATA
    assert caught.value.message == (
        "11 rows were rejected so far, more than the 10 that max_rejects of plugin csv_table "
        "allows: line 2: reason 2; line 5: reason 5; line 17: reason 17; and 8 more. Correct "
        "the file, or raise max_rejects in [plugin.csv_table]."
    )


def reject_one_of_a_hundred(bound: RejectBound) -> None:
    bound.add(1, first(3))
    bound.finish(99)


@pytest.mark.parametrize("none", [0, 0.0])
def test_none_may_be_rejected(none: float) -> None:
    bound = RejectBound("p", none)
    bound.finish(0)
    with pytest.raises(JobError, match=r"^1 (row was|of 100 rows were) rejected.*line 3: reason 3"):
        reject_one_of_a_hundred(bound)


@pytest.mark.parametrize(("published", "passed"), [(99, False), (98, True), (0, True)])
def test_a_share_is_held_when_all_has_come(published: int, passed: bool) -> None:
    bound = RejectBound("p", 0.01)
    bound.add(1, first(3))
    if not passed:
        bound.finish(published)
        return
    with pytest.raises(JobError, match=rf"^1 of {published + 1} rows? w.* than the 1.00% that"):
        bound.finish(published)


def test_everything_may_be_rejected() -> None:
    bound = RejectBound("p", 1.0)
    bound.add(1_000_000, [])
    bound.finish(0)
    assert bound.rejected == 1_000_000


def test_the_text_shows_a_few_and_marks_what_it_cuts() -> None:
    bound = RejectBound("p", 0)
    with pytest.raises(JobError) as caught:
        bound.add(1000, [(None, "x" * 100_000), (2, None), *first(*range(3, 100))])
    text = caught.value.message
    assert len(text) < MOST_SHOWN * LONGEST_SHOWN + 500
    assert "a row: xxx" in text
    assert "characters left out" in text
    assert "line 2: no reason; line 3: reason 3" in text
    assert "line 5: reason 5; and 995 more." in text
    assert not bound.wants_more
