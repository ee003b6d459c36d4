"""The ports: what the engine needs of the world, each as a list of numbered promises.

The contract suites in `casparian.testing` hold every adapter to these numbers. Unless a
promise says otherwise: methods may be called from any thread; a driver's exceptions are
translated at the adapter's edge, an unreachable database to UnavailableError.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from casparian.domain.bundles import BundleState
from casparian.domain.deployments import Deployment, RefusedDeploy
from casparian.domain.errors import CasparianError, JobError
from casparian.domain.files import FileLocation, Sighting, SourceRoot, StatIdentity
from casparian.domain.jobs import Claim, Failure, JobKind, JobStatus, RetryPolicy
from casparian.domain.lineage import JobLineage
from casparian.domain.peers import Buffer as Buffer
from casparian.domain.peers import Connection as Connection
from casparian.domain.peers import Incoming as Incoming
from casparian.domain.peers import PeerBusy as PeerBusy
from casparian.domain.peers import PeerGone as PeerGone
from casparian.domain.peers import Transport as Transport
from casparian.domain.plugins import LivePlugin, PluginConfig, PluginManifest
from casparian.domain.publish import (
    BundleKey,
    Completion,
    Decision,
    JobFate,
    Manifest,
    ManifestItem,
    Marker,
    Receipt,
    Refusal,
    SlotState,
    StagingKey,
    Target,
)
from casparian.domain.routing import RoutingRule, RoutingTable
from casparian.domain.schemas import TargetSchema

if TYPE_CHECKING:
    from casparian.domain.documents import (
        FileDocument,
        FileStoryDocument,
        JobDocument,
        JobOriginDocument,
        PublishedDocument,
        QueueDocument,
        StatusDocument,
    )

Clock = Callable[[], int]
"""Microseconds since the epoch, UTC."""

# --- files ------------------------------------------------------------------------------


class FileEntry(NamedTuple):
    """One name met by a walk. `identity` is None when it could not be statted (`error`), `linked`
    is false where no other name can lead to the same file."""

    path: bytes
    identity: StatIdentity | None
    error: str | None = None
    linked: bool = True


class WalkError(NamedTuple):
    """A directory that could not be listed: nothing below it may be taken as deleted."""

    path: bytes
    error: str


class FileListing(Protocol):
    """Files of one directory that follow one another in the byte order of paths, as they were
    when it was listed."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[FileEntry]: ...

    def digest(self) -> Hashable | None:
        """128 bits that tell these names and stat identities from any others, in this process;
        None where a file could not be statted."""
        ...


class FileRun(NamedTuple):
    """All files of a root whose paths are `begin` or behind it, and before `end` (None: any)."""

    begin: bytes
    end: bytes | None
    files: FileListing


class FileChangedError(CasparianError):
    """A file changed while it was read."""


class FileSource(Protocol):
    """The only one who touches input files.

    1. `walk` yields every regular file below the root, once, in the byte order of its path, as
       it was when its directory was listed, and holds no more than the open directories'
       listings.
    2. Symbolic links, FIFOs, sockets and devices are skipped; nothing outside the root is met.
    3. A directory that cannot be listed is a WalkError in its place, and the walk goes on.
    4. `read_hash` opens without following links, and raises FileChangedError unless `fstat`
       says the same before and after the read; the hash is the SHA-256 of what it read.
    5. Names are bytes, and every name the file system allows survives.
    6. A vanished file is FileNotFoundError, an unreadable one PermissionError or OSError.
    7. `runs` is `walk` in pieces, each of files of one directory. A piece begins where the one
       before it ended, or behind a directory that could not be listed, so that every path is in
       one of them or below a WalkError's.
    """

    def walk(self, root: bytes, below: bytes = b"") -> Iterator[FileEntry | WalkError]: ...

    def runs(self, root: bytes, below: bytes = b"") -> Iterator[FileRun | WalkError]: ...

    def stat(self, root: bytes, path: bytes) -> StatIdentity: ...

    def read_hash(self, root: bytes, path: bytes) -> tuple[str, StatIdentity]: ...

    def read_hashes(
        self, root: bytes, paths: Sequence[bytes]
    ) -> Sequence[tuple[str, StatIdentity] | None]:
        """What `read_hash` says of each of some small files; None where it must be asked."""
        ...

    def snapshot(self, root: bytes, path: bytes, to: str) -> tuple[str, StatIdentity]:
        """Copy the bytes to the new file `to`, hashing them; checked like `read_hash`."""
        ...


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """What recording made of sightings: counts of new, changed and merely touched files,
    and of the jobs enqueued. `disturbed`: by how much it has raised the root's disturbances."""

    new: int = 0
    changed: int = 0
    touched: int = 0
    jobs: int = 0
    disturbed: int = 0


