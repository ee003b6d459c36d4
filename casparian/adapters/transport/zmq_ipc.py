"""ZMQ over a Unix socket, the default: only the user who runs the engine can reach it."""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

import structlog

from casparian.adapters.transport._doorkeeper import Asking
from casparian.adapters.transport._endpoint_lock import EndpointLock
from casparian.adapters.transport._zmq import ZmqTransport
from casparian.adapters.transport.ipc_connection import SCHEME, address_of, path_of
from casparian.domain.errors import ConfigurationError
from casparian.domain.wire import DEFAULT_LIMITS, Limits

log = structlog.get_logger("casparian.transport")


class ZmqIpcTransport(ZmqTransport):
    """`endpoint` is a path, relative to the current directory, with or without `ipc://`."""

    def __init__(self, endpoint: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self._path = path_of(endpoint)
        self._bound = False
        self._lock = EndpointLock(self._path)
        super().__init__(_admit, limits)

    def bind(self) -> str:
        _make_private_directory(os.path.dirname(self._path))
        self._lock.take()
        _remove_stale_socket(self._path)
        self._listen(socket.AF_UNIX, os.fsencode(self._path), self._path)
        # A default ACL of the directory can only have taken more away.
        os.chmod(self._path, 0o600)
        self._bound = True
        return SCHEME + self._path

    def _name_of(self, bound: Any) -> bytes:
        return address_of(self._path)

    def close(self) -> None:
        # ZMQ leaves the file. It goes first: later, it might be another engine's.
        for end in (self._remove_socket, self._lock.release):
            try:
                end()
            except OSError as error:
                # What is left here and belongs to nobody is removed by whoever binds there next.
                log.warning("a file was left behind", socket=self._path, error=str(error))
        super().close()

    def _remove_socket(self) -> None:
        if self._bound:
            self._bound = False
            _unlink_if_there(self._path)


def _admit(asking: Asking) -> str:
    """The modes of socket and directory keep others out; this holds where somebody changed them.
    Root is let in: it could take the engine's place."""
    if asking.uid in (os.geteuid(), 0):
        return ""
    return f"it runs as user {asking.uid}, and this engine as {os.geteuid()}"


def _make_private_directory(directory: str) -> None:
    """One that is there already keeps its mode: it may hold more than the socket. But who can put
    a socket of his own in the place of this one would be taken for the engine by its sidecars."""
    if os.path.isdir(directory):
        about = os.stat(directory)
        others = about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if about.st_uid not in (os.geteuid(), 0) or (others and not about.st_mode & stat.S_ISVTX):
            raise ConfigurationError(
                f"[transport] endpoint: others may write the directory {directory!r} of the "
                f"socket (user {about.st_uid}, mode {stat.S_IMODE(about.st_mode):04o}), and so "
                "take the socket's place. Give it to the engine's user, with mode 0700, or choose "
                "another one"
            )
        return
    try:
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        os.mkdir(directory, 0o700)
    except OSError as error:
        if os.path.isdir(directory):
            return  # Another engine, which starts now too, was quicker.
        raise ConfigurationError(
            f"[transport] endpoint: cannot make the directory {directory!r} of the socket: "
            f"{error.strerror}"
        ) from error


def _remove_stale_socket(path: str) -> None:
    """ZMQ would unlink whatever is there: a running engine's socket, or a file of the user's."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(
            f"[transport] endpoint: {path!r} exists and is no socket: choose another path"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fsencode(path))
        except (ConnectionRefusedError, FileNotFoundError):
            # Nobody listens: the process that bound it is dead.
            _unlink_if_there(path)
            return
        except OSError:
            # Whoever cannot be asked may be alive.
            pass
    raise ConfigurationError(
        f"[transport] endpoint: another process listens at {path!r}: "
        "give each engine a path of its own, for instance with {pid} in it"
    )


def _unlink_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
