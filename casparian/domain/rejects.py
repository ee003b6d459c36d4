"""How many rows of a file may be rejected: a count is held while they come, a share at the end."""

from __future__ import annotations

from collections.abc import Iterable

from casparian.domain.clipping import clip
from casparian.domain.errors import ErrorClass, JobError

MOST_SHOWN = 5
LONGEST_SHOWN = 300


class RejectBound:
    """One job's rejects against `max_rejects`: a count (int) or a share of the rows (float).

    `rejected` counts what came so far; the first few are kept for the error's text.
    """

    def __init__(self, plugin: str, max_rejects: int | float) -> None:
        self.rejected = 0
        self._plugin = plugin
        self._most = max_rejects
        self._shown: list[str] = []

    @property
    def wants_more(self) -> bool:
        """True while the error's text has room for further rejects."""
        return len(self._shown) < MOST_SHOWN

    def add(self, rows: int, first: Iterable[tuple[int | None, str | None]]) -> None:
        """Count `rows` more, whose first lines and reasons are `first`.

        Raises JobError (DATA) when a count is passed: the rest of the file need not be read.
        """
        self.rejected += rows
        for line, reason in first:
            if self.wants_more:
                where = "a row" if line is None else f"line {line}"
                self._shown.append(f"{where}: {clip(reason or 'no reason', LONGEST_SHOWN)}")
        if isinstance(self._most, int) and self.rejected > self._most:
            raise self._passed(f"{_rows(self.rejected)} rejected so far, more than the")

    def finish(self, published: int) -> None:
        """All rows have come, `published` of them were not rejected.

        Raises JobError (DATA) when the share is passed.
        """
        read = published + self.rejected
        if isinstance(self._most, float) and self.rejected > self._most * read:
            counted = f"{self.rejected} of {_rows(read)} rejected"
            raise self._passed(f"{counted}, {self.rejected / read:.2%}, more than the")

    def _passed(self, what: str) -> JobError:
        bound = self._most if isinstance(self._most, int) else f"{self._most:.2%}"
        shown = "; ".join(self._shown).rstrip(".")
        left_out = self.rejected - len(self._shown)
        more = f"; and {left_out} more" if left_out else ""
        return JobError(
            ErrorClass.DATA,
            f"{what} {bound} that max_rejects of plugin {self._plugin} allows: "
            f"{shown}{more}. Correct the file, or raise max_rejects in [plugin.{self._plugin}].",
        )


def _rows(count: int) -> str:
    return "1 row was" if count == 1 else f"{count} rows were"
