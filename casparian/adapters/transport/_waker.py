"""What ends the wait of a thread that polls."""

from __future__ import annotations

import contextlib
import socket


class Waker:
    """A file descriptor that any thread may make readable."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._said = False

    def fileno(self) -> int:
        return self._reader.fileno()

    def wake(self) -> None:
        if self._said:
            return  # a wake that nobody has heard yet: one more says nothing new
        self._said = True
        try:
            self._writer.send(b"\0")
        except BlockingIOError:
            pass  # as good as said
        except OSError:
            if self._writer.fileno() != -1:
                raise  # closed is no error: a thread may wake what just ended

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        # Only now: a wake that came during this sent nothing, and its caller had put the work
        # there before, which is looked for after this.
        self._said = False

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
