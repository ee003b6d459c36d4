"""Jobs in OpenLineage's words.

A plugin is a job, an attempt is a run, a file is an input and a target an output. The run's id
follows from installation, job and attempt, so that a worker which takes a job over ends the run
that another one began.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from openlineage.client import event_v2 as ol
from openlineage.client import facet_v2 as facets
from openlineage.client.facet_v2 import (
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    processing_engine_run,
    schema_dataset,
    source_code_location_job,
)

from casparian.domain.errors import ErrorClass
from casparian.domain.files import path_text
from casparian.domain.jobs import Claim, Failure
from casparian.domain.publish import Manifest, ManifestItem
from casparian.domain.schemas import TargetSchema

FILES = "file"


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which attempt an event is about."""

    job_id: int
    attempt: int
    plugin: str
    plugin_hash: str
    source: str
    content_hash: str

    @staticmethod
    def of_claim(claim: Claim) -> Attempt:
        return Attempt(
            claim.job_id,
            claim.attempt,
            claim.plugin,
            claim.plugin_hash,
            path_text(claim.source),
            claim.content_hash,
        )

    @staticmethod
    def of_manifest(manifest: Manifest) -> Attempt:
        return Attempt(
            manifest.job_id,
            manifest.attempt,
            manifest.plugin,
            manifest.plugin_hash,
            manifest.root_path.rstrip("/") + "/" + manifest.path,
            manifest.content_hash,
        )


class Events:
    """Makes run events. `installation` is the queue's UUID, `version` this program's."""

    def __init__(self, namespace: str, installation: str, version: str) -> None:
        self._namespace = namespace
        self._installation = uuid.UUID(installation)
        self._version = version
        self._producer = f"urn:casparian-flow:{version}"

    def started(self, at_us: int, claim: Claim) -> ol.RunEvent:
        return self._event(ol.RunState.START, at_us, Attempt.of_claim(claim))

    def published(self, at_us: int, manifest: Manifest) -> ol.RunEvent:
        """COMPLETE, with an output for each target in which rows were put, or emptied."""
        outputs = [self._output(item) for item in manifest.items]
        attempt = Attempt.of_manifest(manifest)
        return self._event(ol.RunState.COMPLETE, at_us, attempt, outputs=outputs)

    def superseded(self, at_us: int, manifest: Manifest) -> ol.RunEvent:
        """ABORT: what is published is newer, and this job's rows are nowhere."""
        return self._event(ol.RunState.ABORT, at_us, Attempt.of_manifest(manifest))

    def failed(self, at_us: int, claim: Claim, failure: Failure) -> ol.RunEvent:
        """FAIL, or ABORT for an attempt that was given back before it ran."""
        if failure.error_class is ErrorClass.CONFLICT:
            return self.aborted(at_us, claim)
        text = f"{failure.error_class}: {failure.message}"
        attempt = Attempt.of_claim(claim)
        return self._event(ol.RunState.FAIL, at_us, attempt, text, failure.detail)

    def blocked(self, at_us: int, manifest: Manifest, message: str) -> ol.RunEvent:
        attempt = Attempt.of_manifest(manifest)
        return self._event(ol.RunState.FAIL, at_us, attempt, f"BLOCKED: {message}")

    def aborted(self, at_us: int, claim: Claim) -> ol.RunEvent:
        return self._event(ol.RunState.ABORT, at_us, Attempt.of_claim(claim))

    # --- their parts ----------------------------------------------------------------------

    def _event(
        self,
        state: ol.RunState,
        at_us: int,
        attempt: Attempt,
        error: str = "",
        detail: str = "",
        outputs: list[ol.OutputDataset] | None = None,
    ) -> ol.RunEvent:
        name = f"{attempt.job_id}.{attempt.attempt}"
        run_id = str(uuid.uuid5(self._installation, name))
        return ol.RunEvent(
            eventType=state,
            eventTime=datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(),
            producer=self._producer,
            run=ol.Run(run_id, self._run_facets(error, detail)),
            job=ol.Job(self._namespace, attempt.plugin, self._job_facets(attempt)),
            inputs=[self._input(attempt)],
            outputs=outputs or [],
        )

    def _run_facets(self, error: str, detail: str) -> dict[str, facets.RunFacet]:
        own: dict[str, facets.RunFacet] = {
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
                version=self._version, name="Casparian Flow", producer=self._producer
            )
        }
        if error:
            own["errorMessage"] = error_message_run.ErrorMessageRunFacet(
                message=error,
                programmingLanguage="PYTHON",
                stackTrace=detail or None,
                producer=self._producer,
            )
        return own

    def _job_facets(self, attempt: Attempt) -> dict[str, facets.JobFacet]:
        """Which code: the SHA-256 of the plugin, as in every row's lineage. A purge runs none."""
        code: dict[str, facets.JobFacet] = {}
        if attempt.plugin_hash:
            code["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
                type="sha256",
                url=f"urn:sha256:{attempt.plugin_hash}",
                path=f"{attempt.plugin}.py",
                version=attempt.plugin_hash,
                producer=self._producer,
            )
        return code | {
            "jobType": job_type_job.JobTypeJobFacet(
                processingType="BATCH",
                integration="CASPARIAN",
                jobType="JOB",
                producer=self._producer,
            ),
        }

    def _input(self, attempt: Attempt) -> ol.InputDataset:
        version = dataset_version_dataset.DatasetVersionDatasetFacet(
            datasetVersion=attempt.content_hash, producer=self._producer
        )
        return ol.InputDataset(FILES, attempt.source, facets={"version": version})

    def _output(self, item: ManifestItem) -> ol.OutputDataset:
        target = item.target
        if target.scheme == "parquet":
            namespace, name = FILES, f"{target.location}/{target.name}"
        else:
            namespace, name = f"{target.scheme}://{target.location}", target.name
        statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
            rowCount=item.rows, fileCount=len(item.files) or None, producer=self._producer
        )
        return ol.OutputDataset(
            namespace,
            name,
            facets={"schema": self._schema(item)} if item.staged else {},
            outputFacets={"outputStatistics": statistics},
        )

    def _schema(self, item: ManifestItem) -> schema_dataset.SchemaDatasetFacet:
        columns = TargetSchema.from_json(item.schema_json).columns
        return schema_dataset.SchemaDatasetFacet(
            fields=[
                schema_dataset.SchemaDatasetFacetFields(
                    name=column.name, type=column.type, ordinal_position=number
                )
                for number, column in enumerate(columns, start=1)
            ],
            producer=self._producer,
        )
