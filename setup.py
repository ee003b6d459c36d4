"""Builds the compiled twin of the fast path where it can, and installs without it where not.

Everything else about the package stands in pyproject.toml.
"""

from __future__ import annotations

from setuptools import Extension, setup


def extensions() -> list[Extension]:
    try:
        from Cython.Build import cythonize
    except ImportError:
        # The pure twin serves; `casparian check` says that it does.
        return []
    speed = Extension(
        "casparian._fastpath._speed",
        ["casparian/_fastpath/_speed.pyx"],
        extra_compile_args=["-O3"],
        # A missing or failing C compiler is reported by setuptools and does not end the install.
        optional=True,
    )
    modules: list[Extension] = cythonize([speed], language_level=3, annotate=False)
    return modules


setup(ext_modules=extensions())
