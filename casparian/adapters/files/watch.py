"""OS events as hints where to look first. Nothing is concluded from them: where they are late,
missing or impossible (network mounts, a used-up watch limit), the walks find every change.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence

from casparian.domain.files import SourceRoot

# A step is a look for events: an idle watcher does nothing else.
DEBOUNCE_MS = 50
STEP_MS = 50
CHECK_MS = 1000
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0

OnHint = Callable[[int, bytes], None]
OnError = Callable[[str], None]


class Watcher:
    """Watches the roots that exist, in a thread of its own, and those that appear later.

    `on_hint(root id, path below the root)` is called for each file or directory that was
    made or changed. The empty path says: look at the whole root, since changes may have had
    no event; it is sent whenever watching of a root begins (again). `on_error` gets one
    sentence, once for each new problem. Both are called from the watcher's thread.
    """

    def __init__(self, roots: Sequence[SourceRoot], on_hint: OnHint, on_error: OnError) -> None:
        self._roots = {os.fsdecode(root.path): root for root in roots}
        self._on_hint, self._on_error = on_hint, on_error
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="casparian-watch", daemon=True)
        self._problem = ""
        self._retry_s = FIRST_RETRY_S

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when no further hint will be sent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch_present()
            except (OSError, RuntimeError, ValueError) as error:
                # Too few watches, a root that went away, a name that is not UTF-8: all of it
                # comes from the watching library, and none of it ends discovery.
                self._report(f"{type(error).__name__}: {error}")
                self._stop.wait(self._retry_s)
                self._retry_s = min(self._retry_s * 2, LAST_RETRY_S)

    def _watch_present(self) -> None:
        """Watch the roots that are there until another set of roots is."""
        # Here, in the watcher's thread: an engine starts without waiting for it.
        import watchfiles

        present = self._present()
        absent = sorted(self._roots.keys() - present.keys())
        if absent:
            self._report(f"These source roots do not exist yet: {', '.join(absent)}.")
        if not present:
            self._stop.wait(FIRST_RETRY_S)
            return
        begun = False
        for changes in watchfiles.watch(
            *present,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=self._stop,
            rust_timeout=CHECK_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            if not begun:
                begun = True
                self._retry_s = FIRST_RETRY_S
                for path in present:
                    self._on_hint(self._roots[path].id, b"")
            for change, path in changes:
                if change is not watchfiles.Change.deleted:
                    self._hint(path)
            # A root made anew may have the inode of the old one: its removal tells.
            removed = any((watchfiles.Change.deleted, path) in changes for path in present)
            if removed or self._present() != present:
                return

    def _hint(self, path: str) -> None:
        for top, root in self._roots.items():
            if path == top:
                self._on_hint(root.id, b"")
            elif path.startswith(top.rstrip("/") + "/"):
                self._on_hint(root.id, os.fsencode(path[len(top.rstrip("/")) + 1 :]))

    def _present(self) -> dict[str, tuple[int, int]]:
        """The directories that are there; a root made anew is another directory."""
        found = {}
        for path in self._roots:
            try:
                status = os.stat(path)
            except OSError:
                continue
            found[path] = (status.st_dev, status.st_ino)
        return found

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._on_error(
                f"File events are incomplete; changes are found by full scans. {problem}"
            )
