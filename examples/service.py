"""An engine inside a FastAPI service: upload a file, ask what became of it.

    pip install fastapi uvicorn
    CASPARIAN_CONFIG=casparian.toml uvicorn examples.service:app

The engine runs in a thread of the service from its start to its end. Requests read the queue
through `engine.reports`, which any thread may do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from casparian import Engine, Settings


class Loading:
    """An engine and the thread that it runs in."""

    def __init__(self, settings: Settings) -> None:
        self.engine = Engine(settings)
        self.inbox = settings.path(settings.source_root[0].path)
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="engine")

    def start(self) -> None:
        # Before the first request: it makes the database where there is none.
        self.engine.apply()
        self._thread.start()

    def _run(self) -> None:
        try:
            self.engine.run()
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        self.engine.stop()
        self._thread.join()
        self.engine.close()


def make_app(config: str | None = None) -> FastAPI:
    """The service for one configuration file; by default the one that `casparian` would take."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.loading = loading = Loading(Settings.load(config))
        loading.start()
        yield
        loading.stop()

    app = FastAPI(title="Casparian Flow", lifespan=lifespan)

    @app.put("/files/{name}", status_code=202)
    async def upload(name: str, request: Request) -> dict[str, str]:
        """Take a file in: whole, or not at all."""
        loading: Loading = app.state.loading
        if Path(name).name != name or name.startswith("."):
            raise HTTPException(400, "a file's name has no directory and no leading dot")
        # The scout does not look at names that end so: the file appears when it is complete.
        unfinished = loading.inbox / f"{name}.part"
        with unfinished.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
        os.replace(unfinished, loading.inbox / name)
        return {"path": name}

    @app.get("/files/{name}")
    def look_up(name: str) -> list[dict[str, Any]]:
        """Versions, jobs and errors of a file, as `casparian why --json` tells them."""
        loading: Loading = app.state.loading
        documents = loading.engine.reports.why(os.fsencode(name))
        if not documents:
            raise HTTPException(404, f"no scan has met {name!r} yet")
        return documents

    @app.get("/status")
    def status() -> dict[str, Any]:
        loading: Loading = app.state.loading
        if loading.failure is not None:
            raise HTTPException(503, f"the engine ended: {loading.failure}")
        return loading.engine.reports.status()

    return app


app = make_app()
