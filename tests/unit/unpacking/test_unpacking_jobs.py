"""Members and compressed files as input of jobs: a private file each, or an error that says why."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from casparian.adapters.files import LocalFileSource
from casparian.app.unpacked import Unpacked
from casparian.app.verify import ContentCheck
from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.unpacking import unpacked_name
from tests.support.router import claim
from tests.unit.unpacking.archives import A, B, Place, make_zip, sha


def checked(place: Place, path: bytes, content_hash: str) -> tuple[ContentCheck, bytes]:
    root = os.fsencode(place.root)
    check = ContentCheck(LocalFileSource(), "stat", place.out, Unpacked({root: place.limits}))
    job = claim(7)._replace(root_path=root, path=path, content_hash=content_hash)
    prepared = check.prepare(job)
    content = Path(prepared.input_path).read_bytes()
    assert Path(prepared.input_path).name == os.fsdecode(unpacked_name(path))
    check.confirm(prepared)
    check.release(prepared)
    assert os.listdir(place.out) == []
    return check, content


def test_a_job_gets_a_private_file(place: Place) -> None:
    (place.root / "drop.zip").write_bytes(make_zip({"x/a.csv": A}))
    assert checked(place, b"drop.zip!/x/a.csv", sha(A))[1] == A
    compressed = gzip.compress(B)
    (place.root / "b.csv.gz").write_bytes(compressed)
    assert checked(place, b"b.csv.gz", sha(compressed))[1] == B


@pytest.mark.parametrize(
    ("path", "content", "error"),
    [
        (b"drop.zip!/a.csv", make_zip({"a.csv": B}), ErrorClass.SOURCE_CHANGED),
        (b"drop.zip!/a.csv", make_zip({"b.csv": A}), ErrorClass.SOURCE_GONE),
        (b"drop.zip!/a.csv", None, ErrorClass.SOURCE_GONE),
        (b"drop.zip!/a.csv", b"no archive", ErrorClass.DATA),
        (b"a.csv.gz", gzip.compress(A, mtime=0), ErrorClass.SOURCE_CHANGED),
        (b"a.csv.gz", b"no gzip", ErrorClass.DATA),
    ],
)
def test_a_job_whose_bytes_are_not_there(
    place: Place, path: bytes, content: bytes | None, error: ErrorClass
) -> None:
    if content is not None:
        (place.root / os.fsdecode(path.partition(b"!")[0])).write_bytes(content)
    with pytest.raises(JobError) as caught:
        checked(place, path, sha(A))
    assert caught.value.error_class is error
    assert os.listdir(place.out) == []
