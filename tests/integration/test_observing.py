"""A real engine, watched: what a scrape shows, when it is ready, what a lineage catalog gets."""

from __future__ import annotations

import json
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from openlineage.client import event_v2 as ol
from openlineage.client.facet_v2 import (
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    output_statistics_output_dataset,
    processing_engine_run,
    schema_dataset,
    source_code_location_job,
)
from prometheus_client.parser import text_string_to_metric_families

from casparian import Engine, Settings
from casparian.app.metrics.endpoint import MOST_REQUESTS, Endpoint
from casparian.app.observing import Observing
from casparian.domain.errors import ConfigurationError
from casparian.domain.observer import Stage, Unobserved
from tests.support.project import Project, documents, wait_for

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana-dashboard.json"
METRICS = '[metrics]\nlisten = "127.0.0.1:0"\n'
# For plugins that tell by a file where they are.
UNBOUND = METRICS + '[plugins]\nsandbox = "off"\n'
PLUGIN = """
import os
from casparian.sdk import BasePlugin

class Handler(BasePlugin):
    def execute(self, file_path):
        if file_path.endswith("crash.csv") and not os.path.exists(file_path + ".once"):
            open(file_path + ".once", "x").close()
            os._exit(3)
        self.reject(b"half a row", "too short", line=7)
        self.publish("output", [{"a": n} for n in range(200)])
"""
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def url(project: Project) -> str:
    def told() -> list[str]:
        return [d["url"] for d in documents(project.log()) if d["event"] == "metrics"]

    return str(wait_for(told)[0]).removesuffix("/metrics")


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address + path, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(address: str) -> Samples:
    status, text = get(address, "/metrics")
    assert status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_a_scrape_shows(project: Project) -> None:
    events = '[openlineage]\ntransport = "file"\npath = "events.jsonl"\n'
    project.csv_to("parquet://./output", UNBOUND + events)
    file = project.directory / "casparian.toml"
    file.write_text(file.read_text().replace("sidecars = 2", "sidecars = 1"))
    project.plugin("csv_table", PLUGIN)
    project.drop("good.csv", "a\n1\n")
    project.drop("crash.csv", "a\n1\n")
    with project.running("--log-json"):
        address = url(project)
        wait_for(lambda: project.statuses() == {"COMPLETED": 2})

        def settled() -> Samples | None:
            seen = scrape(address)
            key = ("casparian_jobs", (("plugin", "csv_table"), ("status", "COMPLETED")))
            return seen if seen.get(key) == 2 else None

        seen = wait_for(settled)

        def of(name: str, **more: str) -> float:
            return float(seen[name, tuple(sorted({"plugin": "csv_table", **more}.items()))])

        assert of("casparian_jobs_claimed_total") == 3
        assert of("casparian_jobs_ended_total", status="COMPLETED") == 2
        assert of("casparian_attempts_failed_total", error_class="CRASH") == 1
        assert of("casparian_rows_published_total", topic="output") == 400
        assert of("casparian_rows_rejected_total") == 2
        assert of("casparian_bytes_received_total") > 0
        assert of("casparian_sidecar_restarts_total") == 1
        assert of("casparian_sidecar_starts_total") >= 2
        assert of("casparian_credit_bytes") > 0
        assert of("casparian_credit_in_use_bytes") == 0
        assert of("casparian_queue_depth") == 0
        assert of("casparian_queue_oldest_age_seconds") == 0
        for stage in Stage:
            count = seen["casparian_stage_seconds_count", (("stage", stage.value),)]
            assert count > 0, f"no time was taken of {stage}"
        names = {name for name, _ in seen}
        for query in queries(DASHBOARD):
            asked = set(re.findall(r"\b(?:casparian|process)_\w+", query))
            assert asked, f"the query {query!r} asks for nothing of ours"
            assert asked <= names, f"no engine has {asked - names}, which {query!r} asks for"


def queries(dashboard: Path) -> list[str]:
    """Every expression that a dashboard asks Prometheus for."""
    document = json.loads(dashboard.read_text())
    found = [t["expr"] for panel in document["panels"] for t in panel.get("targets", [])]
    found += [v["definition"] for v in document["templating"]["list"] if "definition" in v]
    assert len(found) > 10
    return found