class FileCatalog(Protocol):
    """Locations, versions, content registry, tags.

    1. A version, its tags, its jobs and the location's `current_version_id` appear in one
       transaction or not at all.
    2. A version is never changed or removed; `ordinal` grows by one per location.
    3. Recording the content that a location already has adds no version, only the stat.
    4. The content registry has one entry per hash, however many locations hold it.
    5. `locations` yields a root's locations in byte order of their paths, deleted ones
       included, in pages, without a transaction held between them.
    6. A location is deleted at the second consecutive `missed`; a sighting resets the count,
       and one of a deleted location is a new version.
    7. `forget` makes the next recording a new version, whatever the content; the jobs of the
       version that stands say who asked (`job_event`).
    8. `disturbances` of a root grows by one with each `forget` and each `missed` of its
       locations, whoever calls them; with a `record` by which locations come to stand, as its
       outcome says; and with nothing else.

    One that cannot keep every path has an attribute `longest_path`, in bytes: files whose paths
    are longer are not recorded, and told as unreadable.
    """

    def roots(self) -> Sequence[SourceRoot]: ...

    def locations(
        self, root_id: int, below: bytes = b"", begin: bytes = b""
    ) -> Iterator[FileLocation]:
        """Those of the root, or `below` a path; none whose path is before `begin`."""
        ...

    def disturbances(self, root_id: int) -> int: ...

    def find(self, root_id: int, path: bytes) -> FileLocation | None: ...

    def record(
        self, root_id: int, sightings: Sequence[Sighting], routing: RoutingTable
    ) -> RecordOutcome: ...

    def missed(self, location_ids: Sequence[int]) -> int:
        """Count one complete scan of a root without these; returns how many became deleted."""
        ...

    def seen(self, location_ids: Sequence[int]) -> None:
        """Reset the count of missed scans of locations that a scan met unchanged."""
        ...

    def forget(self, location_id: int, actor: str) -> None: ...


# --- queue ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkerNode:
    """A process of the engine and its last heartbeat. `id` is unique for ever.

    `host_key` says which processes can see each other's pids (host, boot, pid namespace);
    `pid_started` tells a process from a later one of the same pid.
    """

    id: str
    hostname: str
    pid: int
    host_key: str
    pid_started: int
    roles: tuple[str, ...]
    endpoint: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    git_hash: str = ""
    user: str = ""
    started_at_us: int = 0
    heartbeat_at_us: int = 0
    load: Mapping[str, Any] = field(default_factory=dict)
    stopped: bool = False


class Lost(NamedTuple):
    """Who has ended, by id, and whether anybody left jobs behind: those, or one that did not
    renew its lease."""

    dead: Sequence[str]
    jobs: bool


class Pruned(NamedTuple):
    """How many rows of history were removed."""

    jobs: int = 0
    events: int = 0


class Unfinished(NamedTuple):
    """A job of a (plugin, location) that has not ended."""

    job_id: int
    plugin: str
    location_id: int
    status: JobStatus
    kind: JobKind

    @property
    def key(self) -> tuple[str, int]:
        return self.plugin, self.location_id


class PurgesBegun(NamedTuple):
    """The purges that were begun, and the jobs for which others were not. `unseen`: the (plugin,
    location) whose file has no version here, so that its rows can only be adopted ones."""

    claims: Sequence[Claim]
    in_the_way: Sequence[Unfinished]
    unseen: Sequence[tuple[str, int]] = ()


