"""A sink whose client comes with the package's extra `loft`."""

from __future__ import annotations

import pigeon_loft_client


class LoftSinkFactory:
    scheme = "loft"
    client = pigeon_loft_client
