"""What a shadow run found, for `casparian deploy --shadow`: as a document, and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casparian.app.cli._output import count, show_table
from casparian.app.printable import printable

if TYPE_CHECKING:
    from casparian.app.cli.shapes import ShadowDocument, ShadowFileDocument, ShadowTopicDocument
    from casparian.app.shadow import Shadow


def shadow_document(shadow: Shadow) -> ShadowDocument:
    return {
        "same": shadow.same,
        "files": [_file(shadow, number) for number in range(len(shadow.samples))],
        "topics": [_topic(shadow, name) for name in sorted(shadow.topics)],
    }


def _file(shadow: Shadow, number: int) -> ShadowFileDocument:
    from casparian.domain.files import path_text

    sample, before, now = shadow.samples[number], shadow.before[number], shadow.now[number]
    return {
        "path": path_text(sample.sighting.path),
        "source_root": path_text(sample.root),
        "job_id": sample.job_id,
        "plugin_hash": sample.plugin_hash,
        "rows_published": sample.rows,
        "rows_before": sum(len(rows) for rows in before.rows.values()),
        "rows_now": sum(len(rows) for rows in now.rows.values()),
        "rejects_before": before.rejects,
        "rejects_now": now.rejects,
        "error_before": before.error or None,
        "error_now": now.error or None,
        "drifted": sample in shadow.drifted,
    }


def _topic(shadow: Shadow, name: str) -> ShadowTopicDocument:
    topic = shadow.topics[name]
    return {
        "topic": name,
        "rows_before": topic.rows_before,
        "rows_now": topic.rows_now,
        "only_before": topic.only_before,
        "only_now": topic.only_now,
        "columns": [
            {"name": column, "before": before, "now": now}
            for column, (before, now) in sorted(topic.columns.items())
        ],
        "examples": [f"{sign} {dict(row)}" for sign, row in topic.examples],
    }


def show_shadow(document: ShadowDocument) -> None:
    show_table(
        ("topic", "rows", "rows now", "gone", "new"),
        [
            (t["topic"], t["rows_before"], t["rows_now"], t["only_before"], t["only_now"])
            for t in document["topics"]
        ],
        numbers=("rows", "rows now", "gone", "new"),
    )
    for topic in document["topics"]:
        for column in topic["columns"]:
            print(
                f"{topic['topic']}: column {printable(column['name'])} was "
                f"{column['before'] or 'not there'}, and is {column['now'] or 'not there'}"
            )
        for example in topic["examples"]:
            print(f"{topic['topic']}: {printable(example)}")
    for file in document["files"]:
        path = printable(file["path"])
        if file["error_now"] and file["error_now"] != file["error_before"]:
            print(f"{path} fails now: {printable(file['error_now'])}")
        if file["rejects_before"] != file["rejects_now"]:
            print(f"{path}: {file['rejects_before']} rejects before, {file['rejects_now']} now")
        if file["drifted"]:
            print(
                f"{path}: the code that published it makes other rows of it now, so that the "
                "comparison says little"
            )
    files = count(len(document["files"]), "file")
    print(f"{'The same rows' if document['same'] else 'Other rows'} of {files}; none published.")
