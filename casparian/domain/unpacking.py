"""Archives and compressed files: which names they have, what their members are called, and how
much may come out of one.

The member `a.csv` of the file `drop.zip` has the path `drop.zip!/a.csv`, and is a location of its
own.
"""

from __future__ import annotations

from dataclasses import dataclass

from casparian.domain.errors import CasparianError

INSIDE = b"!/"
_COMPRESSED = {b".gz": "gzip", b".bz2": "bz2", b".xz": "xz", b".zst": "zstd"}
_TARS = {
    b".tar": "", b".tar.gz": "gzip", b".tgz": "gzip", b".tar.bz2": "bz2", b".tbz2": "bz2",
    b".tar.xz": "xz", b".txz": "xz", b".tar.zst": "zstd",
}  # fmt: skip
_LONGEST_NAME = 255
FREE_BYTES = 16 << 20
"""What may come out however small the file is: the ratio says nothing of little ones."""


class Refused(CasparianError):
    """An archive or a compressed file that is not opened, and why."""


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """What may come out of one file: members, bytes, and bytes for each byte that it has."""

    members: int = 10_000
    bytes: int = 10 << 30
    ratio: float = 200.0

    def check(self, came_out: int, size: int) -> None:
        """Raises Refused when more has come out of a file of `size` bytes than may."""
        if came_out > self.bytes:
            raise Refused(
                f"more than {self.bytes:,} bytes came out of it ([scout] unpack_mb): if they are "
                "wanted, raise the limit"
            )
        if came_out > FREE_BYTES and came_out > self.ratio * size:
            raise Refused(
                f"more than {self.ratio:g} times its size came out of it ([scout] unpack_ratio), "
                "as out of a file made to fill a disk; if it is none, raise the limit"
            )


def tar_compression(path: bytes) -> str | None:
    """How a tar archive is compressed, empty for not at all; None for what is no tar."""
    lower = path.lower()
    return next((kind for ending, kind in _TARS.items() if lower.endswith(ending)), None)


def is_zip(path: bytes) -> bool:
    return path.lower().endswith(b".zip")


def is_archive(path: bytes) -> bool:
    """True for a file whose members are inputs; not for the members themselves."""
    return INSIDE not in path and (is_zip(path) or tar_compression(path) is not None)


def compression(path: bytes) -> str | None:
    """How a single file is compressed, by its name; None for one that is not, and for archives."""
    if INSIDE in path or tar_compression(path) is not None:
        return None
    lower = path.lower()
    return next((kind for ending, kind in _COMPRESSED.items() if lower.endswith(ending)), None)


def unpacked_name(path: bytes) -> bytes:
    """What a plugin's private file is called."""
    name = path.rpartition(b"/")[2]
    return name if compression(path) is None else name[: name.rindex(b".")] or name


def member_path(archive: bytes, member: bytes) -> bytes:
    return archive + INSIDE + member


def split_member(path: bytes) -> tuple[bytes, bytes] | None:
    """Archive and member of a member's path; None for any other path."""
    archive, inside, member = path.partition(INSIDE)
    return (archive, member) if inside and is_archive(archive) else None


def member_name(name: bytes) -> bytes:
    """A member's name as the end of a path. Raises Refused for one that leads elsewhere."""
    if name.startswith(b"/"):
        raise Refused(f"its member {name!r} has an absolute path")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise Refused(f"its member {name!r} leads out of it by '..'")
    if not parts or b"\0" in name or any(len(part) > _LONGEST_NAME for part in parts):
        raise Refused(f"its member {name!r} has a name that no file can have")
    return b"/".join(parts)
