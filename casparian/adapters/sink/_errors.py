"""What an error of the operating system means to the one who promotes or stages."""

from __future__ import annotations

import errno

from casparian.domain.errors import ErrorClass, JobError
from casparian.domain.publish import InstallCase, ManifestItem, Marker, MarkerCase, Receipt

_PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.ESTALE,
        errno.EIO,
        errno.ENXIO,
        errno.ENODEV,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
    }
)


def is_passing(error: OSError) -> bool:
    """True for conditions that may end without an operator's word to the engine: a full disk, no
    descriptors, a file system that is read-only or a disk that is away for a while."""
    return error.errno in _PASSING


def disk_error(doing: str, error: OSError) -> JobError:
    return JobError(
        ErrorClass.INFRASTRUCTURE,
        f"{doing} failed: {error}. Look at the disk's space, permissions and health.",
    )


def memory_error(doing: str, error: MemoryError) -> JobError:
    return JobError(
        ErrorClass.INFRASTRUCTURE, f"{doing} failed: the engine ran out of memory ({error})."
    )


def failed(item: ManifestItem, text: str, *, transient: bool = False) -> Receipt:
    return Receipt(item, None, text, transient)


def taken_over(item: ManifestItem, path: str) -> Receipt:
    return failed(
        item,
        f"The staging of {item.target}, {path}, was taken over by another worker, or removed; "
        "nothing was changed here. The job's new holder goes on from its manifest.",
    )


def withheld(item: ManifestItem, standing: Marker, case: MarkerCase) -> Receipt:
    """The receipt of an item that the standing marker leaves nothing to do for, or forbids."""
    if case is MarkerCase.ALREADY:
        return Receipt(item, InstallCase.ALREADY)
    if case is MarkerCase.OLDER:
        return Receipt(item, InstallCase.OLDER)
    if case is MarkerCase.FOREIGN:
        return failed(item, foreign(item, standing.installation))
    return failed(
        item,
        f"{item.target} already holds rows of job {standing.job_id} for {standing.path!r} with "
        f"another digest ({standing.digest}, {standing.rows} rows) than the manifest has "
        f"({item.digest}, {item.rows} rows). Somebody changed the queue or the target by hand.",
    )


def foreign(item: ManifestItem, installation: str) -> str:
    return (
        f"{item.target} holds rows that another installation ({installation}) published. Stop "
        f"the engine and take them over by `casparian adopt {item.slot.topic}`, publish to another "
        "place, or use the database that published them."
    )
