"""Checks of plugins and rules. A plugin's code is read and compiled here, never run."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Collection
from pathlib import Path

from casparian.app.cli._findings import Finding, Findings, ok, problem, warning
from casparian.app.configuration import resolve
from casparian.app.loader import PluginRegistry
from casparian.app.settings import Settings
from casparian.app.settings_plugins import PluginSection
from casparian.app.targets import Targets
from casparian.domain.errors import ConfigurationError

FILE = "the configuration file"


def check_plugins(settings: Settings, targets: Targets, deployed: Collection[str] = ()) -> Findings:
    """`deployed`: plugins that need no file, since their code is in the database."""
    for name, section in settings.plugin.items():
        where = f"[plugin.{name}]"
        try:
            # One at a time, so that the first mistake does not hide the others.
            alone = settings.model_copy(update={"plugin": {name: section}, "rule": []})
            resolve(alone, targets, deployed)
        except ConfigurationError as error:
            yield problem(where, str(error), f"Correct {where} in {FILE}, or the plugin's file.")
            continue
        if name not in deployed and not settings.plugins.require_signature:
            yield check_code(name, settings.plugin_directory / f"{name}.py")
        yield from _subscription(settings, name, section)
    yield from _left_out(settings)


def check_rules(settings: Settings, targets: Targets) -> Findings:
    wanted = {tag for section in settings.plugin.values() for tag in section.tags}
    for rule in settings.rule:
        where = f"[[rule]] {rule.pattern!r}"
        try:
            resolve(settings.model_copy(update={"plugin": {}, "rule": [rule]}), targets)
        except ConfigurationError as error:
            yield problem(where, str(error), f"Correct the pattern in {FILE}.")
            continue
        if rule.tag not in wanted:
            yield warning(
                where,
                f"No plugin subscribes to its tag {rule.tag!r}.",
                "Add it to the `tags` of a [plugin.NAME] table, or leave the rule out.",
            )
    if not settings.rule:
        yield warning(
            "[[rule]]", "There is no rule, so no file gets a tag.", f"Add a [[rule]] to {FILE}."
        )


def _subscription(settings: Settings, name: str, section: PluginSection) -> Findings:
    where = f"[plugin.{name}]"
    given = {rule.tag for rule in settings.rule}
    missing = [tag for tag in section.tags if tag not in given]
    if not section.tags:
        yield warning(where, "It has no tags, so no file is for it.", "Give it `tags`.")
    for tag in missing:
        yield warning(
            where,
            f"No rule gives the tag {tag!r}; rules give {', '.join(sorted(given)) or 'none'}.",
            "Add a [[rule]] with this tag, or correct its name.",
        )
    if not section.topics:
        yield warning(
            where,
            "No topic has a sink: a job that publishes rows fails.",
            f"Add [plugin.{name}.topics.TOPIC] with `sink`, or one for every topic, "
            f'[plugin.{name}.topics."*"].',
        )


def _left_out(settings: Settings) -> Findings:
    directory = settings.plugin_directory
    if not directory.is_dir():
        if settings.plugin:
            return  # Each plugin has said that its file is missing.
        yield warning(str(directory), "The plugin directory is missing.", "Make it.")
        return
    for name in PluginRegistry(directory).names():
        if name not in settings.plugin:
            yield warning(
                str(directory / f"{name}.py"),
                f"It is never run: {FILE} has no [plugin.{name}].",
                f"Add [plugin.{name}] with `tags`, or move the file away.",
            )


# --- code -------------------------------------------------------------------------------------


def check_code(name: str, file: Path) -> Finding:
    """Whether a plugin's file compiles and makes a `Handler`; what it does is not tried."""
    where = str(file)
    try:
        source = file.read_bytes().decode("utf-8-sig")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, where)
            compile(tree, where, "exec", dont_inherit=True)
    except SyntaxError as error:
        return problem(
            f"{where}:{error.lineno}", f"It is no valid Python: {error.msg}.", "Correct this line."
        )
    except (OSError, UnicodeDecodeError, ValueError) as error:
        return problem(where, f"It cannot be read as Python: {error}.", "Correct the file.")
    found = _top_level(tree, "Handler")
    if found is None:
        return problem(
            where,
            "It defines no class named Handler.",
            "Write `class Handler(BasePlugin)` with `def execute(self, file_path)`.",
        )
    if isinstance(found, ast.ClassDef) and _cannot_execute(found):
        return problem(
            f"{where}:{found.lineno}",
            "Its Handler has no method execute.",
            "Write `def execute(self, file_path)` in it.",
        )
    return ok(where, f"Plugin {name} compiles and has a Handler.")


def _top_level(tree: ast.Module, name: str) -> ast.stmt | None:
    """The last statement of the module itself that gives this name a value."""
    found: ast.stmt | None = None
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        statement = waiting.pop(0)
        if name in _bound(statement):
            found = statement
        if not isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            # Inside if, try and with a module's names are bound as well.
            waiting += _direct_children(statement)
    return found


def _direct_children(statement: ast.stmt) -> list[ast.stmt]:
    children: list[ast.stmt] = []
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            children.append(child)
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            children += child.body
    return children


def _bound(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.ClassDef(name=name):
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {alias.asname or alias.name for alias in names}
        case ast.Assign(targets=assigned):
            return {t.id for t in assigned if isinstance(t, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if value is not None:
            return {name}
        case _:
            return set()


def _cannot_execute(handler: ast.ClassDef) -> bool:
    """True where neither the class nor a base that we cannot see can have the method."""
    bases = [ast.unparse(base).rpartition(".")[2] for base in handler.bases]
    if any(base not in ("BasePlugin", "object") for base in bases) or handler.decorator_list:
        return False
    return not any(
        (isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef) and s.name == "execute")
        or "execute" in _bound(s)
        for s in handler.body
    )
