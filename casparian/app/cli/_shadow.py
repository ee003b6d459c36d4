"""What a shadow run found, for `casparian deploy --shadow`: as a document, and for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casparian.app.cli._output import count, show_table
from casparian.app.printable import printable

if TYPE_CHECKING:
    from casparian.app.cli.shadow_shapes import (
        ShadowDocument,
        ShadowFileDocument,
        ShadowRowDocument,
        ShadowTopicDocument,
    )
    from casparian.app.shadow import Shadow
    from casparian.domain.shadow import RowChange

MOST_REASONS = 5
"""Reasons of rejects that are shown to people."""
MOST_PATHS = 3
"""Files that are named of which the same is to be said."""


def shadow_document(shadow: Shadow) -> ShadowDocument:
    from casparian.domain.shadow import FileCase

    files = [_file(shadow, number) for number in range(len(shadow.samples))]
    return {
        "same": shadow.same,
        "uncompared": sum(file["case"] == FileCase.UNCOMPARED for file in files),
        "passed_over": shadow.passed_over,
        "files": files,
        "topics": [_topic(shadow, name) for name in sorted(shadow.topics)],
    }


def _file(shadow: Shadow, number: int) -> ShadowFileDocument:
    from casparian.domain.files import path_text
    from casparian.domain.shadow import FileCase

    sample, finding = shadow.samples[number], shadow.findings[number]
    return {
        "path": path_text(sample.sighting.path),
        "source_root": path_text(sample.root),
        "file_version_id": sample.version_id,
        "job_id": sample.job["id"],
        "job_status": sample.job["status"],
        "plugin_hash": sample.job["plugin_hash"],
        "case": finding.case.value,
        "reason": finding.reason or None,
        "same": finding.case is FileCase.COMPARED and finding.same,
        "rows_before": finding.rows_before,
        "rows_now": finding.rows_now,
        "rejects_before": finding.rejects_before,
        "rejects_now": finding.rejects_now,
        "altered": finding.altered,
    }


def _topic(shadow: Shadow, name: str) -> ShadowTopicDocument:
    topic = shadow.topics[name]
    return {
        "topic": name,
        "target": topic.target,
        "rows_before": topic.rows_before,
        "rows_now": topic.rows_now,
        "only_before": topic.only_before,
        "only_now": topic.only_now,
        "columns": [
            {"name": column, "before": before, "now": now}
            for column, (before, now) in sorted(topic.columns.items())
        ],
        "reasons": [
            {"reason": reason, "before": before, "now": now}
            for reason, (before, now) in sorted(topic.reasons.items())
        ],
        "examples": [_row(shadow, number, change) for number, change in topic.examples],
    }


def _row(shadow: Shadow, number: int, change: RowChange) -> ShadowRowDocument:
    from casparian.domain.files import path_text

    sample = shadow.samples[number]
    return {
        "path": path_text(sample.sighting.path),
        "source_root": path_text(sample.root),
        "row_before": change.row_before,
        "row_now": change.row_now,
        "values": [
            {"column": value.column, "before": value.before, "now": value.now}
            for value in change.values
        ],
    }


# --- for people -------------------------------------------------------------------------------


def show_shadow(document: ShadowDocument) -> None:
    if document["topics"]:
        show_table(
            ("topic", "published", "new code", "gone", "new"),
            [
                (t["topic"], t["rows_before"], t["rows_now"], t["only_before"], t["only_now"])
                for t in document["topics"]
            ],
            numbers=("published", "new code", "gone", "new"),
        )
    for topic in document["topics"]:
        for line in (*_columns(topic), *_reasons(topic), *_examples(topic)):
            print(f"{printable(topic['topic'])}: {line}")
    told: dict[str, list[str]] = {}
    for file in document["files"]:
        for line in _of_file(file):
            told.setdefault(line, []).append(file["path"])
    for line, paths in told.items():
        print(printable(f"{_together(paths)}: {line}"))
    if passed_over := document["passed_over"]:
        files = count(passed_over, "file that is", "files that are")
        print(f"Passed over: {files} not there any more.")
    print(_verdict(document))


def _together(paths: list[str]) -> str:
    names = ", ".join(paths[:MOST_PATHS])
    more = len(paths) - MOST_PATHS
    return f"{names} and {count(more, 'more file')}" if more > 0 else names


def _columns(topic: ShadowTopicDocument) -> list[str]:
    lines = []
    for column in topic["columns"]:
        name, before, now = printable(column["name"]), column["before"], column["now"]
        if before is None:
            lines.append(f"column {name} is new: {now}.")
        elif now is None:
            lines.append(f"column {name}, {before}, is not made any more: it would be NULL.")
        else:
            lines.append(f"column {name}, {before}, would become {now}.")
    return lines


def _reasons(topic: ShadowTopicDocument) -> list[str]:
    differing = [r for r in topic["reasons"] if r["before"] != r["now"]]
    differing.sort(key=lambda r: abs(r["now"] - r["before"]), reverse=True)
    lines = [
        f"{printable(repr(r['reason']))}: {r['before']} published, {r['now']} by the new code."
        for r in differing[:MOST_REASONS]
    ]
    if (more := len(differing) - MOST_REASONS) > 0:
        lines.append(f"{count(more, 'other reason')}: see --json.")
    return lines


def _examples(topic: ShadowTopicDocument) -> list[str]:
    lines = [_example(row) for row in topic["examples"]]
    more = topic["only_before"] + topic["only_now"] - sum(_rows(r) for r in topic["examples"])
    if more > 0:
        lines.append(f"{count(more, 'other row')} that only one side has.")
    return lines


def _rows(row: ShadowRowDocument) -> int:
    return (row["row_before"] is not None) + (row["row_now"] is not None)


def _example(row: ShadowRowDocument) -> str:
    before, now = row["row_before"], row["row_now"]
    if before is None or now is None:
        what = "is new" if before is None else "is gone"
        shown = (f"{v['column']}={v['now'] or v['before']}" for v in row["values"])
        number = now if before is None else before
        return printable(f"{row['path']}, row {number} {what}: {', '.join(shown)}")
    moved = f" (now row {now})" if before != now else ""
    changes = (
        f"{v['column']} was {_text(v['before'])}, is {_text(v['now'])}" for v in row["values"]
    )
    return printable(f"{row['path']}, row {before}{moved}: {'; '.join(changes)}")


def _text(value: str | None) -> str:
    return "NULL" if value is None else value


def _of_file(file: ShadowFileDocument) -> list[str]:
    reason = (file["reason"] or "").rstrip(".")
    makes = f"the new code makes {count(file['rows_now'], 'row')}"
    lines = {
        "failed": [
            f"the new code fails, as job {file['job_id']} did: {reason}."
            if file["job_status"] == "FAILED"
            else f"the new code fails: {reason}."
        ],
        "uncompared": [f"not compared. {reason}."],
        "unpublished": [f"nothing of it is published: {reason}. Of it, {makes}."],
    }.get(file["case"], [f"{reason}."] if reason else [])
    lines += [
        f"somebody has changed its rows in {target} since they were published. They are compared "
        "as they are."
        for target in file["altered"]
    ]
    return lines


def _verdict(document: ShadowDocument) -> str:
    files = document["files"]
    cases = [file["case"] for file in files]
    others = sum(file["case"] == "compared" and not file["same"] for file in files)
    if document["same"]:
        return f"The new code makes what is published of {count(len(files), 'file')}."
    differ = any(topic["columns"] for topic in document["topics"])
    alike = "the same values in the columns that both have" if differ else "the same rows"
    found = {"other rows": others, alike: cases.count("compared") - others}
    parts = [f"{what} of {count(n, 'file')}" for what, n in found.items() if n]
    sentences = [f"The new code makes {', '.join(parts)}."] if parts else []
    if n := cases.count("unpublished"):
        sentences.append(f"Nothing is published of {count(n, 'file')}.")
    if n := cases.count("failed"):
        sentences.append(f"The new code fails on {count(n, 'file')}.")
    if n := cases.count("uncompared"):
        sentences.append(f"{count(n, 'file')} could not be compared.")
    return " ".join(sentences)
