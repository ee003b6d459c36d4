"""Variables `CASPARIAN_SECTION__KEY` over the document of a file.

The library that reads them is imported only where there is one: it knows many other sources of
settings, and to load them all took longer than to read the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from casparian.app.settings_errors import nearest
from casparian.domain.errors import ConfigurationError

NESTED = "__"


def overridden(
    raw: Mapping[str, Any], model: type[BaseModel], prefix: str, name: str
) -> dict[str, Any]:
    """`raw`, and above it what the environment says of the tables of `model`.

    `name` is the file's, for errors. Raises ConfigurationError.
    """
    _check_variables(model, prefix, name)
    if not any(_table(variable, prefix) in model.model_fields for variable in os.environ):
        return dict(raw)
    from pydantic_settings import EnvSettingsSource, SettingsError

    try:
        # It asks for settings, and reads no more of them than any model has.
        settings: Any = model
        variables = EnvSettingsSource(
            settings, case_sensitive=False, env_prefix=prefix, env_nested_delimiter=NESTED
        )
        return _laid_over(raw, variables())
    except SettingsError as error:
        raise ConfigurationError(_explain_variable(error, prefix, name)) from error


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both documents in one; where both have a key, its value is that of `above`."""
    both = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], dict) and isinstance(above[key], dict):
            both[key] = _laid_over(below[key], above[key])
    return both


def _table(variable: str, prefix: str) -> str:
    """The table that a variable is about; empty for one that is not about settings."""
    if not variable.upper().startswith(prefix):
        return ""
    return variable[len(prefix) :].partition(NESTED)[0].lower()


def _check_variables(model: type[BaseModel], prefix: str, name: str) -> None:
    """Refuse a variable for a table that does not exist: it would be passed over silently."""
    known = sorted(model.model_fields)
    for variable in os.environ:
        if not variable.upper().startswith(prefix) or "__" not in variable:
            continue
        section = variable[len(prefix) :].partition("__")[0].lower()
        if section not in known:
            raise ConfigurationError(
                f"{name}: the environment variable {variable} names the table {section!r}, "
                f"which is unknown; known: {', '.join(known)}.{nearest(section, known)}"
            )


def _explain_variable(error: Exception, prefix: str, name: str) -> str:
    """A variable whose text cannot be parsed; the library names the table, we the variables."""
    table = re.search(r'field "(\w+)"', str(error))
    start = f"{prefix}{table[1].upper()}" if table else prefix
    names = ", ".join(sorted(v for v in os.environ if v.upper().startswith(start)))
    return (
        f"{name}: an environment variable cannot be read ({names}): a list or a table is "
        'written as JSON, such as ["a", "b"]; a single key is set by '
        f"{prefix}TABLE__KEY."
    )
