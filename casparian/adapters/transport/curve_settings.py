"""The keys of `[transport.settings]` for zmq-tcp."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class TcpSettings(BaseModel):
    """Keys of CURVE, from `casparian keys curve NAME`. With `key` every connection is encrypted,
    and only who has a known key is let in; beyond the loopback nothing else is possible. Sidecars
    get a key by themselves. Paths are relative to the configuration file."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    key: str = ""
    """The engine's secret key, a file NAME.key_secret that only its user may read."""
    clients: str = ""
    """A directory with the public keys, each a file NAME.key, of who may connect besides."""
    client_key: str = ""
    """For commands that connect to an engine elsewhere: the secret key that they show, a file
    NAME.key_secret."""
    server: str = ""
    """For such commands: the engine's public key, a file NAME.key; default: that of `key`."""
