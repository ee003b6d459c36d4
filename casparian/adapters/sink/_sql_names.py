"""What SQL sinks name: `SCHEME://SCHEMA.TABLE`, and the columns of a table.

Names are taken as they stand and quoted wherever they are used: letters keep their case.
"""

from __future__ import annotations

from collections.abc import Iterable

from casparian.adapters.sink._uri import topic_target_name
from casparian.domain.errors import ConfigurationError
from casparian.domain.lineage import PREFIX
from casparian.domain.plugins import REJECTS_TOPIC
from casparian.domain.publish import Target


def table_target(uri: str, scheme: str, plugin: str, topic: str, most: int) -> Target:
    """The target of a topic; `{topic}` in the table is its name. `most`: how many bytes of a
    name the database keeps. Raises ConfigurationError."""
    form = f"{scheme}://SCHEMA.TABLE"
    rest = uri.removeprefix(f"{scheme}://")
    if rest == uri or "/" in rest or "@" in rest:
        # Whoever writes a server's address there may have written a password.
        raise ConfigurationError(
            f"A sink of {scheme} is not a sink of the form {form}: the server's address belongs "
            f"into [sinks.{scheme}] url, and the sink's URI names schema and table only."
        )
    schema, _, table = rest.partition(".")
    if not schema or not table or "." in table or "\0" in rest:
        raise ConfigurationError(
            f"{uri!r} is not a sink of the form {form}: it needs the name of a schema, one dot, "
            f"and the name of a table."
        )
    name = topic_target_name(plugin, topic)
    if topic != REJECTS_TOPIC:
        name = table.replace("{topic}", name)
    if name.lower().startswith("_casparian"):
        raise ConfigurationError(
            f"{uri!r} names the table {name!r}, but Casparian keeps names that start with "
            "'_casparian' to itself. Choose another."
        )
    for part in (schema, name):
        if len(part.encode("utf-8", "surrogateescape")) > most:
            raise ConfigurationError(
                f"{uri!r} needs the name {part!r}, but names in {scheme} have at most {most} "
                "bytes. Choose a shorter one."
            )
    return Target(scheme, schema, name)


def quote(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def is_lineage(column: str) -> bool:
    return column.startswith(PREFIX)


def quoted(names: Iterable[str]) -> str:
    return ", ".join(map(quote, names))