class JobQueue(Protocol):
    """The queue proper: claims, leases, failures.

    1. One winner per claim: among concurrent claimers no job is given twice.
    2. Jobs are claimed by `due`, then id, none before its `not_before`; one so far away that only
       a clock set back since can have said it does not count.
    3. `claim` raises `attempt` by one and sets a fresh random token, worker and lease.
    4. A stale token (another attempt, another status) changes nothing: `fail`, `release`
       and `renew` say so by their result, and never raise for it.
    5. `fail` follows the RetryPolicy, adds a row to `job_event`, keeps what the attempts
       before it said, and clears token and lease.
    6. `release` gives back a claim that never ran: no budget is used.
    7. `reap` requeues or fails RUNNING jobs whose lease is over, or whose worker is named
       dead, checking again in the writing statement.
    8. The lease clock is the database's own, or, where database and engine share the host,
       the injected clock.
    9. Statuses move only along `casparian.domain.jobs.TRANSITIONS`.
    10. `cancel` takes a running job's token away; `retry` resets the budgets, and puts a
        BLOCKED job back to PROMOTING; both are recorded in `job_event`.
    11. `prune` removes the events of jobs that ended before a time, and those of these jobs
        that never were decided and whose file has a newer version: what a published row is
        traced by stays. A call that removes something leaves a record, by whom and how much, in
        the transactions that remove it; `Reports.status` has the newest.
    12. `begin_purges` makes a job of kind PURGE for each (plugin, location) that has no job
        QUEUED, RUNNING or PROMOTING: RUNNING from its beginning, held by the caller, at the
        location's current version, and newer than every job before it; `job_event` says who
        asked. For the others it says which jobs are in the way.
    13. A purge is never QUEUED: `fail` and `reap` end it FAILED whatever the policy, `release`
        changes nothing, `retry` takes it up only where it is BLOCKED. It counts as no job of
        the version where jobs are enqueued for versions that have none.
    14. Of the versions of one content that a plugin wants which skips duplicates, one has a job
        that is not SKIPPED: the doer. Where rows of a skipped file's earlier versions stand, or
        may come to stand, a job of kind WITHDRAW is QUEUED for it as well. When a doer ends
        FAILED, CANCELLED or SUPERSEDED, or its rows are replaced or purged, one of the skipped
        files that is there, as it was, gets a QUEUED job in the same transaction: the doer from
        then on.
    15. `retry` ends a job SUPERSEDED whose content is done by another file's meanwhile; `cancel`
        ends a SKIPPED one.
    16. `lost` says whether `reap` or `take_over` may have anything to do, and writes nothing.
    """

    def claim(
        self, worker: str, plugins: Mapping[str, str], limit: int, lease_us: int
    ) -> list[Claim]:
        """Up to `limit` jobs of these plugins (name to the hash of the code that will run)."""
        ...

    def renew(self, worker: str, jobs: Mapping[int, str], lease_us: int) -> set[int]:
        """Extend the leases of these (job id to token); returns the ids still held."""
        ...

    def release(self, jobs: Mapping[int, str], delay_us: int = 0) -> set[int]: ...

    def fail(self, failures: Sequence[Failure], policy: RetryPolicy) -> dict[int, JobStatus]:
        """The new status of each; ids whose token was stale are absent."""
        ...

    def fail_queued(self, plugin: str, message: str) -> int:
        """End all QUEUED jobs of a quarantined plugin FAILED (QUARANTINED)."""
        ...

    def reap(self, policy: RetryPolicy, dead_workers: Iterable[str] = ()) -> int: ...

    def lost(self, is_dead: Callable[[WorkerNode], bool]) -> Lost:
        """`is_dead`: of a process that has not said that it stopped, whether it surely ended."""
        ...

    def retry(self, job_ids: Sequence[int], actor: str) -> list[int]: ...

    def cancel(self, job_ids: Sequence[int], actor: str) -> list[int]: ...

    def begin_purges(
        self, worker: str, keys: Sequence[tuple[str, int]], lease_us: int, actor: str
    ) -> PurgesBegun:
        """`keys`: each (plugin, location id) once."""
        ...

    def prune(self, before_us: int, actor: str) -> Pruned:
        """Remove old history; safe while engines run. `actor` is recorded."""
        ...

    def backlog(self) -> Mapping[JobStatus, int]:
        """Jobs by status; statuses without jobs may be absent."""
        ...

    def next_due_us(self, plugins: Iterable[str] | None = None) -> int | None:
        """The earliest `not_before` of the QUEUED jobs (of these plugins), None without any."""
        ...

    def beat(self, node: WorkerNode) -> None: ...

    def workers(self) -> Sequence[WorkerNode]: ...

    def wait(self, timeout_s: float) -> None:
        """Return early when jobs may have become claimable; never later than the timeout."""
        ...

    def wake(self) -> None: ...


class Promoting(NamedTuple):
    """A decided job taken over from a worker that stopped."""

    job_id: int
    token: str
    attempt: int
    manifest: Manifest
    emptied_known: bool = True


