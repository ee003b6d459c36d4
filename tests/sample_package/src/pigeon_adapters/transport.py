"""A transport named `pigeon`: `pigeon://PATH`, which is a ZMQ socket of that path underneath."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from casparian import Settings
from casparian.adapters.transport import ipc_connection, zmq_ipc
from casparian.domain.ports import Connection
from casparian.domain.wire import DEFAULT_LIMITS, Limits

SCHEME = "pigeon://"


class TransportSettings(BaseModel):
    """How pigeons fly."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    height_m: int = Field(default=50, ge=1)
    """Above the ground."""


class PigeonTransport:
    """Port `Transport`; `connect` is the sidecar's side."""

    settings_model: ClassVar[type[BaseModel]] = TransportSettings

    def __init__(
        self,
        settings: Settings,
        own_settings: TransportSettings | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.height_m = (own_settings or TransportSettings()).height_m
        endpoint = settings.transport.endpoint or "pigeon.sock"
        self._inner = zmq_ipc.ZmqIpcTransport(str(settings.path(endpoint)), limits)

    def bind(self) -> str:
        return SCHEME + self._inner.bind().removeprefix("ipc://")

    @staticmethod
    def connect(endpoint: str) -> Connection:
        connection: Connection = ipc_connection.connect(endpoint.removeprefix(SCHEME))
        return connection

    def __getattr__(self, name: str) -> Any:
        call: Callable[..., Any] = getattr(self._inner, name)
        return call
