"""One adapter: where it comes from, how it is loaded, and the settings it takes.

Nothing of it is imported before it is asked for: a broken package that nobody uses stops nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from pydantic import BaseModel, ValidationError

from casparian.app.settings_errors import explain, nearest
from casparian.app.settings_file import SettingsFile, dotted
from casparian.domain.errors import ConfigurationError

BUILT_IN = "built in"


class NotInstalledError(ConfigurationError):
    """A package that an adapter needs is not there; the text names the command that brings it."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """`load` returns what makes the adapter: a class or a function, or the adapter itself.

    Where that has an attribute `settings_model`, a pydantic model, its table of the file is
    validated by it and handed over as the keyword `own_settings`.
    """

    name: str
    origin: str
    load: Callable[[], Any]

    def settings_model(self) -> type[BaseModel] | None:
        """Raises ConfigurationError where the adapter cannot be loaded."""
        model: type[BaseModel] | None = getattr(self.load(), "settings_model", None)
        return model

    def own_settings(
        self, raw: Mapping[str, Any], file: SettingsFile, above: tuple[str, ...]
    ) -> dict[str, Any]:
        """The keyword to call the factory with, empty for an adapter without settings.

        `above` is the table's place. Raises ConfigurationError for what the model refuses.
        """
        model = self.settings_model()
        if model is None:
            if raw:
                raise ConfigurationError(
                    f"{file.place(*above)}: {self.name!r} has no settings of its own; leave the "
                    f"table [{dotted(above)}] out."
                )
            return {}
        try:
            return {"own_settings": model.model_validate(dict(raw))}
        except ValidationError as error:
            raise ConfigurationError(explain(error, model, file, above)) from error


def built_in(name: str, load: Callable[[], Any]) -> Adapter:
    return Adapter(name, BUILT_IN, load)


def given(name: str, factory: Any) -> Adapter:
    """One that stands for a factory which the caller of Engine has."""
    return Adapter(name, "given to Engine", lambda: factory)


def of_entry_points(group: str, known: Mapping[str, Adapter]) -> dict[str, Adapter]:
    """`known`, and what installed packages register in a group of entry points.

    A name that is registered twice, or is that of a built-in adapter, is refused when it is
    used: which of the two was meant cannot be told.
    """
    found = dict(known)
    for entry in sorted(metadata.entry_points(group=group), key=lambda e: (e.name, e.value)):
        adapter = _of_entry_point(entry, group)
        other = found.get(entry.name)
        found[entry.name] = adapter if other is None else _ambiguous(other, adapter, group)
    return found


def pick(known: Mapping[str, Adapter], name: str, place: str) -> Adapter:
    """The adapter of a name; raises ConfigurationError that lists the known ones."""
    if name not in known:
        raise ConfigurationError(
            f"{place} = {name!r} is unknown; known: {', '.join(sorted(known))}."
            f"{nearest(name, known)}"
        )
    return known[name]


def _of_entry_point(entry: metadata.EntryPoint, group: str) -> Adapter:
    package = entry.dist.name if entry.dist is not None else entry.module.partition(".")[0]

    def load() -> Any:
        what = f"The adapter {entry.name!r} of {package} (entry point {group}, {entry.value})"
        try:
            return entry.load()
        except ModuleNotFoundError as error:
            if _is_own(error.name, entry.module):
                raise ConfigurationError(
                    f"{what} is not where the package says: {error}. Install {package} again."
                ) from error
            wanted = f"{package}[{','.join(entry.extras)}]" if entry.extras else f"{error.name}"
            raise NotInstalledError(
                f'{what} needs {error.name}, which is not installed: run `pip install "{wanted}"`.'
            ) from error
        except Exception as error:
            raise ConfigurationError(
                f"{what} cannot be loaded: {type(error).__name__}: {error}."
            ) from error

    return Adapter(entry.name, f"{package} ({entry.value})", load)


def _is_own(missing: str | None, module: str) -> bool:
    """True where the module that is missing is the adapter's own."""
    return missing is not None and f"{module}.".startswith(f"{missing}.")


def _ambiguous(one: Adapter, other: Adapter, group: str) -> Adapter:
    def refuse() -> Any:
        raise ConfigurationError(
            f"The adapter {one.name!r} is registered twice in {group}: {one.origin}, and "
            f"{other.origin}. Uninstall one of them."
        )

    return Adapter(one.name, f"{one.origin}; {other.origin}", refuse)