def test_ready_only_between_start_and_stop(project: Project) -> None:
    """A plugin takes its time while the engine ends."""
    project.csv_to("sqlite://./out/rows.sqlite3/rows", UNBOUND)
    (project.directory / "out").mkdir()
    go = project.directory / "go"
    project.plugin(
        "csv_table",
        f"""
        import os, time
        from casparian.sdk import BasePlugin

        class Handler(BasePlugin):
            def execute(self, file_path):
                open({str(go)!r} + ".waiting", "x").close()
                while not os.path.exists({str(go)!r}):
                    time.sleep(0.01)
                self.publish("output", [{{"a": 1}}])
        """,
    )
    with project.running("--log-json") as engine:
        address = url(project)
        wait_for(lambda: get(address, "/ready")[0] == 200)
        _, text = get(address, "/ready")
        assert json.loads(text) == {
            "ready": True,
            "phase": "running",
            "checks": {"scout": "ok", "router": "ok", "database": "ok", "sinks": "ok"},
        }
        assert get(address, "/health")[0] == 200
        assert get(address, "/somewhere")[0] == 404
        project.drop("a.csv", "a\n1\n")
        wait_for(Path(f"{go}.waiting").exists)
        engine.terminate()
        _, text = wait_for(lambda: (r := get(address, "/ready"))[0] == 503 and r)
        assert json.loads(text)["phase"] == "stopping"
        assert get(address, "/health")[0] == 200
        go.touch()
        assert engine.wait(60) == 0
    assert project.statuses() == {"COMPLETED": 1}


def test_not_ready_with_a_sink_that_cannot_be_used(project: Project) -> None:
    project.csv_to("parquet://./output", METRICS)
    with project.running("--log-json"):
        address = url(project)
        wait_for(lambda: get(address, "/ready")[0] == 200)
        output = project.directory / "output"
        wait_for(output.is_dir)
        output.rmdir()
        output.write_text("a file where a directory was")
        _, text = wait_for(lambda: (r := get(address, "/ready"))[0] == 503 and r)
        assert str(output) in json.loads(text)["checks"]["sinks"]
        assert get(address, "/health")[0] == 200


def test_an_address_in_use_is_refused(project: Project) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        port = other.server_address[1]
        project.csv_to("parquet://./output", f'[metrics]\nlisten = "{port}"\n')
        assert project.drain("--log-json") == 2
    assert f"127.0.0.1:{port} cannot be listened on" in project.log()
    assert "scanned" not in project.log()


def test_who_connects_and_says_nothing_takes_a_thread_of_few() -> None:
    endpoint = Endpoint("127.0.0.1", 0)
    endpoint.listen()
    address = ("127.0.0.1", int(endpoint.url.rpartition(":")[2]))
    silent: list[socket.socket] = []
    try:
        for number in range(MOST_REQUESTS):
            silent.append(socket.create_connection(address))
            wait_for(lambda n=number: answering() == n + 1)
        # There is room for no more.
        with socket.create_connection(address) as one_more:
            assert one_more.recv(1) == b""
        assert answering() == MOST_REQUESTS
        silent.pop().close()
        assert wait_for(lambda: scraped(endpoint.url)) == 200
    finally:
        for connection in silent:
            connection.close()
        endpoint.close()


def answering() -> int:
    return sum("process_request" in thread.name for thread in threading.enumerate())


def scraped(address: str) -> int | None:
    try:
        return get(address, "/metrics")[0]
    except OSError:
        return None


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (":9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:0", ("::1", 0)),
    ],
)
def test_addresses(listen: str, address: tuple[str, int]) -> None:
    assert Settings(metrics={"listen": listen}).metrics.address() == address


