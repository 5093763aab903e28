"""The command `slimrank`: a list of commands, each in a file of its own that is loaded only when it is used.

So `slimrank serve` never loads torch, and `slimrank --help` loads next to nothing. A new command is one file with a
Typer app called `app`, and one line in COMMANDS.
"""

import os
import sys
from importlib import import_module, metadata
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup

from app.errors import ConfigurationError, InvalidInput, NotFound, ServiceError
from app.telemetry import OFF

COMMANDS = {
    "serve": ("app.cli.serve", "Serve the models over HTTP, and compress them in the background."),
    "train": ("app.cli.train", "Train a model from its card, and write its checkpoint and encoder."),
    "compress": ("app.cli.compress", "Make, measure and publish the variants of a model now."),
    "compressor": ("app.cli.compressor", "Do the compression jobs of a store, without serving."),
    "report": ("app.cli.report", "Show what each variant of a model costs and gains."),
    "techniques": ("app.cli.techniques", "List the techniques that recipes can name, and their settings."),
    "data": ("app.cli.data", "Show the data of a model, export them, or write the encoder fitted on them."),
    "rank": ("app.cli.rank", "Ask a running service to rank candidates."),
    "models": ("app.cli.models", "List the models and what serves of each."),
    "jobs": ("app.cli.jobs", "List, show and cancel compression jobs."),
    "rewrite": ("app.cli.rewrite", "Activate what is whole, where a model's active.json is damaged or gone."),
    "verify": ("app.cli.verify", "Check every artifact in the store against its manifest."),
}
"""Name: the module, and one line for `slimrank --help`."""


def main() -> None:
    """Run the command line. What a person did wrong is one red line and exit code 2; other failures exit with 1."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
    try:
        app()
    except ServiceError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"[red]error:[/red] {escape(error.message)}", highlight=False
        )
        sys.exit(2 if isinstance(error, ConfigurationError | InvalidInput | NotFound) else 1)


class LazyCommand(TyperCommand):
    """Stands for a command until it is used; only then is its module loaded."""

    def __init__(self, name: str, module: str, summary: str) -> None:
        super().__init__(name=name, help=summary)
        self._module = module

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Hand over to the real command."""
        real = typer.main.get_command(import_module(self._module).app)
        return real.make_context(info_name, args, parent, **extra)


class LazyGroup(TyperGroup):
    """The group of COMMANDS."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (module, summary) in COMMANDS.items():
            self.add_command(LazyCommand(name, module, summary))


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"slimrank {metadata.version('slimrank')}")
        raise typer.Exit


@app.callback()
def slimrank(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Compress a ranking model, prove what each variant costs and gains, and serve it from onnxruntime on CPU."""


if __name__ == "__main__":
    main()
