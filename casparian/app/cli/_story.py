"""The document of `casparian why` as a text that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from casparian.app.cli._output import count, moment
from casparian.app.printable import printable

if TYPE_CHECKING:
    from casparian.domain.documents.files import (
        AdoptedRowsDocument,
        FileStoryDocument,
        RuleDocument,
        VersionDocument,
    )
    from casparian.domain.documents.jobs import (
        EnvironmentDocument,
        EventDocument,
        JobDocument,
        OriginalDocument,
        OutputDocument,
        PurgedByDocument,
        SubscribedJobDocument,
    )


def story(document: FileStoryDocument) -> str:
    return "\n".join(_lines(document))


def _lines(document: FileStoryDocument) -> Iterator[str]:
    gone = ", no longer there" if document["deleted"] else ""
    yield f"{printable(document['path'])}, in {printable(document['source_root'])}{gone}"
    for version in document["versions"]:
        yield ""
        yield from _version(version, document["versions"])
    if document["adopted"]:
        yield ""
        yield "Adopted rows"
        for rows in document["adopted"]:
            yield from _indented(_adopted(rows), "  ")
    yield ""
    yield "What to do"
    for sentence in document["advice"] or [_nothing_to_do(document)]:
        yield from _indented(sentence, "  ")
    for other in document["others"]:
        yield ""
        yield (
            f"The path is also known in {printable(other['source_root'])}: "
            f"casparian why {printable(other['source_root'].rstrip('/') + '/' + other['path'])}"
        )


def _adopted(rows: AdoptedRowsDocument) -> str:
    stand = "they still stand"
    if rows["replaced_by"] is not None:
        stand = f"job {rows['replaced_by']} has replaced them"
    return (
        f"{moment(rows['adopted_at'])}  {count(rows['rows'], 'row')} of topic {rows['topic']} in "
        f"{rows['target']}, slot {rows['slot']} ({rows['mode']}), published by job "
        f"{rows['job_id']} of installation {rows['installation'][:12]}, taken over by "
        f"{rows['actor']}: {stand}"
    )


def _nothing_to_do(document: FileStoryDocument) -> str:
    current = [job for v in document["versions"] if v["current"] for job in v["jobs"]]
    if any(job["status"] in ("RUNNING", "PROMOTING") for job in current):
        return "Nothing: it is being worked on."
    return "Nothing: all is done."


def _version(version: VersionDocument, versions: list[VersionDocument]) -> Iterator[str]:
    current = "the current one" if version["current"] else "replaced since"
    yield f"Version {version['ordinal']} (id {version['file_version_id']}), {current}"
    yield f"  found    {moment(version['seen_at'])}, {count(version['size'], 'byte')}"
    yield f"  content  SHA-256 {version['content_hash']}"
    for rule in version["rules"]:
        yield f"  tag      {printable(rule['tag'])}, {_reason(rule)}"
    if not version["tags"]:
        yield "  tag      none: no rule matched it"
    for job in version["jobs"]:
        yield from _job(job, version, versions)
    if version["tags"] and not version["jobs"]:
        yield "  job      none: no plugin subscribes to these tags"


_REMOVALS = {
    "PURGE": "purge of the rows of plugin",
    "WITHDRAW": "withdrawal of the rows of earlier versions of the file, by plugin",
}


def _reason(rule: RuleDocument) -> str:
    if rule["pattern"] is None:
        return "by a rule that is no longer known"
    return f"since the rule {printable(rule['pattern'])} matches (priority {rule['priority']})"


def _job(
    job: SubscribedJobDocument, version: VersionDocument, versions: list[VersionDocument]
) -> Iterator[str]:
    tags = ", ".join(job["subscription"])
    because = f"subscribes to {tags}" if tags else "subscribed to it then, and no longer does"
    code = f" (code {job['plugin_hash'][:12]})" if job["plugin_hash"] else ""
    if job["kind"] in _REMOVALS:
        yield f"  job {job['id']:<4} {job['status']}: {_REMOVALS[job['kind']]} {job['plugin']}"
    else:
        yield f"  job {job['id']:<4} {job['status']}: plugin {job['plugin']} {because}{code}"
        yield f"    {moment(job['enqueued_at'])}  {_beginning(job)}"
    if job["environment"] is not None:
        yield from _indented(f"ran in {environment(job['environment'])}", "    ")
    for event in job["events"]:
        yield from _event(event)
    yield from _last_attempt(job)
    for output in job["outputs"]:
        yield f"    {_output(output, job, version, versions)}"


def _beginning(job: JobDocument) -> str:
    if job["status"] != "SKIPPED":
        return "queued"
    return f"skipped: {original(job['duplicate_of'])}"


def original(of: OriginalDocument | None) -> str:
    """Who does the content of a skipped file, as part of a sentence."""
    if of is None:
        return "another file had the same content, and its rows were purged"
    return f"job {of['job_id']} does the same content, of {printable(of['path'])}"


def environment(ran_in: EnvironmentDocument) -> str:
    """`CPython 3.11.2 with helper==3.0, units==1.2`."""
    return f"{ran_in['python']} with {', '.join(ran_in['packages'])}"


def _event(event: EventDocument) -> Iterator[str]:
    by = f" by {printable(event['actor'])}" if event["actor"] else ""
    worker = f" on worker {event['worker']}" if event["worker"] else ""
    kind = f" ({event['class']})" if event["class"] else ""
    said = f"{event['event']}{kind}{by}"
    yield f"    {moment(event['at'])}  attempt {event['attempt']}{worker}: {said}"
    for text in (event["message"], event["detail"]):
        if text:
            yield from _indented(text, " " * 6)


def _last_attempt(job: JobDocument) -> Iterator[str]:
    """What no event tells: an attempt that runs, or one that went well."""
    attempt = f"attempt {job['attempt']} on worker {job['worker']}"
    if job["status"] in ("RUNNING", "PROMOTING"):
        yield f"    {moment(job['started_at'])}  {attempt} works on it"
    elif job["status"] == "COMPLETED":
        yield f"    {moment(job['started_at'])}  {attempt} began"
        yield f"    {moment(job['finished_at'])}  {_rows(job)}"


def _rows(job: JobDocument) -> str:
    if job["kind"] in _REMOVALS:
        return "removed the rows"
    if not job["rejects"]:
        return f"published {count(job['rows'], 'row')}"
    read = count(job["rows_read"], "row")
    return f"read {read}: {job['rows']:,} published, {job['rejects']:,} rejected"


def _output(
    output: OutputDocument,
    job: JobDocument,
    version: VersionDocument,
    versions: list[VersionDocument],
) -> str:
    what = f"rows of topic {printable(output['topic'])}"
    where = f"{printable(output['target'])}, {slot(output)}"
    if output["emptied"]:
        were = "were removed" if job["status"] == "COMPLETED" else "are to be removed"
        return f"{what}: none; the earlier ones in {where} {were}"
    rows = count(output["rows"], "row")
    if job["status"] == "COMPLETED":
        if output["purged"]:
            return f"{what}: {rows} in {where}, until they were {purged(output['purged'])}"
        newer = _replaced_by(output, job, version, versions)
        if newer is not None:
            return f"{what}: {rows} in {where}, until version {newer} replaced them"
        return f"{what}: {rows} in {where}"
    if job["status"] == "SUPERSEDED":
        return f"{what}: {rows} not published, since those of a newer version stand"
    return f"{what}: {rows} decided for {where}, not all of them published yet"


def purged(by: PurgedByDocument) -> str:
    """`purged by me@here at 2026-01-31 10:00:00 UTC (job 7)`."""
    actor = f" by {printable(by['actor'])}" if by["actor"] else ""
    return f"purged{actor} at {moment(by['at'])} (job {by['job_id']})"


def slot(output: OutputDocument) -> str:
    """`slot f1-csv_table (replace)`, and in which bundle it lies."""
    within = f" in bundle {output['bundle']}" if output["bundle"] else ""
    return printable(f"slot {output['slot']}{within} ({output['mode']})")


def _replaced_by(
    output: OutputDocument,
    job: JobDocument,
    version: VersionDocument,
    versions: list[VersionDocument],
) -> int | None:
    """The later version whose published rows stand in the same slot; None where none do."""
    for later in versions:
        if later["ordinal"] <= version["ordinal"]:
            continue
        for other in later["jobs"]:
            same = any(
                (o["target"], o["slot"]) == (output["target"], output["slot"])
                for o in other["outputs"]
            )
            if same and other["status"] == "COMPLETED" and other["plugin"] == job["plugin"]:
                return later["ordinal"]
    return None


def _indented(text: str, by: str) -> Iterator[str]:
    for line in text.splitlines():
        yield f"{by}{printable(line)}"
