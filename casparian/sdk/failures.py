"""What an exception of a plugin says of it: the class of the failure, a line, a traceback."""

from __future__ import annotations

import os
import traceback

from casparian.domain.errors import ErrorClass
from casparian.domain.wire import LocalProtocolError

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep


def class_of(error: BaseException, hint: str) -> ErrorClass:
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return ErrorClass.OOM
    # What the sandbox refuses is not the file's fault.
    return ErrorClass.PLUGIN if hint else ErrorClass.DATA


def one_line(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the plugin called sys.exit({error.code!r}); raise an exception to fail a file"
    if isinstance(error, LocalProtocolError):
        return str(error)
    text = str(error) or "(no message)"
    return f"{type(error).__name__}: {text}"


def plugin_traceback(error: BaseException) -> str:
    """The traceback without the frames of this package, through which a plugin's generator, or
    a wrong call of it, comes back to the plugin."""
    told = traceback.TracebackException.from_exception(error)
    waiting: list[traceback.TracebackException | None] = [told]
    while waiting:
        part = waiting.pop()
        if part is not None:
            theirs = [f for f in part.stack if not f.filename.startswith(_OWN)]
            if theirs:  # A mistake in this package itself is told as it is.
                part.stack = traceback.StackSummary.from_list(theirs)
            waiting += [part.__cause__, part.__context__]
    return "".join(told.format())


def failure_text(plugin: str, error: BaseException) -> str:
    cause = error.__cause__ if error.__cause__ is not None else error
    text = str(error)
    if cause is error:
        text = f"configure() of plugin {plugin} failed: {type(error).__name__}: {error}"
    return f"{text}\n{plugin_traceback(cause)}"
