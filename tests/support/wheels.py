"""Wheels that are made on the spot, so that packages are installed without an index."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def write_wheel(directory: Path, name: str, version: str, code: str, requires: str = "") -> Path:
    """A wheel of one module, called as the package."""
    directory.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    wheel = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


def only_from(directory: Path) -> dict[str, str]:
    """Variables by which the installer takes packages from this directory and nowhere else."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(directory),
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(directory),
    }


class HeldIndex:
    """A directory of wheels behind an address of this host, which answers nobody before `release`
    is set. `asked`: somebody waits for it."""

    def __init__(self, directory: Path) -> None:
        self.asked, self.release = threading.Event(), threading.Event()
        asked, release = self.asked, self.release

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.set()
                release.wait(60)
                super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        handler = partial(Handler, directory=str(directory))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)

    @property
    def variables(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.server.server_address[1]}/"
        return {**only_from(Path("/nowhere")), "PIP_FIND_LINKS": address, "UV_FIND_LINKS": address}


@contextmanager
def held_index(directory: Path) -> Iterator[HeldIndex]:
    index = HeldIndex(directory)
    serving = threading.Thread(target=index.server.serve_forever)
    serving.start()
    try:
        yield index
    finally:
        index.release.set()
        index.server.shutdown()
        serving.join()
        index.server.server_close()
