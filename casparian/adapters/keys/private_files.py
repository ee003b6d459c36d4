"""Files that only their owner may read: made so, and refused when they are not.

Nothing of their content is ever part of an error.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from casparian.domain.errors import ConfigurationError

OTHERS = 0o077
OTHERS_WRITE = 0o022
LARGEST = 64 * 1024


def make_private_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        check_private_directory(directory)
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be made: {error.strerror}.") from error


def check_private_directory(directory: Path) -> None:
    """Raise ConfigurationError for a directory that others can look into."""
    try:
        found = os.stat(directory)
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be read: {error.strerror}.") from error
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(
            f"{directory} is no directory; [plugins] keys must name the one of the deploy keys."
        )
    _check_owner(directory, found)
    if found.st_mode & OTHERS:
        raise ConfigurationError(
            f"{directory} holds deploy keys, and others can look into it (mode "
            f"{stat.S_IMODE(found.st_mode):o}): run `chmod 700 {directory}`. If anybody may have "
            "read a key, revoke it."
        )


def read_private(file: Path, secret: bool) -> bytes | None:
    """The content, None where there is no such file. `secret`: others may not read it; else they
    may, but not write it. Raises ConfigurationError with what to do."""
    try:
        # A link would lead to a file of somebody else's choice.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(
            f"The key file {file} cannot be read: {error.strerror}."
        ) from error
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(f"The key file {file} is no regular file.")
        _check_owner(file, found)
        if found.st_mode & (OTHERS if secret else OTHERS_WRITE):
            what, mode = ("read", "600") if secret else ("write", "644")
            raise ConfigurationError(
                f"The key file {file} is refused: others can {what} it (mode "
                f"{stat.S_IMODE(found.st_mode):o}). Run `chmod {mode} {file}`; if anybody may have "
                f"{'read' if secret else 'changed'} it, revoke the key and make another."
            )
        return opened.read(LARGEST)


def write_new(file: Path, content: bytes, mode: int = 0o600) -> bool:
    """Make a file, whole and durable, or not at all; False where there is one."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode
        )
        with os.fdopen(descriptor, "wb") as opened:
            os.fchmod(descriptor, mode)
            opened.write(content)
            opened.flush()
            os.fsync(descriptor)
        try:
            # A link is made only where nothing is, a rename would replace.
            os.link(temporary, file)
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
        _sync(file.parent)
    except OSError as error:
        raise ConfigurationError(f"The file {file} cannot be written: {error.strerror}.") from error
    return True


def remove(file: Path) -> bool:
    """Remove a file for good; False where there was none."""
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigurationError(
            f"The key file {file} cannot be removed: {error.strerror}."
        ) from error
    _sync(file.parent)
    return True


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(
            f"{path} belongs to another user (uid {found.st_uid}), who could change it: make it "
            f"yours by `chown {os.geteuid()} {path}`, when you know what is in it."
        )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
