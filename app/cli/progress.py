"""A progress bar for long work: drawn over and over on a terminal, one line for each new thing elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def shown_progress(title: str) -> Iterator[Callable[[float, str], None]]:
    """Gives the function that work tells its progress to: the fraction done (0 to 1) and what is being done."""
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield lambda done, what: console.print(
            f"{title} {done:4.0%}  {what}", highlight=False, markup=False, soft_wrap=True
        )
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"))
    with Progress(
        *columns, TimeElapsedColumn(), TextColumn("{task.fields[what]}", markup=False), console=console
    ) as bar:
        task = bar.add_task(title, total=1.0, what="")
        yield lambda done, what: bar.update(task, completed=done, what=what)