class PublishLedger(Protocol):
    """The decision log: slots, target schemas, manifests.

    1. `decide` is all or nothing for its group: it returns {} when every job is PROMOTING,
       else the refusals, and nothing has changed.
    2. It refuses STALE unless the job is RUNNING with this attempt and token; HELD while
       another unfinished job holds the (plugin, location), or a bundle that the manifest
       writes is decided and not installed; MOVED when the slot state, or the revision before
       the bundle's, is not the one planned on; SCHEMA when a target's schema is not the
       expected one.
    3. It takes the lock rows in key order, raises the generation, records the slots that
       will hold rows, and writes manifest, schemas and status in one transaction.
    4. `complete` compares token and status, releases the lock, forgets emptied slots; ids
       whose token was stale are absent from its result. Completing a newer job ends BLOCKED
       jobs of the same plugin and location SUPERSEDED.
    5. `take_over` gives PROMOTING jobs whose lease is over, or whose worker is dead, a fresh
       token and the caller's lease; the attempt stays.
    6. `block` ends a job BLOCKED and releases its lock; the manifest stays.
    7. The installation is made with the database and never changes by itself.
    8. A bundle is decided at the revision after the one installed last, by all of its jobs at
       once, and is installed as soon as one of them completes.
    """

    @property
    def installation(self) -> str:
        """The UUID of this queue, 32 hex digits."""
        ...

    def highest_job_id(self) -> int: ...

    def slots(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], SlotState]:
        """The state of each (plugin, location id); an empty SlotState where there is none."""
        ...

    def schemas(self, targets: Sequence[Target]) -> dict[Target, TargetSchema]:
        """The schema of each target that has one."""
        ...

    def bundles(self, keys: Iterable[BundleKey]) -> dict[BundleKey, BundleState]:
        """The state of each bundle; an empty BundleState where there is none."""
        ...

    def decide(self, decisions: Sequence[Decision]) -> dict[int, Refusal]: ...

    def complete(self, completions: Sequence[Completion]) -> set[int]: ...

    def block(self, job_id: int, token: str, message: str) -> bool: ...

    def take_over(
        self, worker: str, limit: int, lease_us: int, dead_workers: Iterable[str] = ()
    ) -> list[Promoting]: ...

    def fates(self, job_ids: Sequence[int]) -> dict[int, JobFate]: ...


@dataclass(frozen=True, slots=True)
class Applied:
    """The configuration as the database is to hold it: all paths absolute."""

    roots: tuple[bytes, ...]
    rules: tuple[RoutingRule, ...]
    plugins: tuple[PluginConfig, ...]
    manifests: tuple[PluginManifest, ...]
    ageing_us: int = 60_000_000


class PluginStore(Protocol):
    """Plugin code and configuration, as workers see them.

    1. `apply` makes rules, roots, plugins and topics what the configuration says, in one
       transaction; what is gone from it is inactive, never deleted.
    2. Jobs are enqueued for every current version of a file that is not deleted, which a new
       or changed rule or subscription matches and which has no job of that plugin.
    3. Code is stored once per content hash and plugin; its manifest tells the newest version
       that it is. The code applied last is live. Applying the same again changes nothing and
       raises no revision.
    4. `revision` grows with every change that a worker must see.
    5. `quarantine` marks one content hash of a plugin; other code of it is not affected.
    6. Each version of a plugin is a Deployment. Versions count up over all origins and are
       never given twice, also where the code is one that the plugin had before.
    7. `apply` takes code for a plugin only while its newest installed version is of origin
       DIRECTORY, or there is none: what was deployed, or rolled back to, stays.
    8. `deploy` stores code, version and nonce, and makes the code live, in one transaction; a
       version with the verdict FAILED is stored and leaves what is live. It returns what it
       stored. It raises DeployRefusedError, and changes nothing, for a nonce that was used since
       `nonces_since_us`, and for a version that is not above every other of the plugin.
    9. Deployed code is no longer under quarantine, and its bytes are those deployed, whatever
       was made of them in the database.
    10. `refuse` keeps the last MOST_REFUSALS of refused deployments.
    11. `live` names the active source roots with each plugin: that is where its input lies.
    """

    def apply(self, applied: Applied) -> int:
        """Returns how many jobs were enqueued by it."""
        ...

    def routing(self) -> RoutingTable: ...

    def live(self) -> Sequence[LivePlugin]: ...

    def configured(self) -> Mapping[str, PluginConfig]:
        """The active plugins' configurations by name, also of those without code."""
        ...

    def manifest(self, content_hash: str, plugin: str | None = None) -> PluginManifest:
        """Of this plugin, or of any that has the code."""
        ...

    def revision(self) -> int: ...

    def recheck(self) -> None:
        """Raise the revision: every worker verifies again what it runs."""
        ...

    def quarantine(self, plugin: str, content_hash: str, reason: str) -> None: ...

    # --- versions -------------------------------------------------------------------------

    def deploy(
        self,
        deployment: Deployment,
        code: bytes | None = None,
        nonce: str = "",
        nonces_since_us: int = 0,
    ) -> Deployment:
        """`code` None: the plugin has it already, as in a rollback."""
        ...

    def refuse(self, refused: RefusedDeploy) -> None: ...

    def deployments(self, plugin: str | None = None) -> Sequence[Deployment]:
        """Every version, of one plugin or of all, by plugin and version."""
        ...

    def refusals(self, plugin: str | None = None) -> Sequence[RefusedDeploy]:
        """Refused deployments, oldest first."""
        ...

    def standing(self) -> Mapping[str, Deployment]:
        """By plugin, the version that is live."""
        ...

    def newest_version(self, plugin: str) -> int:
        """The highest version of any verdict; 0 for none."""
        ...

    def knows_nonce(self, nonce: str) -> bool: ...

    def audiences(self) -> frozenset[str]:
        """This installation's UUID, and those that it had before rows were adopted."""
        ...


