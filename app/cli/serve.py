"""`slimrank serve`: check everything that can be wrong first, then hand over to the supervisor."""

import asyncio
import logging
import os
import secrets
import socket
import sys
from importlib.util import find_spec
from typing import Annotated

import typer
from pydantic import SecretStr

from app.cli.budget import budget_lines
from app.cli.cards import read_cards
from app.cli.options import with_settings
from app.errors import ConfigurationError, StoreUnavailable
from app.jobs import QUEUE_FILE, JobQueue
from app.lifeline import PREFIX
from app.listener import open_listener, url_of
from app.machine import usable_cores
from app.model_card import ModelCard
from app.settings import Settings
from app.store import ArtifactStore
from app.supervisor import Supervisor

app = typer.Typer(add_completion=False)


@app.command()
@with_settings()
def serve(
    settings: Settings,
    make_admin_key: Annotated[
        bool, typer.Option("--make-admin-key", help="Make and print an admin key, unless one is set.")
    ] = False,
) -> None:
    """Serve the models over HTTP; variants that are not up to date are compressed in the background.

    Each flag is an environment variable too: --max-queue is SLIMRANK_MAX_QUEUE. The admin key has no flag: it comes
    from SLIMRANK_ADMIN_KEY only. Ctrl-C or SIGTERM drains and ends with code 0.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)
    cards = read_cards(settings.models)
    _check_store(settings, cards)
    made_key = secrets.token_urlsafe(24) if make_admin_key and settings.admin_key is None else None
    if made_key:
        settings = settings.model_copy(update={"admin_key": SecretStr(made_key)})
    can_compress = find_spec("torch") is not None
    listener = open_listener(settings.host, settings.port)
    print("\n".join(_summary(settings, cards, url_of(listener), made_key)), flush=True)
    if settings.compressor and not can_compress:
        print("  compressor   off: torch is not installed (it comes with the extra `compress`)", flush=True)
        settings = settings.model_copy(update={"compressor": False})
    raise typer.Exit(asyncio.run(_supervise(settings, listener)))


async def _supervise(settings: Settings, listener: socket.socket) -> int:
    return await Supervisor(settings, listener).run()


def _check_store(settings: Settings, cards: list[ModelCard]) -> None:
    try:
        settings.store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"the store {str(settings.store)!r}: {error.strerror}") from error
    try:
        JobQueue(settings.store / QUEUE_FILE).counts()
    except StoreUnavailable as error:
        raise ConfigurationError(f"the store {str(settings.store)!r}: {error.message}") from error
    if not cards and not ArtifactStore(settings.store).models():
        raise ConfigurationError(f"no model to serve: {str(settings.models)!r} has no <model>/model.toml")


def _summary(settings: Settings, cards: list[ModelCard], url: str, made_key: str | None) -> list[str]:
    """What a person wants to know at the start, one line each."""
    store = ArtifactStore(settings.store)
    ready = set(store.models())
    lines = [f"slimrank serves at {url}   (docs: {url}/docs, metrics: {url}/metrics)"]
    for card in cards:
        state = (
            "ready"
            if card.name in ready
            else "to be compressed first"
            if settings.compressor
            else "not ready"
        )
        lines.append(f"  {card.name:<12} {card.title or card.description.split('.')[0]} ({state})")
    lines += budget_lines(settings, usable_cores())
    if made_key:
        lines.append(f"  admin key    {made_key}   (made for this run)")
    elif settings.admin_key is None:
        lines.append("  admin        closed; set SLIMRANK_ADMIN_KEY to open the admin routes")
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(n for n in os.environ if n.upper().startswith(PREFIX) and n.upper() not in known)
    lines += [f"  warning      {name} is not a setting and has no effect" for name in unknown]
    return [*lines, "  Ctrl-C ends the service."]
