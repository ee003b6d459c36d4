"""The sender of a deployment: finds an engine that lives, sends DEPLOY, hears the verdict, or finds
on record what came of it where the engine died before it could say so."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing

from casparian.adapters.transport import connection_for
from casparian.domain.deployments import (
    LARGEST_PLUGIN_BYTES,
    DeployCheck,
    Deployment,
    DeployRefusedError,
    Signed,
    Verdict,
    not_loaded,
)
from casparian.domain.documents.status import WorkerDocument
from casparian.domain.errors import CasparianError, ConfigurationError, UnavailableError
from casparian.domain.message_codec import decode_from_router, encode
from casparian.domain.messages import Deploy, Deployed, DeployRefused
from casparian.domain.peers import Connection, PeerGone
from casparian.domain.ports import PluginStore
from casparian.domain.wire import RemoteProtocolError

CONFIRMED_BY = "`casparian deployments` says whether the version is installed."
VERDICT_S = 180.0
TRY_AGAIN = (DeployCheck.BUSY, DeployCheck.STOPPING, DeployCheck.DATABASE)


def reachable(workers: Sequence[WorkerDocument], host_key: str) -> list[WorkerDocument]:
    """Engines that run sidecars and can be reached from this host, the last heard of first.

    Raises UnavailableError, which says what to do, where there is none.
    """
    able = [w for w in workers if w["alive"] and w["endpoint"]]
    if not able:
        raise UnavailableError(
            "No engine is running that could take a deployment: start `casparian-engine run` with "
            "this configuration, and deploy again."
        )
    near = [w for w in able if w["host_key"] == host_key or w["endpoint"].startswith("tcp://")]
    if not near:
        hosts = ", ".join(sorted({w["hostname"] for w in able}))
        raise UnavailableError(
            f"The engines that run ({hosts}) listen on sockets of their own hosts: deploy from "
            'there, or give one [transport] adapter = "zmq-tcp".'
        )
    return sorted(near, key=lambda w: w["heartbeat_at"], reverse=True)


def deploy_to(
    engines: Sequence[WorkerDocument],
    store: PluginStore,
    plugin: str,
    sign: Callable[[], Signed],
    code: bytes,
    access: Mapping[str, str] | None = None,
) -> tuple[Deployed, str]:
    """What is live now, and the engine that it was sent to: the first that gives a verdict, or one
    that ended before it could, and has installed it.

    Raises as `send` does.
    """
    sent: dict[bytes, str] = {}
    failure: CasparianError | None = None
    for engine in engines:
        # Signed for each anew, since the one before may have used it.
        signed = sign()
        sent[signed.body] = engine["id"]
        try:
            return send(engine, signed, code, access), engine["id"]
        except UnavailableError as error:
            failure = error
        except DeployRefusedError as error:
            if error.check is not DeployCheck.VERSION:
                raise
            failure = error
        for one in store.deployments(plugin):
            if one.signed is not None and one.signed.body in sent:
                return _recorded(one), sent[one.signed.body]
        if isinstance(failure, DeployRefusedError):
            break
    assert failure is not None
    raise failure


def _recorded(deployment: Deployment) -> Deployed:
    """The verdict that was not heard. Raises DeployRefusedError, as the engine would have said."""
    if deployment.verdict is Verdict.FAILED:
        raise not_loaded(deployment)
    return Deployed(deployment.plugin, deployment.version, deployment.content_hash)


def send(
    worker: WorkerDocument, signed: Signed, code: bytes, access: Mapping[str, str] | None = None
) -> Deployed:
    """What is live now. `access` is what the engine's transport asks for.

    Raises DeployRefusedError; UnavailableError where the engine does not answer, or ends before
    it does.
    """
    if len(code) > LARGEST_PLUGIN_BYTES:
        raise ConfigurationError(
            f"The file has {len(code)} bytes; a plugin may have {LARGEST_PLUGIN_BYTES}."
        )
    message = Deploy(
        {
            "key_id": signed.key_id,
            "body": base64.b64encode(signed.body).decode(),
            "signature": base64.b64encode(signed.signature).decode(),
        }
    )
    with closing(connection_for(worker["endpoint"], access)) as connection:
        try:
            connection.send(encode(message), code)
            for answer in _answers(connection):
                if isinstance(answer, Deployed):
                    return answer
                if isinstance(answer, DeployRefused):
                    raise _refusal(answer)
        except PeerGone as error:
            raise UnavailableError(
                f"The engine {worker['id']} ended before its verdict came: {CONFIRMED_BY}"
            ) from error
    raise UnavailableError(
        f"The engine {worker['id']} gave no verdict within {VERDICT_S:g} s: {CONFIRMED_BY}"
    )


def _answers(connection: Connection) -> Iterator[object]:
    end = time.monotonic() + VERDICT_S
    while (left := end - time.monotonic()) > 0:
        connection.poll(left)
        for head, payload in connection.receive():
            try:
                yield decode_from_router(head, len(payload))
            except RemoteProtocolError as error:
                raise CasparianError(f"The engine's answer cannot be read: {error}") from error


def _refusal(answer: DeployRefused) -> CasparianError:
    try:
        check = DeployCheck(answer.check)
    except ValueError:
        return CasparianError(f"Refused by the check {answer.check!r}: {answer.message}")
    if check in TRY_AGAIN:
        return UnavailableError(answer.message)
    return DeployRefusedError(check, answer.message)