class Reports(Protocol):
    """Read-only views for the operator's tool: each returns plain data for JSON."""

    def status(self) -> StatusDocument: ...

    def files(self) -> list[FileDocument]: ...

    def jobs(
        self,
        status: str | None = None,
        plugin: str | None = None,
        ids: Sequence[int] | None = None,
    ) -> list[JobDocument]:
        """By id; of several conditions, a job satisfies all. Unknown ids are absent."""
        ...

    def why(self, path: bytes) -> list[FileStoryDocument]:
        """One document per source root that knows the path; empty when none does."""
        ...

    def trace(self, job_id: int) -> JobOriginDocument | None:
        """A job with its events and outputs, and the version it read; None for an unknown id."""
        ...

    def published(self, matches: Callable[[str], bool]) -> list[PublishedDocument]:
        """One for each plugin with standing slots of a file whose path `matches`."""
        ...

    def current_failures(self) -> list[JobDocument]:
        """FAILED and BLOCKED jobs that belong to the current version of their file; not purges
        that were given up, for which nothing was decided."""
        ...

    def arrived_since(self, since_us: int) -> Iterator[tuple[bytes, int]]:
        """Path below its root, and time, of each version first seen at or after a time, in no
        particular order; of deleted files too."""
        ...

    def queue(self) -> list[QueueDocument]:
        """One for each plugin and status that has jobs; `age_s` is how long the oldest
        of QUEUED jobs has been waiting, null for others."""
        ...


# --- plugin hosts -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SidecarSpec:
    """What a sidecar needs to start. `session` is the secret it must show in REG, `readable` are
    the paths below which its input lies, `python` is the interpreter of an environment of the
    plugin's own, empty for the engine's."""

    session: str = field(repr=False)
    plugin: LivePlugin
    code: bytes
    endpoint: str
    window: int
    heartbeat_s: float = 1.0
    readable: tuple[str, ...] = ()
    access: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the transport asks of who connects, besides."""
    python: str = ""


class SidecarExit(NamedTuple):
    """A sidecar ended: exit code, or minus the signal; `tail` is the end of its stderr.

    `job_id` is the last job it began (0: none), None where that is not known: its messages
    may have been lost with it, so the router cannot tell by itself.
    """

    session: str
    code: int
    tail: str
    out_of_memory: bool = False
    cpu_exceeded: bool = False
    job_id: int | None = None


class PluginHost(Protocol):
    """Starts, watches, limits and ends sidecars.

    1. `start` returns at once; a sidecar that cannot start is a SidecarExit.
    2. `exits` returns each ended sidecar once, and `on_exit` (given at construction) is
       called from any thread as soon as one ended.
    3. `kill` ends a sidecar and all it started, hung or stopped as it may be.
    4. Sidecars end when the engine ends, however it ends.
    5. A sidecar sees a cleared environment, no database address and no file of the engine's.
    6. `close` ends all.
    """

    def start(self, spec: SidecarSpec) -> None: ...

    def kill(self, session: str) -> None: ...

    def exits(self) -> list[SidecarExit]: ...

    def close(self) -> None: ...


# --- sinks ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StageRequest:
    """What a staging is for. `shared`: the rows may wait in memory for those of other jobs,
    since `Bundler.seal` will be called before anything else is done with the staging."""

    key: StagingKey
    target: Target
    lineage: JobLineage
    shared: bool = False


class Staging(Protocol):
    """One topic's rows on their way: private until promoted. One thread at a time."""

    def write(self, batch: Any) -> None:
        """Append a validated RecordBatch with its lineage columns; raises JobError
        (SCHEMA_DRIFT, DATA) for rows that the target cannot hold as they are."""
        ...

    def finish(self) -> StagedRows:
        """Close the files. Durable only after `Sink.sync`."""
        ...

    def discard(self) -> None: ...


