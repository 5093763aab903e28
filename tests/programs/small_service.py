"""The real supervisor with the small worker and the small compressor beside this file."""

import asyncio
import logging
import os
import sys
from pathlib import Path

from app import jobs_file
from app.listener import open_listener, url_of
from app.settings import Settings
from app.supervisor import Programs, Supervisor

_HERE = Path(__file__).parent

if (Path(os.environ["TEST_FOLDER"]) / "patient").exists():
    jobs_file.BUSY_TIMEOUT_SECONDS = 120.0  # so that no slow machine is taken for a queue that stays busy


async def _run(settings: Settings) -> int:
    listener = open_listener(settings.host, settings.port)
    print(url_of(listener), flush=True)
    programs = Programs(
        (sys.executable, str(_HERE / "small_worker.py")), (sys.executable, str(_HERE / "small_compressor.py"))
    )
    return await Supervisor(settings, listener, programs).run()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    sys.exit(asyncio.run(_run(Settings())))
