"""What a plugin's error has to do with its sandbox, and which grant would let it do that."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

from casparian.domain.sandbox import Grants

REFUSALS = (errno.EPERM, errno.EACCES)
# Libraries that are not written in Python say it in words.
WORDS = ("Permission denied", "Operation not permitted")
_NETWORK_FILES = ("socket.py", "ssl.py")
_PROCESS_FILES = ("subprocess.py", "popen_fork.py", "popen_spawn_posix.py", "pty.py")


class Hints:
    """For one plugin, which may write below `scratch`."""

    def __init__(self, plugin: str, grants: Grants, scratch: str) -> None:
        self._table = f"[plugin.{plugin}]"
        self._grants = grants
        self._scratch = scratch

    def __call__(self, error: BaseException) -> str:
        """A sentence to be added to the error's text; empty where it is no refusal."""
        chain = list(_chain(error))
        refusals = [e for e in chain if _is_refusal(e)]
        if not refusals:
            return ""
        return self._hint(refusals[-1], {os.path.basename(n) for e in chain for n in _files(e)})

    def _hint(self, error: BaseException, files: set[str]) -> str:
        """`files`: names of those whose code the error came through."""
        if isinstance(error, socket.gaierror) or files & set(_NETWORK_FILES):
            return self._granted("allow_network", self._grants.allow_network, "use the network")
        if files & set(_PROCESS_FILES):
            return self._granted(
                "allow_subprocess", self._grants.allow_subprocess, "start programs"
            )
        name = getattr(error, "filename", None)
        if isinstance(name, str | bytes):
            return self._of_file(os.path.abspath(os.fsdecode(name)))
        return (
            "The sandbox refused it; see the sandbox in the documentation on security for what "
            f"allow_read, allow_network and allow_subprocess of {self._table} let it do."
        )

    def _granted(self, key: str, granted: bool, what: str) -> str:
        if granted:
            return f"The sandbox refused it, although {key} of {self._table} is given."
        return f"The sandbox does not let it {what}: {key} = true in {self._table} does."

    def _of_file(self, path: str) -> str:
        if path.startswith(self._scratch + os.sep):
            return "The sandbox does not let it change modes, owners and times of files."
        return (
            "The sandbox lets it read its input, and write to its scratch directory (TMPDIR) "
            f"alone; {path!r} in allow_read of {self._table} would let it read that."
        )


def _is_refusal(error: BaseException) -> bool:
    if isinstance(error, socket.gaierror):
        return True
    if isinstance(error, OSError) and error.errno in REFUSALS:
        return True
    return any(words in str(error) for words in WORDS)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        reason = getattr(error, "reason", None)
        if isinstance(reason, BaseException):
            yield reason
        error = error.__cause__ or error.__context__


def _files(error: BaseException) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
