"""`casparian trace`: from an output row back to the bytes it was made of."""

from __future__ import annotations

import shlex
from contextlib import closing
from typing import Annotated, Any

import typer

from casparian.app.cli._output import count, moment, printable, show_json
from casparian.app.cli._shared import ConfigOption, JsonOption, load_settings, open_stores
from casparian.domain.errors import ConfigurationError

Document = dict[str, Any]


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
    of its content and its path.

    Exits with 2 for a job that is not known, and for a topic or a row that it has not written.

    Example: casparian trace 12 3041 --topic output
    """
    with closing(open_stores(load_settings(ctx, config))) as stores:
        document = stores.reports.trace(job_id)
    if document is None:
        raise ConfigurationError(
            f"There is no job {job_id}. `casparian jobs` lists the jobs with their numbers; a row "
            "of another installation is known to that one's database only."
        )
    document["outputs"] = _outputs(document["job"], row, topic)
    document["row"] = row
    if as_json:
        show_json(document)
    else:
        _show(document)


def _outputs(job: Document, row: int | None, topic: str | None) -> list[Document]:
    """What the job wrote that `row` and `topic` can mean. Raises ConfigurationError for nothing."""
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


def _wrote(job: Document, names: str) -> str:
    return f"it wrote {names}" if names else f"it is {job['status']} and wrote no rows"


def _show(document: Document) -> None:
    job, version = document["job"], document["version"]
    for name, text in _lines(document, job, version):
        print(f"{name:<9}{printable(text)}")


def _lines(document: Document, job: Document, version: Document) -> list[tuple[str, str]]:
    lines = []
    for output in document["outputs"]:
        what = count(output["rows"], "row")
        if document["row"] is not None:
            what = f"row {document['row']} of {what}"
        lines.append(
            (
                "rows",
                f"{what} of topic {output['topic']}, in {output['target']}, slot {output['slot']} "
                f"({output['mode']})",
            )
        )
    worker = f" on worker {job['worker']}" if job["worker"] else ""
    ended = f", {moment(job['finished_at'])}" if job["finished_at"] else ""
    lines.append(("job", f"{job['id']}, {job['status']}{ended}"))
    lines.append(("attempt", f"{job['attempt']}{worker}"))
    code = f"code {job['plugin_hash']}" if job["plugin_hash"] else "no code has run"
    lines.append(("plugin", f"{job['plugin']}, {code}"))
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
    lines.append(("path", f"{document['path']}, in {document['source_root']}{gone}"))
    lines.append(("more", f"casparian why {shlex.quote(document['path'])}"))
    return lines
