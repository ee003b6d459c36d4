"""What `casparian why` says of files that the engine took away, or tried to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from casparian.adapters.queue.common import iso, iso_or_none
from casparian.app.cli._output import moment
from casparian.domain.departures import Action, Departure, Outcome
from casparian.domain.files import path_text

if TYPE_CHECKING:
    from casparian.domain.documents.files import DepartureDocument, FileStoryDocument


def tell_departures(document: FileStoryDocument, departures: Sequence[Departure]) -> None:
    """Each version gets what became of its file (`departure`, null without one); the advice is
    about the current one."""
    by_version = {departure.version_id: departure for departure in departures}
    for version in document["versions"]:
        departure = by_version.get(version["file_version_id"])
        version["departure"] = _document(departure) if departure else None
        if departure is not None and version["current"]:
            _advise(document, departure)


def _document(departure: Departure) -> DepartureDocument:
    return {
        "action": str(departure.action),
        "place": path_text(departure.place) or None,
        "planned_at": iso(departure.planned_at_us),
        "ended_at": iso_or_none(departure.ended_at_us),
        "outcome": str(departure.outcome) if departure.outcome else None,
        "message": departure.message,
    }


def _advise(document: FileStoryDocument, departure: Departure) -> None:
    advice = document["advice"]
    at = moment(iso_or_none(departure.ended_at_us))
    if departure.outcome is Outcome.KEPT:
        advice.append(
            f"The engine was to {departure.action} the file (after) and kept it at {at}, since "
            f"{departure.message}. It tries again later."
        )
    elif departure.outcome is Outcome.GONE and document["deleted"]:
        said = f"The engine {_done(departure)} at {at}, when all its jobs were done (after)."
        advice.insert(0, said)


def _done(departure: Departure) -> str:
    if departure.action is Action.DELETE:
        return "deleted the file"
    return f"archived the file as {path_text(departure.place)}"
