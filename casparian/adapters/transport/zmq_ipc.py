"""ZMQ over a Unix socket, the default: only the user who runs the engine can reach it."""

from __future__ import annotations

import os
import socket
import stat

import structlog

from casparian.adapters.transport._endpoint_lock import EndpointLock
from casparian.adapters.transport._zmq import ZmqConnection, ZmqTransport
from casparian.domain.errors import ConfigurationError
from casparian.domain.wire import DEFAULT_LIMITS, Limits

SCHEME = "ipc://"
# sun_path of Linux holds 108 bytes with the closing zero.
PATH_BYTES = 107

log = structlog.get_logger("casparian.transport")


class ZmqIpcTransport(ZmqTransport):
    """`endpoint` is a path, relative to the current directory, with or without `ipc://`."""

    def __init__(self, endpoint: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self._path = _path_of(endpoint)
        self._bound = False
        self._lock = EndpointLock(self._path)
        super().__init__(limits)

    def bind(self) -> str:
        _make_private_directory(os.path.dirname(self._path))
        self._lock.take()
        _remove_stale_socket(self._path)
        # Nobody may connect between bind and chmod either.
        before = os.umask(0o077)
        try:
            self._bind_to(_address_of(self._path), self._path)
        finally:
            os.umask(before)
        os.chmod(self._path, 0o600)
        self._bound = True
        return SCHEME + self._path

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


def connect(endpoint: str, limits: Limits = DEFAULT_LIMITS) -> ZmqConnection:
    """The sidecar's side of what `bind` returned."""
    return ZmqConnection(endpoint, _address_of(_path_of(endpoint)), limits)


def _path_of(endpoint: str) -> str:
    path = os.path.abspath(endpoint.removeprefix(SCHEME))
    size = len(os.fsencode(path))
    if size > PATH_BYTES:
        raise ConfigurationError(
            f"[transport] endpoint: the socket's path is {size} bytes long, the system allows "
            f"{PATH_BYTES}: {path!r}. Choose a shorter one, below /run or /tmp for instance"
        )
    return path


def _address_of(path: str) -> bytes:
    # As bytes, for paths that are no UTF-8.
    return SCHEME.encode() + os.fsencode(path)


def _make_private_directory(directory: str) -> None:
    """One that is there already keeps its mode: it may hold more than the socket."""
    if os.path.isdir(directory):
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
