"""The parts of a sink's URI. Nothing is percent-decoded: what stands there is the path."""

from __future__ import annotations

import os

from casparian.domain.errors import ConfigurationError
from casparian.domain.plugins import REJECTS_TOPIC, check_topic_name


def after_scheme(uri: str, scheme: str, form: str) -> str:
    """What follows `scheme://`; `form` shows in the error how such a URI looks."""
    prefix = f"{scheme}://"
    rest = uri.removeprefix(prefix)
    if rest == uri or not rest:
        raise ConfigurationError(f"{uri!r} is not a sink of the form {form}.")
    if "\0" in rest:
        raise ConfigurationError(f"{uri!r} contains a NUL character, which no path can hold.")
    return rest


def absolute(path: str, base: str) -> str:
    """The path below `base`, normalised, without looking at the file system."""
    return os.path.normpath(os.path.join(os.path.abspath(base), path))


def topic_target_name(plugin: str, topic: str) -> str:
    """The directory or table of a topic; that of rejected rows is named after the plugin."""
    if topic == REJECTS_TOPIC:
        return f"{plugin}_rejects"
    problem = check_topic_name(topic)
    if problem is not None:
        raise ConfigurationError(
            f"The topic {topic!r} of plugin {plugin!r} {problem}. A topic becomes the name of a "
            "directory or table: use letters, digits, '-' and '_'."
        )
    return topic