@pytest.mark.parametrize("listen", ["localhost", "here:port", "127.0.0.1:70000", ":"])
def test_what_is_no_address(listen: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is no address: write 127\.0\.0\.1:9464"):
        Settings.of({"metrics": {"listen": listen}}, tmp_path)


def test_two_engines_of_one_process_have_metrics_apart(tmp_path: Path) -> None:
    """Both at work at once, one with three files, one with one."""
    seen = {}
    engines = {}
    for name, files in (("many", 3), ("few", 1)):
        project = Project(tmp_path / name)
        project.csv_to("parquet://./output", METRICS)
        for number in range(files):
            project.drop(f"{number}.csv", "a\n1\n")
        engines[name] = Engine(Settings.load(project.directory / "casparian.toml"))
    threads = [threading.Thread(target=engine.drain) for engine in engines.values()]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name, engine in engines.items():
            registry = engine.container.observing().endpoint.metrics.registry
            labels = {"plugin": "csv_table", "status": "COMPLETED"}
            seen[name] = registry.get_sample_value("casparian_jobs_ended_total", labels)
    finally:
        for engine in engines.values():
            engine.close()
    assert seen == {"many": 3, "few": 1}


def test_switched_off_it_is_not_there(project: Project) -> None:
    """Nobody is told, and the ports are the adapters themselves."""
    project.csv_to("parquet://./output")
    settings = Settings.load(project.directory / "casparian.toml")
    observing = Observing(settings, lambda: 0)
    assert type(observing.observer) is Unobserved
    ledger: Any = object()
    assert observing.ledger(ledger) is ledger
    factories: dict[str, Any] = {"parquet": object()}
    assert observing.sinks(factories) is factories


# --- OpenLineage --------------------------------------------------------------------------


FACETS = {
    "sourceCodeLocation": source_code_location_job.SourceCodeLocationJobFacet,
    "jobType": job_type_job.JobTypeJobFacet,
    "processing_engine": processing_engine_run.ProcessingEngineRunFacet,
    "errorMessage": error_message_run.ErrorMessageRunFacet,
    "version": dataset_version_dataset.DatasetVersionDatasetFacet,
    "schema": schema_dataset.SchemaDatasetFacet,
    "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
}


def model(document: dict[str, Any]) -> ol.RunEvent:
    """A document as the library's own models take it; they refuse a key that they do not have."""

    def facets(of: dict[str, Any], key: str = "facets") -> dict[str, Any]:
        return {name: facet(name, dict(values)) for name, values in of[key].items()}

    def facet(name: str, values: dict[str, Any]) -> Any:
        schema_url = values.pop("_schemaURL")
        made = FACETS[name](producer=values.pop("_producer"), **values)
        assert made._schemaURL == schema_url
        return made

    return ol.RunEvent(
        eventType=ol.RunState(document["eventType"]),
        eventTime=document["eventTime"],
        producer=document["producer"],
        run=ol.Run(document["run"]["runId"], facets(document["run"])),
        job=ol.Job(document["job"]["namespace"], document["job"]["name"], facets(document["job"])),
        inputs=[
            ol.InputDataset(d["namespace"], d["name"], facets=facets(d)) for d in document["inputs"]
        ],
        outputs=[
            ol.OutputDataset(d["namespace"], d["name"], facets(d, "outputFacets"), facets=facets(d))
            for d in document["outputs"]
        ],
    )


def drop_one_of_each(project: Project) -> None:
    project.drop("good.csv", "id,name\n1,Ada\n2,Grace\n")
    project.drop("bad.csv", "id,name\n1,Ada\n2,Grace,3\n")


def check_events(project: Project, events: list[dict[str, Any]]) -> None:
    """One START and one end for each of the two attempts, with everything a catalog wants."""
    models = [model(event) for event in events]
    by_path: dict[str, list[ol.RunEvent]] = {}
    for event in models:
        assert (event.job.namespace, event.job.name) == ("shop", "csv_table")
        (source,) = event.inputs
        assert source.namespace == "file"
        by_path.setdefault(source.name, []).append(event)
    begun, failed = by_path[str(project.inbox / "bad.csv")]
    assert (begun.eventType, failed.eventType) == (ol.RunState.START, ol.RunState.FAIL)
    assert "Expected 2 columns, got 3" in failed.run.facets["errorMessage"].message
    assert "Traceback" in failed.run.facets["errorMessage"].stackTrace
    begun, complete = by_path[str(project.inbox / "good.csv")]
    assert (begun.eventType, complete.eventType) == (ol.RunState.START, ol.RunState.COMPLETE)
    assert begun.run.runId == complete.run.runId != failed.run.runId
    (row,) = project.query(
        "select plugin_hash, content_hash from processing_job j "
        "join file_version v on v.id = j.file_version_id where j.status = 'COMPLETED'"
    )
    for event in (begun, complete):
        assert event.job.facets["sourceCodeLocation"].version == row[0]
        assert event.inputs[0].facets["version"].datasetVersion == row[1]
    (output,) = complete.outputs
    assert (output.namespace, output.name) == ("file", str(project.directory / "output/output"))
    assert [(f["name"], f["type"]) for f in output.facets["schema"].fields] == [
        ("id", "int64"),
        ("name", "string"),
    ]
    assert output.outputFacets["outputStatistics"].rowCount == 2


def test_events_in_a_file(project: Project) -> None:
    more = '[openlineage]\ntransport = "file"\npath = "events.jsonl"\nnamespace = "shop"\n'
    project.csv_to("parquet://./output", more)
    drop_one_of_each(project)
    assert project.drain() == 1
    lines = (project.directory / "events.jsonl").read_text().splitlines()
    assert len(lines) == 4
    check_events(project, [json.loads(line) for line in lines])


@contextmanager
def collector(statuses: list[int]) -> Iterator[tuple[str, list[tuple[str, str, dict[str, Any]]]]]:
    """A collector on loopback, answering with these statuses and then 201; what it accepted."""
    accepted: list[tuple[str, str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = statuses.pop(0) if statuses else 201
            if status == 201:
                accepted.append((self.path, self.headers["Authorization"], body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", accepted
        server.shutdown()
        thread.join()


def test_events_over_http_with_a_collector_that_is_away_at_first(project: Project) -> None:
    with collector([503]) as (address, accepted):
        more = f"""
[openlineage]
transport = "http"
url = "{address}"
api_key = "${{LINEAGE_KEY}}"
namespace = "shop"
"""
        project.csv_to("parquet://./output", more)
        drop_one_of_each(project)
        assert project.drain("--log-json", LINEAGE_KEY="very secret") == 1
    assert len(accepted) == 4
    assert {(path, key) for path, key, _ in accepted} == {("/api/v1/lineage", "Bearer very secret")}
    check_events(project, [body for _, _, body in accepted])
    assert "HTTP 503" in project.log()
    assert "very secret" not in project.log()


def test_a_dead_collector_loses_no_job(project: Project) -> None:
    """Nobody listens there: everything is published, and the log says what was not sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as gone:
        port = gone.server_address[1]
    more = f'[openlineage]\ntransport = "http"\nurl = "http://127.0.0.1:{port}"\nmost_waiting = 5\n'
    project.csv_to("parquet://./output", more)
    for number in range(20):
        project.drop(f"{number}.csv", "a\n1\n")
    assert project.drain("--log-json") == 0
    assert project.statuses() == {"COMPLETED": 20}
    lost = [d for d in documents(project.log()) if d["event"] == "lineage events dropped"]
    assert lost[-1]["dropped"] == 40


def test_a_missing_extra_names_the_command(project: Project) -> None:
    """The package is hidden from an engine of its own process."""
    hidden = project.directory / "hidden" / "openlineage"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("")
    project.csv_to("parquet://./output", '[openlineage]\ntransport = "console"\n')
    assert project.drain("--log-json", PYTHONPATH=str(hidden.parent)) == 2
    assert 'pip install "casparian-flow[openlineage]"' in project.log()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"transport": "file"}, "needs path"),
        ({"transport": "http"}, "needs url"),
        ({"transport": "http", "url": "here:5000"}, "needs url"),
        ({"transport": "pigeon"}, "pigeon"),
    ],
)
def test_a_transport_without_its_place(
    section: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Settings.of({"openlineage": section}, tmp_path)
