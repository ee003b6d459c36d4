"""A shadow run: what new code of a plugin makes of files, against the rows that are published.

The targets and the queue's database are only read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from casparian.adapters.host.scratch import SHADOW, Scratch
from casparian.adapters.queue import QueueStores
from casparian.adapters.sink.comparing import Comparison, Stream, nothing, reasons
from casparian.adapters.sink.shadow import MadeRows, Spool
from casparian.app.registry import Registry
from casparian.app.root_rules import version_archive
from casparian.app.settings import Settings
from casparian.app.shadow_run import Ran, run_code
from casparian.app.shadow_samples import Sample, last_versions
from casparian.app.targets import Targets
from casparian.domain.errors import CasparianError, ConfigurationError, ErrorClass, UnavailableError
from casparian.domain.plugins import REJECTS_TOPIC, PluginConfig
from casparian.domain.ports import LastingSink
from casparian.domain.publish import PublishedSlot, Target
from casparian.domain.readback import ReadableSink
from casparian.domain.schemas import NULL, TargetSchema, reconcile
from casparian.domain.shadow import FileCase, FileFinding, RowsCompared, TopicDifference

_CHANGED = frozenset({ErrorClass.SOURCE_GONE.value, ErrorClass.SOURCE_CHANGED.value})


@dataclass(frozen=True, slots=True)
class Shadow:
    """What came of it, `findings` by sample. `passed_over`: files that are gone."""

    samples: Sequence[Sample]
    findings: Sequence[FileFinding]
    topics: dict[str, TopicDifference]
    passed_over: int = 0

    @property
    def same(self) -> bool:
        return all(
            finding.case is FileCase.COMPARED and finding.same for finding in self.findings
        ) and all(topic.same for topic in self.topics.values())


def shadow_run(
    settings: Settings, stores: QueueStores, plugin: str, code: bytes, limit: int
) -> Shadow:
    """Run `code` on the last file versions, at most `limit`, that the plugin is to publish. Raises
    ConfigurationError where there is none, or no such plugin."""
    config = stores.store.configured().get(plugin)
    if config is None:
        raise ConfigurationError(
            f"This queue knows no plugin {plugin!r}: add [plugin.{plugin}] to the configuration, "
            "and start an engine, which applies it."
        )
    samples, passed_over = last_versions(stores, plugin, limit, version_archive(settings))
    if not samples:
        raise ConfigurationError(
            f"No file that plugin {plugin!r} is to read is as it was when it was seen: there is "
            "nothing to run new code on. Deploy it without --shadow."
        )
    factories = Registry.default().sink_factories(settings)
    with Scratch(SHADOW) as scratch:
        spool = Spool(scratch.path)
        ran = run_code(settings, stores, factories, config, code, samples, spool)
        judge = _Judge(stores, Targets(factories), config, ran)
        findings = [
            judge.file(number, sample, made)
            for number, (sample, made) in enumerate(zip(samples, ran, strict=True))
        ]
        return Shadow(samples, findings, judge.topics(), passed_over)


@dataclass(slots=True)
class _Columns:
    """Of one topic: those of the target, those that the new code names in any file, and those in
    which published rows have values."""

    known: TargetSchema
    named: set[str]
    valued: set[str] = field(default_factory=set)
    changed: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)

    @property
    def one_sided(self) -> set[str]:
        """Columns in which rows cannot be alike, and that are told by themselves: new ones, and
        those that the new code does not make any more."""
        return {column.name for column in self.known.columns} ^ self.named if self.named else set()

    def add(self, made: MadeRows) -> None:
        known = {column.name: column.type for column in self.known.columns}
        for column in made.columns.columns:
            before = known.get(column.name)
            before = None if before == NULL else before
            if column.type not in (before, NULL):
                self.changed[column.name] = (before, column.type)

    def differing(self) -> dict[str, tuple[str | None, str | None]]:
        gone = {
            column.name: (column.type, None)
            for column in self.known.columns
            if self.named and column.name in self.valued - self.named
        }
        return {**self.changed, **gone}


class _Judge:
    """Compares file by file."""

    def __init__(
        self, stores: QueueStores, targets: Targets, config: PluginConfig, ran: Sequence[Ran]
    ) -> None:
        self._stores = stores
        self._targets = targets
        self._config = config
        self._named: dict[str, set[str]] = {}
        for topic, made in (item for one in ran for item in one.topics.items()):
            self._named.setdefault(topic, set()).update(made.named)
        self._topics: dict[str, TopicDifference] = {}
        self._columns: dict[str, _Columns] = {}
        self._schemas: dict[Target, TargetSchema | None] = {}

    def topics(self) -> dict[str, TopicDifference]:
        for name, topic in self._topics.items():
            if name in self._columns:
                topic.columns = self._columns[name].differing()
        return self._topics

    def file(self, number: int, sample: Sample, ran: Ran) -> FileFinding:
        if ran.error:
            case = FileCase.UNCOMPARED if ran.error_class in _CHANGED else FileCase.FAILED
            reason = f"{ran.error_class}: {ran.error}"
            return FileFinding(case, reason, sample.job["rows"], 0, sample.job["rejects"])
        finding = FileFinding(FileCase.COMPARED)
        try:
            compared = self._compare(sample, ran, finding)
        except (CasparianError, OSError) as error:
            rows = sum(made.rows for topic, made in ran.topics.items() if topic != REJECTS_TOPIC)
            return FileFinding(
                FileCase.UNCOMPARED, str(error), sample.job["rows"], rows, sample.job["rejects"]
            )
        for topic, (target, found) in compared.items():
            self._add(number, topic, target, found, ran.topics.get(topic), finding)
        return finding

    def _compare(
        self, sample: Sample, ran: Ran, finding: FileFinding
    ) -> dict[str, tuple[Target, RowsCompared]]:
        places = self._places(sample)
        if not sample.published or (not places and sample.job["rows_read"]):
            finding.case, finding.reason = FileCase.UNPUBLISHED, sample.why_unpublished()
            if places:
                finding.reason += "; rows of an earlier version stand meanwhile"
            places = {}
        compared: dict[str, tuple[Target, RowsCompared]] = {}
        for topic in sorted(places.keys() | ran.topics.keys()):
            place, made = places.get(topic), ran.topics.get(topic)
            if place is None:
                assert made is not None
                compared[topic] = made.target, self._new(topic, made)
                continue
            compared[topic] = place.target, self._against(sample, topic, place, made, finding)
            if made is not None and made.target != place.target:
                finding.reason = f"its rows stand in {place.target}; {topic} goes to {made.target}"
        return compared

    def _places(self, sample: Sample) -> dict[str, PublishedSlot]:
        """By topic, where rows of the version stand by the queue's books, or of earlier ones."""
        key = self._config.plugin, sample.location_id
        state = self._stores.ledger.slots([key])[key]
        if state.holder is not None or sample.halfway:
            raise UnavailableError(
                f"Job {state.holder or sample.job['id']} is decided, and not published in every "
                "target yet. Try again when it is."
            )
        found: dict[str, PublishedSlot] = {}
        for place in state.published:
            if place.slot.version_id not in (0, sample.version_id):
                continue
            topic = place.slot.topic
            today = self._targets.of_topic(self._config, topic)
            if topic not in found or (today and today == (place.target, place.mode)):
                found[topic] = place
        return found

    def _new(self, topic: str, made: MadeRows) -> RowsCompared:
        """Rows to which nothing is published that could be compared."""
        sink = self._targets.sink(made.target)
        if not isinstance(sink, ReadableSink):
            return RowsCompared(rows_now=made.rows, only_now=made.rows)
        found = Comparison(sink, made.columns, str(made.target)).compare(nothing, made.batches)
        _count_reasons(topic, found, nothing, made.batches)
        return found

    def _against(
        self,
        sample: Sample,
        topic: str,
        place: PublishedSlot,
        made: MadeRows | None,
        finding: FileFinding,
    ) -> RowsCompared:
        target = place.target
        sink = self._targets.sink(target)
        if not isinstance(sink, ReadableSink):
            raise UnavailableError(f"The sink of {target} cannot give its rows back.")
        columns = self._schema(target)
        if made is not None:
            columns = reconcile(columns, made.columns, str(target)).schema
        if columns is None:
            raise UnavailableError(f"The queue does not know which columns {target} has.")
        with sink.reading(place) as standing:
            if standing is None:
                if isinstance(sink, LastingSink) and (missing := sink.missing()):
                    raise UnavailableError(missing)
                raise UnavailableError(
                    f"Job {sample.job['id']} published rows to {target}, and nothing is there of "
                    "it any more: somebody removed it. Restore it, or publish the file anew."
                )
            if not sample.is_of(standing.marker):
                raise UnavailableError(
                    f"{target} holds rows of job {standing.marker.job_id}, of other content than "
                    "the file has."
                )
            fresh = made.batches if made is not None else nothing
            apart = self._of_topic(topic, target).one_sided
            comparison = Comparison(sink, columns, str(target), apart)
            found = comparison.compare(standing.batches, fresh)
            _count_reasons(topic, found, standing.batches, fresh)
            if standing.altered():
                finding.altered.append(str(target))
        return found

    def _schema(self, target: Target) -> TargetSchema | None:
        if target not in self._schemas:
            self._schemas[target] = self._stores.ledger.schemas([target]).get(target)
        return self._schemas[target]

    def _add(
        self,
        number: int,
        topic: str,
        target: Target,
        found: RowsCompared,
        made: MadeRows | None,
        finding: FileFinding,
    ) -> None:
        self._topics.setdefault(topic, TopicDifference(str(target))).add(number, found)
        finding.same = finding.same and found.same
        if topic == REJECTS_TOPIC:
            finding.rejects_before, finding.rejects_now = found.rows_before, found.rows_now
            return
        finding.rows_before += found.rows_before
        finding.rows_now += found.rows_now
        columns = self._of_topic(topic, target)
        columns.valued |= found.valued
        if made is not None:
            columns.add(made)

    def _of_topic(self, topic: str, target: Target) -> _Columns:
        if topic not in self._columns:
            known = self._schema(target) or TargetSchema(())
            self._columns[topic] = _Columns(known, self._named.get(topic, set()))
        return self._columns[topic]


def _count_reasons(topic: str, found: RowsCompared, before: Stream, now: Stream) -> None:
    if topic == REJECTS_TOPIC:
        found.reasons_before, found.reasons_now = reasons(before()), reasons(now())
