"""The real serving process around an application whose requests a test can hold and let go."""

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any

from app.api.server import run_worker
from app.errors import ConfigurationError
from app.settings import Settings
from fastapi import FastAPI


def _begin_thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


if (Path(os.environ["TEST_FOLDER"]) / "threads").exists():
    _begin_thread()  # as a library may do when it is imported

while (Path(os.environ["TEST_FOLDER"]) / "imports").exists():
    time.sleep(0.01)  # as imports take their time on a slow machine


def create_app(settings: Settings) -> FastAPI:
    folder = Path(os.environ["TEST_FOLDER"])
    if (folder / "refuse").exists():
        raise ConfigurationError("the small worker was told to refuse")
    app = FastAPI()

    @app.get("/pid")
    async def pid() -> int:
        return os.getpid()

    @app.get("/environment")
    async def environment() -> dict[str, str]:
        return dict(os.environ)

    @app.get("/settings")
    async def all_settings() -> dict[str, Any]:
        return {**settings.model_dump(mode="json"), "admin_key_is_set": settings.admin_key is not None}

    @app.get("/hold/{name}")
    async def hold(name: str) -> str:
        (folder / f"held-{name}").touch()
        while not (folder / "release").exists():  # noqa: ASYNC110  (the event is in another process)
            await asyncio.sleep(0.01)
        return name

    return app


if __name__ == "__main__":
    run_worker(create_app)
