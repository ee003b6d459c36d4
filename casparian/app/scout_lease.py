"""The leases of one scout: taken when a root is to be scanned, renewed in a thread of its own.

The thread also tells that a scout without a worker is alive; with a worker, that one does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import structlog

from casparian.domain.errors import SchemaVersionError, UnavailableError
from casparian.domain.files import SourceRoot, path_text
from casparian.domain.scouting import Fence, Scanner, ScoutLease, ScoutLeases

SECOND_US = 1_000_000
TURN_S = 0.25

log = structlog.get_logger("casparian.scout")


def scanned_by(root: SourceRoot, lease: ScoutLease) -> str:
    """Why a root was not scanned."""
    return (
        f"{path_text(root.path)} is scanned by the engine {lease.scanner.id} (process "
        f"{lease.scanner.pid} on {lease.scanner.hostname}), which finds what is new by itself: "
        "it was not scanned here. To scan it by hand, stop that engine first."
    )


def log_refusal(text: str) -> None:
    log.warning("not scanned", reason=text)


class Held(NamedTuple):
    """A root that this scout may scan, and the catalog to do it with."""

    fence: Fence
    catalog: Any


class RootLeases:
    """`leases` is None for a queue that keeps no scouts apart: every root is then held, and its
    scans write through `catalog`. `beat(stopped)` is called at the start, every `renew_s`, and at
    the end. `failure`: why this program may not go on, None while it may."""

    def __init__(
        self,
        leases: ScoutLeases | None,
        catalog: Any,
        scanner: Scanner,
        is_dead: Callable[[Scanner], bool],
        lease_s: float = 30.0,
        renew_s: float = 10.0,
        beat: Callable[[bool], None] | None = None,
    ) -> None:
        self._leases, self._catalog = leases, catalog
        self._scanner, self._is_dead = scanner, is_dead
        self._lease_us, self._renew_s, self._beat = int(lease_s * SECOND_US), renew_s, beat
        self.failure: SchemaVersionError | None = None
        self._held: dict[int, Held] = {}
        self._lock = threading.Lock()
        self._reports_in = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @classmethod
    def none(cls, catalog: Any) -> RootLeases:
        """Where nobody else can be."""
        return cls(None, catalog, Scanner("", "", "", 0, 0), lambda scanner: False)

    # --- taking ---------------------------------------------------------------------------

    def hold(self, root: SourceRoot, lasting: bool) -> ScoutLease | None:
        """Take the root, if it is not held already. None: it is this scout's now; else the lease
        that keeps it out. Raises UnavailableError."""
        if self._leases is None or root.id in self._held:
            return None
        scanner = self._scanner
        lease = self._leases.take(root.id, scanner, lasting, self._lease_us)
        if lease.scanner.id != scanner.id and self._is_dead(lease.scanner):
            dead = (lease.scanner.id,)
            lease = self._leases.take(root.id, scanner, lasting, self._lease_us, dead)
        if lease.scanner.id != scanner.id:
            return lease
        with self._lock:
            self._held[root.id] = Held(lease.fence, self._leases.catalog(lease.fence))
        self.start()
        return None

    @contextmanager
    def turn(
        self,
        roots: Sequence[SourceRoot],
        stop: threading.Event,
        refused: Callable[[str], None] = log_refusal,
    ) -> Iterator[list[SourceRoot]]:
        """Those of the roots that are this scout's until the end of the block. `refused` is told
        of one that another scout keeps for good; who scans only once is waited for."""
        keeps = bool(self._held)
        try:
            yield [root for root in roots if self._in_turn(root, stop, refused)]
        finally:
            if not keeps:
                self.release()

    def _in_turn(
        self, root: SourceRoot, stop: threading.Event, refused: Callable[[str], None]
    ) -> bool:
        told = False
        while (lease := self.hold(root, lasting=False)) is not None:
            if lease.lasting:
                refused(scanned_by(root, lease))
                return False
            if not told:
                log.info("another scan is waited for", **_about(root, lease))
                told = True
            if stop.wait(TURN_S):
                return False
        return True

    # --- holding --------------------------------------------------------------------------

    def catalog(self, root: SourceRoot) -> Any:
        """What the root's scans write through."""
        held = self._held.get(root.id)
        return self._catalog if held is None else held.catalog

    def has(self, root: SourceRoot) -> bool:
        return self._leases is None or root.id in self._held

    def lose(self, root: SourceRoot) -> None:
        """Somebody else was seen to have it."""
        with self._lock:
            self._held.pop(root.id, None)

    # --- the thread -----------------------------------------------------------------------

    def start(self, reports_in: bool = False) -> None:
        """`reports_in`: this process stays, and is listed among the engines."""
        self._reports_in = self._reports_in or reports_in
        idle = self._leases is None and self._beat is None
        if self._thread is None and not idle and not self._stop.is_set():
            self._try(self._tell)
            self._thread = threading.Thread(
                target=self._serve, name="casparian-scout-lease", daemon=True
            )
            self._thread.start()

    def _serve(self) -> None:
        while not self._stop.wait(self._renew_s):
            self._try(self._renew)
            self._try(self._tell)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except SchemaVersionError as error:
            self.failure = error
        except UnavailableError as error:
            log.warning("the scout could not report in", error=str(error))
        except Exception:
            log.exception("the scout could not report in")

    def _tell(self) -> None:
        if self._beat is not None and self._reports_in:
            self._beat(self._stop.is_set())

    def _renew(self) -> None:
        asked = dict(self._held)
        if not asked or self._leases is None:
            return
        still = set(self._leases.renew(self._scanner.id, self._lease_us))
        for root_id, held in asked.items():
            if held.fence not in still:
                log.warning("another scout has taken over", source_root=root_id)
                with self._lock:
                    if self._held.get(root_id) == held:
                        del self._held[root_id]

    def release(self) -> None:
        """Others may scan now. What is asked for later is taken anew."""
        with self._lock:
            held, self._held = self._held, {}
        if held and self._leases is not None:
            try:
                self._leases.release(self._scanner.id)
            except UnavailableError as error:
                # It runs out by itself.
                log.warning("the lease of the scout was not given up", error=str(error))
            except Exception:
                # Whoever gives it up goes on to end, and has more to end.
                log.exception("the lease of the scout was not given up")

    def close(self) -> None:
        """Nothing is held or renewed afterwards."""
        self._stop.set()
        self.release()
        if self._thread is not None:
            self._thread.join()
            self._try(self._tell)


def _about(root: SourceRoot, lease: ScoutLease) -> dict[str, str]:
    return {"root": path_text(root.path), "scout": lease.scanner.id}
