"""`casparian trace`: from an output row back to the bytes it was made of."""

from __future__ import annotations

import shlex
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from casparian.app.cli._output import count, moment, show_json
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.app.cli._story import environment, original, purged, slot
from casparian.app.printable import printable
from casparian.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from casparian.app.cli.shapes import OriginDocument
    from casparian.domain.documents.files import (
        AdoptedRowsDocument,
        JobOriginDocument,
        VersionHeadDocument,
    )
    from casparian.domain.documents.jobs import JobDocument, JobStoryDocument, OutputDocument


def trace(
    ctx: typer.Context,
    job_id: Annotated[
        int, typer.Argument(metavar="JOB_ID", help="What the row says in _casparian_job_id.")
    ],
    row: Annotated[
        int | None,
        typer.Argument(metavar="[ROW]", help="What it says in _casparian_row.", show_default=False),
    ] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", metavar="T", help="The topic that the row is of.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Where a published row came from.

    The job and the attempt that wrote it, the plugin's code, the version of the file, the hash
    of its content and its path. Of adopted rows the installation that published them, the content
    and the path are known.

    Exits with 2 for a job that is not known, and for a topic or a row that it has not written.

    Example: casparian trace 12 3041 --topic output
    """
    with closing(open_stores(load_settings(ctx, config))) as stores:
        found = stores.reports.trace(job_id)
        pruned = found is None and any(p["jobs"] for p in stores.reports.status()["prunings"])
    if found is None:
        raise ConfigurationError(
            f"There is no job {job_id}. `casparian jobs` lists the jobs with their numbers; a row "
            "of another installation is known to that one's database only."
            + (" Old jobs were pruned: `casparian status` says when." if pruned else "")
        )
    document = _origin(found, job_id, row, topic)
    if as_json:
        show_json(document)
    else:
        _show(document)


def _origin(
    found: JobOriginDocument, job_id: int, row: int | None, topic: str | None
) -> OriginDocument:
    adopted = _adopted(found, job_id, row, topic)
    document: OriginDocument = {**found, "adopted": adopted, "outputs": [], "row": row}
    if found["job"] is not None:
        document["outputs"] = _outputs(found["job"], adopted, row, topic)
    else:
        same = {rows["path"] for rows in adopted}
        document["path"] = same.pop() if len(same) == 1 else None
    return document


def _adopted(
    found: JobOriginDocument, job_id: int, row: int | None, topic: str | None
) -> list[AdoptedRowsDocument]:
    """Rows of other installations under this number that `row` and `topic` can mean. Raises
    ConfigurationError for none, where this queue has no such job."""
    adopted = [
        rows
        for rows in found["adopted"]
        if topic in (None, rows["topic"]) and (row is None or 0 <= row < rows["rows"])
    ]
    if found["job"] is None and not adopted:
        raise ConfigurationError(
            f"The rows of job {job_id} that were taken over from another installation are not "
            "those: leave out the row and --topic, and all of them are told."
        )
    return adopted


def _outputs(
    job: JobStoryDocument,
    adopted: list[AdoptedRowsDocument],
    row: int | None,
    topic: str | None,
) -> list[OutputDocument]:
    """What the job wrote that `row` and `topic` can mean. Raises ConfigurationError for nothing,
    unless adopted rows are meant."""
    try:
        return _own_outputs(job, row, topic)
    except ConfigurationError:
        if not adopted:
            raise
        return []


def _own_outputs(job: JobStoryDocument, row: int | None, topic: str | None) -> list[OutputDocument]:
    outputs = [output for output in job["outputs"] if not output["emptied"]]
    names = ", ".join(output["topic"] for output in outputs)
    if topic is not None:
        outputs = [output for output in outputs if output["topic"] == topic]
        if not outputs:
            raise ConfigurationError(
                f"Job {job['id']} wrote no topic {topic!r}; {_wrote(job, names)}."
            )
    if row is None:
        return outputs
    found = [output for output in outputs if 0 <= row < output["rows"]]
    if not found:
        rows = ", ".join(f"{o['topic']} has {count(o['rows'], 'row')}" for o in outputs)
        said = f"{rows}, counted from 0" if rows else _wrote(job, names)
        raise ConfigurationError(f"Job {job['id']} wrote no row {row}: {said}.")
    return found


def _wrote(job: JobDocument, names: str) -> str:
    if job["kind"] != "RUN":
        return f"it is a {job['kind'].lower()}, which removes rows and writes none"
    if job["status"] == "SKIPPED":
        return f"it is SKIPPED: {original(job['duplicate_of'])}"
    return f"it wrote {names}" if names else f"it is {job['status']} and wrote no rows"


def _show(document: OriginDocument) -> None:
    job, version = document["job"], document["version"]
    lines = _lines(document, job, version) if job is not None and version is not None else []
    for rows in document["adopted"]:
        lines += _adopted_lines(rows)
    for name, text in lines:
        print(f"{name:<9}{printable(text)}")


def _adopted_lines(rows: AdoptedRowsDocument) -> list[tuple[str, str]]:
    stand = "they still stand"
    if rows["replaced_by"] is not None:
        stand = f"job {rows['replaced_by']} of this queue has replaced them since"
    gone = ", no longer there" if rows["deleted"] else ""
    content = rows["content_hash"]
    return [
        (
            "adopted",
            f"{count(rows['rows'], 'row')} of topic {rows['topic']}, in {rows['target']}, slot "
            f"{rows['slot']} ({rows['mode']}): {stand}",
        ),
        (
            "from",
            f"job {rows['job_id']} of installation {rows['installation'][:12]}, plugin "
            f"{rows['plugin']}; taken over {moment(rows['adopted_at'])} by {rows['actor']}. "
            "Attempt, code and version are known to the database of that installation only",
        ),
        ("content", f"SHA-256 {content}" if content else "not known"),
        ("path", f"{rows['path']}, in {rows['source_root']}{gone}"),
        ("more", f"casparian why {shlex.quote(rows['path'])}"),
    ]


def _lines(
    document: OriginDocument, job: JobStoryDocument, version: VersionHeadDocument
) -> list[tuple[str, str]]:
    lines = []
    for output in document["outputs"]:
        what = count(output["rows"], "row")
        if document["row"] is not None:
            what = f"row {document['row']} of {what}"
        lines.append(
            (
                "rows",
                f"{what} of topic {output['topic']}, in {output['target']}, {slot(output)}",
            )
        )
        if output["purged"]:
            lines.append(("", f"no longer there: {purged(output['purged'])}"))
    worker = f" on worker {job['worker']}" if job["worker"] else ""
    ended = f", {moment(job['finished_at'])}" if job["finished_at"] else ""
    removal = f", a {job['kind'].lower()}" if job["kind"] != "RUN" else ""
    lines.append(("job", f"{job['id']}, {job['status']}{ended}{removal}"))
    if job["status"] == "SKIPPED":
        lines.append(("since", original(job["duplicate_of"])))
    lines.append(("attempt", f"{job['attempt']}{worker}"))
    code = f"code {job['plugin_hash']}" if job["plugin_hash"] else "no code has run"
    lines.append(("plugin", f"{job['plugin']}, {code}"))
    if job["sandbox"] is not None:
        lines.append(("sandbox", job["sandbox"]))
    if job["environment"] is not None:
        lines.append(("packages", environment(job["environment"])))
    standing = "the current one" if version["current"] else "replaced since"
    lines.append(
        (
            "version",
            f"{version['ordinal']} (id {version['file_version_id']}), {standing}, found "
            f"{moment(version['seen_at'])}",
        )
    )
    lines.append(("content", f"SHA-256 {version['content_hash']}, {version['size']:,} bytes"))
    gone = ", no longer there" if document["deleted"] else ""
    lines.append(("path", f"{job['path']}, in {document['source_root']}{gone}"))
    lines.append(("more", f"casparian why {shlex.quote(job['path'])}"))
    return lines
