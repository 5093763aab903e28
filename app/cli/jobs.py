"""`slimrank jobs`: the job queue, seen and steered from the command line."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli.options import with_settings
from app.errors import ConfigurationError
from app.jobs import QUEUE_FILE, Job, JobQueue
from app.settings import Settings

app = typer.Typer(add_completion=False, no_args_is_help=True)
Identity = Annotated[str, typer.Argument(help="The job's id, as `slimrank jobs list` shows it.")]


@app.command("list")
@with_settings("store")
def list_jobs(
    settings: Settings,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest jobs to show.")] = 20,
) -> None:
    """List the newest jobs, newest first."""
    table = Table()
    for column in ("id", "model", "recipes", "state", "done", "step", "created (UTC)"):
        table.add_column(column, no_wrap=column == "id")
    for job in _queue(settings).jobs(limit):
        state = "cancelling" if job.state == "running" and job.cancel_requested else job.state
        cells = (job.id, job.model, _recipes(job), state, f"{job.progress:.0%}", job.step)
        table.add_row(*map(escape, cells), _time(job.created_unix_seconds))
    Console().print(table)


@app.command()
@with_settings("store")
def show(settings: Settings, job: Identity) -> None:
    """Show one job as JSON: its log, and its result or error."""
    text = msgspec.json.format(msgspec.json.encode(_queue(settings).get(job)), indent=2)
    print(text.decode())


@app.command()
@with_settings("store")
def cancel(settings: Settings, job: Identity) -> None:
    """Cancel a waiting job, or ask a running one to stop."""
    after = _queue(settings).cancel(job)
    print(f"job {after.id} is {'cancelled' if after.state == 'cancelled' else 'being cancelled'}")


def _queue(settings: Settings) -> JobQueue:
    path = settings.store / QUEUE_FILE
    if not path.is_file():
        raise ConfigurationError(
            f"the store {str(settings.store)!r} has no job queue; name another with --store"
        )
    return JobQueue(path)


def _recipes(job: Job) -> str:
    if job.recipe is not None:
        return str(job.recipe.get("name", "one of its own"))
    return "all" if job.recipes is None else ", ".join(job.recipes)


def _time(unix_seconds: float) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
