"""A sender of DEPLOY that can do what `casparian deploy` never would."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from casparian.adapters.keys import KeyDirectory
from casparian.adapters.queue import QueueStores
from casparian.adapters.transport import connection_for
from casparian.domain.deployments import Signed
from casparian.domain.message_codec import decode_from_router, encode
from casparian.domain.messages import Deploy, Deployed, DeployRefused, FromRouter
from casparian.domain.signing import SigningKey, sign

Answer = Deployed | DeployRefused


@dataclass
class Sender:
    """Deploys to one engine. Everything that is signed may be given."""

    endpoint: str
    stores: QueueStores
    keys: KeyDirectory
    plugin: str = "csv_table"

    def signed(
        self,
        code: bytes,
        version: int = 0,
        key: SigningKey | None = None,
        now: float = 0.0,
        audience: str = "",
    ) -> Signed:
        return sign(
            key or self.keys.signing("office"),
            self.plugin,
            version or self.stores.store.newest_version(self.plugin) + 1,
            code,
            audience or self.stores.ledger.installation,
            int(now or time.time()),
            secrets.token_bytes(16),
        )

    def send(self, signed: Signed, code: bytes, **metadata: Any) -> Answer:
        told = {
            "key_id": signed.key_id,
            "body": base64.b64encode(signed.body).decode(),
            "signature": base64.b64encode(signed.signature).decode(),
            **metadata,
        }
        return self.say({name: value for name, value in told.items() if value is not None}, code)

    def say(self, metadata: dict[str, Any], code: bytes) -> Answer:
        with closing(connection_for(self.endpoint)) as connection:
            connection.send(encode(Deploy(metadata)), code)
            while True:
                assert connection.poll(60), "no answer"
                for head, payload in connection.receive():
                    answer: FromRouter = decode_from_router(head, len(payload))
                    assert isinstance(answer, Deployed | DeployRefused)
                    return answer

    def deploy(self, code: bytes, **given: Any) -> Answer:
        return self.send(self.signed(code, **given), code)

    def rewritten(self, code: bytes, write: Callable[[dict[str, Any]], bytes]) -> Answer:
        """With the body written another way, and the signature of the first."""
        signed = self.signed(code)
        return self.send(replace(signed, body=write(json.loads(signed.body))), code)
