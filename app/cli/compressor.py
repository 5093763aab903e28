"""`slimrank compressor`: do the compression jobs of a store whose service runs elsewhere, without serving."""

import asyncio
import logging
import signal
import sys
from importlib.util import find_spec

import typer

from app.cli.cards import read_cards
from app.cli.options import with_settings
from app.compressor_watch import CompressorWatch
from app.errors import ConfigurationError
from app.lifeline import ChildStarter
from app.settings import Settings
from app.supervisor import Programs

app = typer.Typer(add_completion=False)


@app.command()
@with_settings(
    *("store", "models", "cache", "compressor_threads", "compressor_nice"),
    *("compressor_idle", "keep_versions", "job_timeout_seconds"),
)
def compressor(settings: Settings) -> None:
    """Queue what is not up to date, then run every job of the queue. Ctrl-C or SIGTERM ends with code 0.

    The job under way then waits for the next compressor.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)
    if find_spec("torch") is None:
        raise ConfigurationError("compression needs torch: install slimrank with its `compress` extra")
    read_cards(settings.models)
    asyncio.run(_watch(settings))


async def _watch(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(one, stop.set)
    watch = CompressorWatch(settings, Programs().compressor, ChildStarter())
    try:
        await watch.run(stop)
    finally:
        watch.kill()
