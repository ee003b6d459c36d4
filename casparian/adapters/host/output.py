"""What a sidecar writes to its standard error: into the log line by line, and its end is kept."""

from __future__ import annotations

import structlog

TAIL_BYTES = 8192
LONGEST_LINE = 2000

log = structlog.get_logger("casparian.host")


class Output:
    """Of one sidecar."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin
        self._line = b""
        self.tail = b""

    def take(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        *lines, rest = (self._line + data).split(b"\n")
        whole = len(rest) - len(rest) % LONGEST_LINE
        self._line = rest[whole:]
        for line in (*lines, rest[:whole]):
            self._tell(line)

    def finish(self) -> None:
        """Its last line may have no end."""
        self._tell(self._line)
        self._line = b""

    def _tell(self, line: bytes) -> None:
        """A line of any length, in pieces that a log can hold."""
        for start in range(0, len(line), LONGEST_LINE):
            text = line[start : start + LONGEST_LINE].decode("utf-8", "replace").rstrip()
            if text:
                log.info("plugin output", plugin=self._plugin, line=text)
