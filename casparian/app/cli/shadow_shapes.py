"""What `casparian deploy --shadow` prints with --json; `shapes` has the rest of what it prints."""

from __future__ import annotations

from typing import Annotated, TypedDict

from casparian.domain.documents.texts import OneOf, Status
from casparian.domain.shadow import FileCase


class ShadowColumnDocument(TypedDict):
    """A column that would be another one in the target."""

    name: Annotated[str, "Its name."]
    before: Annotated[str | None, "Its type in the target; null where it is not there."]
    now: Annotated[str | None, "Its type by the new code; null where that does not make it."]


class ShadowValueDocument(TypedDict):
    """A value that differs, as text; long ones are cut around what differs first."""

    column: Annotated[str, "The column."]
    before: Annotated[str | None, "What is published; null for NULL, or no such row."]
    now: Annotated[str | None, "What the new code makes; null for NULL, or no such row."]


class ShadowRowDocument(TypedDict):
    """A row that differs. Which published row it was is a guess, by its values and its number."""

    path: Annotated[str, "The file's path below its source root."]
    source_root: Annotated[str, "The source root."]
    row_before: Annotated[
        int | None, "`_casparian_row` of the published row; null for a row that is new."
    ]
    row_now: Annotated[int | None, "Its number by the new code; null for a row that is gone."]
    values: Annotated[list[ShadowValueDocument], "What differs; of a row of one side, all of it."]


class ShadowReasonDocument(TypedDict):
    """Why rows are rejected."""

    reason: Annotated[str, "What the plugin said."]
    before: Annotated[int, "Rejects that are published with it."]
    now: Annotated[int, "Rejects that the new code makes with it."]


class ShadowTopicDocument(TypedDict):
    """One topic, over all files that were compared or have nothing published."""

    topic: Annotated[str, "The topic; `_rejects` for rows that were put aside."]
    target: Annotated[str, "Where its rows are: the sink's URI."]
    rows_before: Annotated[int, "Rows that are published."]
    rows_now: Annotated[int, "Rows that the new code makes."]
    only_before: Annotated[int, "Published rows that the new code does not make."]
    only_now: Annotated[int, "Rows of the new code that are not published."]
    columns: Annotated[list[ShadowColumnDocument], "Columns that differ."]
    reasons: Annotated[list[ShadowReasonDocument], "Of `_rejects`, every reason; else none."]
    examples: Annotated[list[ShadowRowDocument], "A few of the rows that differ."]


class ShadowFileDocument(TypedDict):
    """A file version on which the new code was run."""

    path: Annotated[str, "Its path below the source root."]
    source_root: Annotated[str, "The source root."]
    file_version_id: Annotated[int, "The version: `_casparian_file_version_id` of its rows."]
    job_id: Annotated[int, "The job that has published it, or last was to."]
    job_status: Annotated[Status, "The status of that job."]
    plugin_hash: Annotated[str | None, "The code that this job ran; null where it never ran."]
    case: Annotated[
        str,
        OneOf.each(FileCase),
        "compared: with what is published of it. unpublished: nothing is. failed: by the new code. "
        "uncompared: what is published could not be read, or not be told from something else.",
    ]
    reason: Annotated[str | None, "Why it is so, where there is something to say."]
    same: Annotated[bool, "It was compared, and there is no difference in rows and rejects."]
    rows_before: Annotated[int, "Rows published of it; as the job says where not compared."]
    rows_now: Annotated[int, "Rows that the new code makes; 0 where it fails."]
    rejects_before: Annotated[int, "Rejects published of it; as the job says where not compared."]
    rejects_now: Annotated[int, "Rejects that the new code makes; 0 where it fails."]
    altered: Annotated[
        list[str], "Targets whose rows of it somebody has changed since they were published."
    ]


class ShadowDocument(TypedDict):
    """What `casparian deploy --shadow` found. Nothing of it is published."""

    same: Annotated[bool, "Every file was compared, and would publish what is published."]
    uncompared: Annotated[int, "Files that could not be compared."]
    passed_over: Annotated[
        int, "Files, seen later than the last of `files`, that are not there any more."
    ]
    files: Annotated[list[ShadowFileDocument], "The files, the one seen last first."]
    topics: Annotated[list[ShadowTopicDocument], "What was compared, by topic."]
