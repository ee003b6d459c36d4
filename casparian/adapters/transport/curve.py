"""Key pairs of CURVE in files, in ZMQ's own format: NAME.key is public, NAME.key_secret is not.

Nothing here says a key: an error names the file and what is wrong with it.
"""

from __future__ import annotations

import math
import os
import re
import stat
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import zmq

from casparian.domain.errors import ConfigurationError

PUBLIC, SECRET = ".key", ".key_secret"
OTHERS = stat.S_IRWXG | stat.S_IRWXO
# A key file has some hundred bytes.
MOST_BYTES = 10_000
LOOK_S = 1.0
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
# Forty digits of Z85.
_VALUE = re.compile(
    r'^\s*(public|secret)-key\s*=\s*"([0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40})"\s*$', re.MULTILINE
)
_HEAD = "# A key of Casparian Flow's transport, {kind}, in ZMQ's format.\nmetadata\ncurve\n"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both halves in Z85, as ZMQ takes them."""

    public: bytes
    secret: bytes = field(repr=False)

    def access(self, server: bytes) -> dict[str, str]:
        """What a connection is given to reach the engine with this public key."""
        halves = {"server": server, "public": self.public, "secret": self.secret}
        return {name: half.decode("ascii") for name, half in halves.items()}


def new_key_pair(directory: str, name: str) -> tuple[str, str]:
    """Make a pair; returns the paths of its public and of its secret file.

    Raises ConfigurationError for a name that is none, or that is taken.
    """
    if not _NAME.fullmatch(name) or name.endswith((PUBLIC, SECRET)):
        raise ConfigurationError(
            f"{name!r} cannot be the name of a key: up to 100 letters, digits and . _ - make one, "
            "and it begins with none of . and -"
        )
    make_private_directory(directory)
    base = os.path.join(directory, name)
    public, secret = zmq.curve_keypair()
    public_line = f'    public-key = "{public.decode()}"\n'
    secret_line = f'    secret-key = "{secret.decode()}"\n'
    # The secret one first: where it is taken, nothing was written.
    _write_new(base + SECRET, _HEAD.format(kind="secret") + public_line + secret_line)
    try:
        _write_new(base + PUBLIC, _HEAD.format(kind="public") + public_line)
    except ConfigurationError:
        os.unlink(base + SECRET)
        raise
    return base + PUBLIC, base + SECRET


def make_private_directory(directory: str) -> None:
    """Of mode 0700, as are those above it that are not there. Raises ConfigurationError for one
    that others may use."""
    try:
        _make_directories(directory)
        mode = stat.S_IMODE(os.stat(directory).st_mode)
    except OSError as error:
        raise ConfigurationError(
            f"the directory {directory!r} for keys cannot be made: {error.strerror}"
        ) from error
    if mode & OTHERS:
        raise ConfigurationError(
            f"the directory {directory!r} of keys has mode {mode:04o}, so that others may use it: "
            f"chmod 700 {directory}"
        )


def read_pair(path: str) -> KeyPair:
    """Both halves from a secret file, which nobody else may read. Raises ConfigurationError."""
    text, mode = _read(path)
    if mode & OTHERS:
        raise ConfigurationError(
            f"the secret key {path!r} has mode {mode:04o}, so that others may read it: "
            f"chmod 600 {path}; and make a new one, if somebody may have"
        )
    halves = _halves(text, path)
    if "secret" not in halves:
        raise ConfigurationError(
            f"{path!r} holds no secret key; the file called NAME{SECRET} does, which "
            "`casparian keys curve NAME` makes"
        )
    try:
        public = zmq.curve_public(halves["secret"])
    except zmq.ZMQError:
        public = b""  # Digits that make no number of its size.
    if halves.get("public") != public:
        raise ConfigurationError(f"the two halves in {path!r} are no pair: make a new one")
    return KeyPair(public, halves["secret"])


def read_public(path: str) -> bytes:
    """The public half from a file of either kind. Raises ConfigurationError."""
    halves = _halves(_read(path)[0], path)
    if "public" not in halves:
        raise ConfigurationError(f"{path!r} holds no public key")
    return halves["public"]


class KnownClients:
    """The public keys in a directory, each a file NAME.key.

    Read anew for every client that comes, and once in LOOK_S for those that are there: a file that
    is put there admits, one that is removed cuts off. Without a directory nobody is known. For any
    thread.
    """

    def __init__(self, directory: str = "") -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._known: frozenset[bytes] = frozenset()
        self._looked_at = -math.inf

    def check(self) -> int:
        """How many there are. Raises ConfigurationError for what cannot be read."""
        known, problems = self._read()
        if problems:
            raise ConfigurationError(problems[0])
        return len(known)

    def refusal(self, key: bytes) -> str:
        """Why a client with this key is refused; empty for one that is known."""
        with self._lock:
            problems = self._look()
        if key in self._known:
            return ""
        return "its key is not known" + (f"; and {problems[0]}" if problems else "")

    def still_knows(self, key: bytes) -> bool:
        """Of one that was admitted: whether it would be again."""
        with self._lock:
            if time.monotonic() - self._looked_at >= LOOK_S:
                self._look()
            return key in self._known

    def _look(self) -> list[str]:
        known, problems = self._read()
        self._known, self._looked_at = frozenset(known), time.monotonic()
        return problems

    def _read(self) -> tuple[Mapping[bytes, str], list[str]]:
        known: dict[bytes, str] = {}
        problems: list[str] = []
        if not self._directory:
            return known, problems
        try:
            names = sorted(n for n in os.listdir(self._directory) if n.endswith(PUBLIC))
        except OSError as error:
            return known, [f"the directory {self._directory!r} of keys: {error.strerror}"]
        for name in names:
            try:
                known[read_public(os.path.join(self._directory, name))] = name
            except ConfigurationError as error:
                problems.append(str(error))
        return known, problems


def _make_directories(path: str) -> None:
    if not os.path.isdir(path):
        _make_directories(os.path.dirname(path))
        os.mkdir(path, 0o700)


def _write_new(path: str, text: str) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"the key {path!r} cannot be written: {error.strerror}; a key is never overwritten"
        ) from error
    with os.fdopen(file, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(file)


def _read(path: str) -> tuple[str, int]:
    """A regular file's text, and its mode."""
    try:
        # A FIFO in its place would keep whoever opens it waiting.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(f"the key {path!r} cannot be read: {error.strerror}") from error
    with os.fdopen(file, "rb") as stream:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) or about.st_size > MOST_BYTES:
            raise ConfigurationError(f"{path!r} is no key file")
        text = stream.read(MOST_BYTES).decode("utf-8", "replace")
    return text, stat.S_IMODE(about.st_mode)


def _halves(text: str, path: str) -> dict[str, bytes]:
    halves = {name: value.encode("ascii") for name, value in _VALUE.findall(text)}
    if not halves:
        raise ConfigurationError(f"{path!r} is no key file: `casparian keys curve NAME` makes one")
    return halves
