"""What every transport here keeps to, whatever carries its messages."""

from __future__ import annotations

from casparian.domain.peers import Buffer
from casparian.domain.wire import HEADER, Limits, LocalProtocolError

# Messages that wait for one peer, per direction and side of the wire.
QUEUE_MESSAGES = 128


def check_sizes(head: Buffer, payload: Buffer, limits: Limits) -> None:
    """Refuses here what the other side would end the connection for."""
    head_size, payload_size = memoryview(head).nbytes, memoryview(payload).nbytes
    if head_size > HEADER.size + limits.metadata or payload_size > limits.message:
        raise LocalProtocolError(
            f"a message of {head_size} + {payload_size} bytes is over the limits of "
            f"{HEADER.size + limits.metadata} + {limits.message}: split it before sending"
        )
