"""The three ways to a collector: a file of lines, an HTTP endpoint, standard output."""

from __future__ import annotations

import sys
from typing import Any

import requests
from openlineage.client.serde import Serde
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.transport.http import (
    ApiKeyTokenProvider,
    HttpConfig,
    HttpTransport,
    TokenProvider,
)

from casparian.app.openlineage.emitter import EventTransport, Refused
from casparian.app.settings import Settings


def transport_of(settings: Settings) -> EventTransport:
    """What `[openlineage] transport` names."""
    section = settings.openlineage
    match section.transport:
        case "file":
            return ToFile(str(settings.path(section.path)))
        case "http":
            return ToCollector(section.url, section.endpoint, section.api_key, section.timeout_s)
        case _:
            return ToConsole()


class ToFile:
    """Appends one line of JSON per event."""

    def __init__(self, path: str) -> None:
        self._transport = FileTransport(FileConfig(path, append=True))

    def emit(self, event: Any) -> None:
        try:
            self._transport.emit(event)
        except RuntimeError as error:  # How the library puts a file that cannot be written.
            raise OSError(str(error)) from error


class ToCollector:
    """Posts to a collector. Tries once: when to try again is the emitter's to say."""

    def __init__(self, url: str, endpoint: str, api_key: str, timeout_s: float) -> None:
        auth = ApiKeyTokenProvider({"apiKey": api_key}) if api_key else TokenProvider({})
        self._transport = HttpTransport(
            HttpConfig(url, endpoint, timeout_s, auth=auth, retry={"total": 0})
        )

    def emit(self, event: Any) -> None:
        try:
            self._transport.emit(event)
        except requests.HTTPError as error:
            # The library's own text has the URL in it, and that may hold a password.
            response = error.response
            if response is None:
                raise
            status, text = response.status_code, response.reason
            # 408 and 429 ask for another try; every other 4xx will be the same next time.
            if 400 <= status < 500 and status not in (408, 429):
                raise Refused(f"HTTP {status} {text}") from error
            raise OSError(f"HTTP {status} {text}") from error


class ToConsole:
    """One line of JSON per event on standard output; the log goes elsewhere."""

    def emit(self, event: Any) -> None:
        sys.stdout.write(Serde.to_json(event) + "\n")
        sys.stdout.flush()
