"""Runs a plugin against a session: jobs in, Arrow batches out, never more than the credit.

Two threads. The wire thread owns the connection and sends heartbeats, also while the plugin
computes; the plugin's thread waits for jobs and for credit. The same code serves a sidecar
process and an in-process host.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from casparian.domain.errors import ErrorClass
from casparian.domain.message_codec import decode_from_router, encode
from casparian.domain.messages import Alive, Execute, FromSidecar, Register
from casparian.domain.peers import Buffer, Connection, PeerBusy
from casparian.domain.plugins import REJECTS_TOPIC
from casparian.domain.session import Session
from casparian.domain.wire import DEFAULT_LIMITS, Flag, credit_for
from casparian.sdk.context import Context
from casparian.sdk.convert import has_dictionaries, record_batches, split
from casparian.sdk.failures import class_of, failure_text, one_line, plugin_traceback
from casparian.sdk.gather import SMALL_BYTES, Gatherer
from casparian.sdk.plugin import CaspPlugin
from casparian.sdk.rejects import Rejects, reject_row, topic_problem

BATCH_BYTES = 8 << 20
# Smaller data waits for more of it, or for the job's end, before the wire thread is woken.
WORTH_WAKING_BYTES = 64 * 1024


class JobAbandoned(BaseException):
    """The engine gave this job up. Not an Exception, so that no plugin swallows it."""


class SessionEnded(BaseException):
    """The engine ended the session."""


class Runtime:
    """One session of one plugin. `run` returns when the engine ends it.

    `before_job` is called with each job's id before it runs (a sidecar notes it, and sets its
    CPU limit); `sandbox` is what stands around this process, and `hint` what an error has to do
    with it.
    """

    def __init__(
        self,
        connection: Connection,
        secret: str,
        heartbeat_s: float = 1.0,
        before_job: Callable[[int], None] = lambda job_id: None,
        sandbox: str = "",
        hint: Callable[[BaseException], str] = lambda error: "",
    ) -> None:
        self.session = Session(secret)
        self._connection = connection
        self._heartbeat_s = heartbeat_s
        self._before_job = before_job
        self._sandbox = sandbox
        self._hint = hint
        self._changed = threading.Condition()
        self._outbox: deque[tuple[bytes, Buffer]] = deque()
        self._unsaid = 0
        self._closing = False
        self._broken: BaseException | None = None
        self._schemas: dict[str, pa.Schema] = {}
        self._rejects = Rejects(self._send_rejects)
        self._gathered = Gatherer(self._send_gathered)
        self._wire = threading.Thread(target=self._serve_wire, name="casparian-wire", daemon=True)

    # --- the plugin's thread --------------------------------------------------------------

    def run(
        self,
        plugin: str,
        plugin_hash: str,
        pid: int,
        load: Callable[[], CaspPlugin],
        settings: Mapping[str, Any],
    ) -> None:
        """Load the plugin, register, and work until told to stop."""
        self._wire.start()
        try:
            failure = ""
            try:
                handler = load()
                handler.configure(Context(self, plugin), dict(settings))
            except BaseException as error:
                failure = " ".join([failure_text(plugin, error), self._hint(error)]).rstrip()
            secret, level = self.session.secret, self._sandbox
            self._send(Register(secret, plugin, plugin_hash, pid, failure, level))
            if not failure:
                while (job := self._next_job()) is not None:
                    self._execute(handler, job)
        except SessionEnded:
            pass
        finally:
            with self._changed:
                self._closing = True
            self._connection.wake()
            self._wire.join()
        if self._broken is not None:
            raise self._broken

    def _next_job(self) -> Execute | None:
        with self._changed:
            while not self.session.jobs:
                if self.session.stopping:
                    return None
                self._check_wire()
                self._changed.wait()
            job = self.session.begin()
        self._schemas = {}
        self._rejects = Rejects(self._send_rejects)
        self._gathered = Gatherer(self._send_gathered)
        return job

    def _execute(self, handler: CaspPlugin, job: Execute) -> None:
        self._before_job(job.job_id)
        try:
            handler.execute(job.input_path)
            self._rejects.flush()
            self._gathered.flush_all()
        except JobAbandoned:
            self._end(ErrorClass.DATA, "the engine gave the job up", "")
        except SessionEnded:
            raise
        except MemoryError as error:
            self._end(ErrorClass.OOM, one_line(error), plugin_traceback(error))
        except BaseException as error:
            # Also what is no Exception, sys.exit() say: it ends the file, and not the sidecar.
            hint = self._hint(error)
            text = f"{one_line(error)}. {hint}" if hint else one_line(error)
            self._end(class_of(error, hint), text, plugin_traceback(error))
        else:
            with self._changed:
                message = self.session.done()
            self._send(message)

    def _end(self, error_class: ErrorClass, message: str, detail: str) -> None:
        with self._changed:
            failed = self.session.failed(error_class, message, detail)
        self._send(failed)

    def publish(self, topic: str, data: Any) -> int:
        """Stream data to a topic; returns the number of rows."""
        problem = topic_problem(topic)
        if problem is not None:
            raise ValueError(problem)
        self._check_executing("publish")
        rows = 0
        for schema, batch in record_batches(data):
            rows += self._send_rows(topic, schema, batch)
            self._rejects.flush_old()
        self._gathered.flush_old()
        return rows

    def reject(
        self,
        raw: bytes | str,
        reason: str,
        line: int | None,
        offset: int | None,
        topic: str | None,
    ) -> None:
        """Put a row aside; it is sent with others, at the latest when the job ends."""
        self._check_executing("reject")
        self._rejects.add(reject_row(raw, reason, line, offset, topic))

    def _send_rejects(self, batch: pa.RecordBatch) -> None:
        self._send_rows(REJECTS_TOPIC, batch.schema, batch)

    def _check_executing(self, what: str) -> None:
        if threading.current_thread() is self._wire or self.session.current is None:
            raise RuntimeError(f"{what}() works only inside execute()")

    def _send_rows(self, topic: str, schema: pa.Schema, batch: pa.RecordBatch | None) -> int:
        """Send a batch, with its schema where that is news; returns the number of rows."""
        whole_stream = has_dictionaries(schema)
        known = self._schemas.get(topic)
        if known is None or not known.equals(schema, check_metadata=True):
            self._gathered.flush(topic)
            self._schemas[topic] = schema
            if not whole_stream and batch is not None and self._is_small(batch):
                whole = b"".join((schema.serialize(), batch.serialize()))
                self._send_data(topic, Flag.STREAM, batch.num_rows, whole)
                return int(batch.num_rows)
            if not whole_stream or batch is None:
                self._send_data(topic, Flag.SCHEMA, 0, schema.serialize())
        if batch is None:
            return 0
        for part in split(batch, min(BATCH_BYTES, max(1, self._window() // 2))):
            if whole_stream:
                self._send_stream(topic, part)
            else:
                self._send_part(topic, part)
        return int(batch.num_rows)

    def _is_small(self, batch: pa.RecordBatch) -> bool:
        return bool(batch.get_total_buffer_size() < min(WORTH_WAKING_BYTES, self._window() // 2))

    def _send_stream(self, topic: str, batch: pa.RecordBatch) -> None:
        out = pa.BufferOutputStream()
        with pa.ipc.new_stream(out, batch.schema) as writer:
            writer.write_batch(batch)
        self._send_data(topic, Flag.STREAM, batch.num_rows, out.getvalue())

    def _send_part(self, topic: str, batch: pa.RecordBatch) -> None:
        data = batch.serialize()
        if data.size < SMALL_BYTES and topic != REJECTS_TOPIC:
            self._gathered.add(topic, batch.num_rows, data)
        else:
            self._gathered.flush(topic)
            self._send_data(topic, Flag(0), batch.num_rows, data)

    def _send_gathered(self, topic: str, rows: int, batches: list[pa.Buffer]) -> None:
        if len(batches) == 1:
            self._send_data(topic, Flag(0), rows, batches[0])
        else:
            stream = b"".join([self._schemas[topic].serialize(), *batches])
            self._send_data(topic, Flag.STREAM, rows, stream)

    def _send_data(self, topic: str, flags: Flag, rows: int, data: pa.Buffer | bytes) -> None:
        payload = memoryview(data)
        size = payload.nbytes
        used = credit_for(size)
        most = min(self._window() - credit_for(0), DEFAULT_LIMITS.message)
        if size > most:
            raise ValueError(
                f"one row of topic {topic!r} takes {size} bytes; at most {most} can be sent"
            )
        with self._changed:
            while self.session.credit < used:
                self._check_wire()
                self._connection.wake()
                self._changed.wait()
            self._check_wire()
            message = self.session.data(topic, flags, rows, size)
            self._outbox.append((encode(message), payload))
            self._unsaid += size
            if self._unsaid < WORTH_WAKING_BYTES:
                return
            self._unsaid = 0
        self._connection.wake()

    def _window(self) -> int:
        with self._changed:
            while not self.session.window:
                self._check_wire()
                self._changed.wait()
            return self.session.window

    def _check_wire(self) -> None:
        if self._broken is not None:
            raise SessionEnded from self._broken
        if self.session.abandoned:
            raise JobAbandoned

    def _send(self, message: FromSidecar) -> None:
        with self._changed:
            self._outbox.append((encode(message), b""))
            self._unsaid = 0
        self._connection.wake()

    # --- the wire's thread ----------------------------------------------------------------

    def _serve_wire(self) -> None:
        try:
            beat_at = 0.0
            while True:
                with self._changed:
                    if self._closing and not self._outbox:
                        return
                now = time.monotonic()
                if now >= beat_at:
                    self._beat()
                    beat_at = now + self._heartbeat_s
                busy = self._flush()
                self._connection.poll(0.005 if busy else beat_at - now)
                self._receive()
        except BaseException as error:
            # Whatever it was: the plugin's thread must not wait for ever.
            with self._changed:
                self._broken = error
                self._changed.notify_all()

    def _beat(self) -> None:
        job = self.session.current
        alive = Alive(self.session.secret, job.job_id if job is not None else 0)
        with self._changed:
            if not self._outbox:
                self._outbox.append((encode(alive), b""))

    def _flush(self) -> bool:
        """Send what is queued; True when the peer could not take all of it."""
        while True:
            with self._changed:
                if not self._outbox:
                    return False
                head, payload = self._outbox[0]
            try:
                self._connection.send(head, payload)
            except PeerBusy:
                return True
            with self._changed:
                self._outbox.popleft()

    def _receive(self) -> None:
        messages = self._connection.receive()
        if not messages:
            return
        with self._changed:
            for head, payload in messages:
                self.session.handle(decode_from_router(head, len(payload)))
            self._changed.notify_all()
