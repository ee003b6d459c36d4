"""Builds the compiled twins of the fast path, of the walk and of COPY's rows where it can, and
installs without them where not.

Everything else about the package stands in pyproject.toml.
"""

from __future__ import annotations

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError


class OptionalBuild(build_ext):
    """`optional=True` alone forgives a compiler that fails, but not one that is not there."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except (BaseError, CCompilerError, OSError) as error:
            self.warn(f"{ext.name} is not compiled, its pure-Python twin will be used: {error}")


def extensions() -> list[Extension]:
    try:
        from Cython.Build import cythonize
    except ImportError:
        # The pure twin serves; `casparian check` says that it does.
        return []
    sources = [
        Extension(
            name, [name.replace(".", "/") + ".pyx"], extra_compile_args=["-O3"], optional=True
        )
        for name in (
            "casparian._fastpath._speed",
            "casparian.adapters.files._walk",
            "casparian.adapters.sink._copy_rows",
        )
    ]
    modules: list[Extension] = cythonize(sources, language_level=3, annotate=False)
    for module in modules:
        module.optional = True  # cythonize makes new objects and forgets it
    return modules


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
