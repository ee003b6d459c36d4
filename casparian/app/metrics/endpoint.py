"""The HTTP endpoint: /metrics, /health and /ready, on loopback unless told otherwise."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from casparian.app.metrics.health import Health
from casparian.app.metrics.series import Metrics
from casparian.domain.errors import ConfigurationError

REQUEST_S = 10
MOST_REQUESTS = 32

log = structlog.get_logger("casparian.metrics")


class Endpoint:
    """The metrics and the health of one engine, and the server that tells them."""

    def __init__(self, host: str, port: int) -> None:
        self.metrics = Metrics()
        self.health = Health()
        self.url = ""
        self._host, self._port = host, port
        self._server: _Server | None = None

    def listen(self) -> None:
        """Answer from now on. Raises ConfigurationError for an address that cannot be had."""
        host = self._host
        told = {"registry": self.metrics.registry, "health": self.health}
        kind = _SixServer if ":" in host else _Server
        shown = f"[{host}]" if ":" in host else host
        try:
            server = kind((host, self._port), type("Handler", (_Handler,), told))
        except OSError as error:
            raise ConfigurationError(
                f"metrics.listen: {shown}:{self._port} cannot be listened on: "
                f"{error.strerror or error}. Give each engine an address of its own, or stop "
                "what holds this one."
            ) from error
        self.url = f"http://{shown}:{server.server_address[1]}"
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, name="casparian-metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None


class _Server(ThreadingHTTPServer):
    address_family = AF_INET
    daemon_threads = True
    # A second engine on this port is told so, and does not share it.
    allow_reuse_port = False

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(MOST_REQUESTS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """One thread for each, and so many at most: who connects and says nothing is no scrape."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who goes away before the answer is no news either."""
        if not isinstance(sys.exception(), OSError):
            log.exception("a scrape failed")


class _SixServer(_Server):
    address_family = AF_INET6


class _Handler(BaseHTTPRequestHandler):
    registry: CollectorRegistry
    health: Health
    timeout = REQUEST_S
    server_version = "casparian"
    sys_version = ""

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, content_type, encode(self.registry))
            case "/health":
                self._say(*self.health.health())
            case "/ready":
                self._say(*self.health.ready())
            case _:
                text = b"There are /metrics, /health and /ready.\n"
                self._answer(404, "text/plain; charset=utf-8", text)

    do_HEAD = do_GET

    def _say(self, ok: bool, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode() + b"\n"
        self._answer(200 if ok else 503, "application/json", body)

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """A scrape is no news."""