@dataclass(frozen=True, slots=True)
class StagedRows:
    """What `finish` leaves: rows, their digest, the schema without lineage, file names."""

    rows: int
    digest: str
    schema: TargetSchema
    files: tuple[str, ...]


class PromoteItem(NamedTuple):
    """One item of one job to be promoted by the holder of `key.token`."""

    key: StagingKey
    manifest: Manifest
    item: ManifestItem


class Sink(Protocol):
    """One output location: a directory tree, a database file, a database.

    1. What is staged is seen by no reader, whatever it globs.
    2. `promote` is idempotent: where the slot's marker is the job's, it does nothing.
    3. `promote` installs only where the generation is higher than the slot's; the rows of
       the slot are replaced as a whole, in one step for readers.
    4. A reader sees whole, published rows and nothing else at every moment.
    5. A promoter whose staging was taken over (`rekey`) changes nothing: its receipt has an
       error and the rows stand as the new holder left them.
    6. A marker of the same job with another digest, or of another installation, is refused.
    7. After `sync` returns, what was staged survives a power cut; after `promote`, what it
       installed does.
    8. `rekey` is found by installation, job and attempt, whatever the token.
    9. `stagings` lists every staging by its key; `discard` removes one and is idempotent.
    10. Values and types survive by the sink's documented mapping, or the write is refused.
    11. One item that fails does not fail the others.
    """

    scheme: str
    location: str

    def check(self) -> None:
        """Raise ConfigurationError where this sink could not keep its promises."""
        ...

    def stage(self, request: StageRequest, known: TargetSchema | None) -> Staging:
        """Open a staging; rows are cast to `known` where the schema rules allow."""
        ...

    def stage_empty(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """Stage what emptying a slot needs (nothing, for most sinks)."""
        ...

    def stage_marker(self, manifest: Manifest, item: ManifestItem, key: StagingKey) -> None:
        """Put the marker beside finished rows, before `sync`."""
        ...

    def sync(self, keys: Sequence[StagingKey]) -> None: ...

    def promote(self, items: Sequence[PromoteItem]) -> list[Receipt]: ...

    def rekey(self, key: StagingKey) -> None:
        """Rename the staging of this installation, job and attempt to `key.token`."""
        ...

    def stagings(self) -> list[StagingKey]: ...

    def discard(self, key: StagingKey) -> None: ...

    def clean(self, now_us: int) -> None:
        """Remove what was replaced longer ago than the grace period."""
        ...

    def markers(self) -> Iterator[tuple[Target, Marker]]:
        """Every slot's marker, for checks."""
        ...


class Bundler(Protocol):
    """What a sink can do besides: put the small rows of several jobs into one place.

    1. `seal` completes stagings that were opened as `shared`, markers included, and those of
       slots to be emptied. Its result is in the order of the items: each as it is to be
       decided, or why its job fails.
    2. An item that comes with a bundle stays in it; the sink decides which others share one.
    3. Items of one bundle are written together, for a decision that is all or nothing. Until
       they are decided they may be sealed again, in other company.
    4. `promote` installs a bundle once, whoever of its jobs comes first.
    """

    def seal(self, items: Sequence[PromoteItem]) -> list[ManifestItem | JobError]: ...


def bundler_of(sink: Sink) -> Bundler | None:
    """The sink, if it can put the rows of several jobs into one place."""
    # A check against the protocol itself costs as much as parsing a small file's header.
    return cast(Bundler, sink) if callable(getattr(sink, "seal", None)) else None


class SinkFactory(Protocol):
    """Registered per URI scheme: parses the URI, opens the sink of a location."""

    scheme: str

    def absolute(self, uri: str, base: str) -> str:
        """The same URI with a relative path in it made absolute."""
        ...

    def parse(self, uri: str, base: str, plugin: str, topic: str) -> Target:
        """The target of a topic; raises ConfigurationError saying what is wrong with the URI.

        `base` is the directory that relative paths are relative to.
        """
        ...

    def open(self, location: str) -> Sink: ...
