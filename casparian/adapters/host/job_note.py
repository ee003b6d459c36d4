"""Where a sidecar notes the job it is at: a file in its scratch directory, mapped to memory."""

from __future__ import annotations

import struct

JOB_NOTE = ".casparian-job"
JOB_ID = struct.Struct("!Q")
