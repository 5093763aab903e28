"""`slimrank techniques`: the ways to compress a model that recipes can name, and the settings of each."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.compression.description import Description, describe
from app.compression.guide import filled
from app.compression.technique import techniques as known_techniques
from app.errors import ConfigurationError

app = typer.Typer(add_completion=False)


@app.command()
def techniques(
    name: Annotated[
        str, typer.Argument(help="A technique, to see its settings; all of them without it.")
    ] = "",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
    write: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Make the tables of docs/compression.md anew, between their marks.",
        ),
    ] = None,
) -> None:
    """List the techniques, or show one with its settings, their defaults and ranges."""
    if write is not None:
        write.write_text(filled(write.read_text()))
        print(f"wrote {write}")
        return
    described = [describe(one) for one in known_techniques().values() if name in {"", one.name}]
    if not described:
        raise ConfigurationError(
            f"there is no technique {name!r}; there are: {', '.join(known_techniques())}"
        )
    if as_json:
        content = described[0] if name else described
        print(msgspec.json.format(msgspec.json.encode(content)).decode())
    elif name:
        _show(described[0])
    else:
        _list(described)


def _list(described: list[Description]) -> None:
    table = Table("technique", "stage", "needs", "what it does", title="techniques", title_justify="left")
    for one in described:
        table.add_row(one.name, one.stage, ", ".join(one.needs), escape(one.summary))
    Console(highlight=False).print(table)


def _show(one: Description) -> None:
    console = Console(highlight=False)
    console.print(f"{one.name}: {escape(one.summary)}", soft_wrap=True)
    console.print(f"stage: {one.stage}; needs: {', '.join(one.needs) or 'nothing but the model'}")
    console.print(f"follows: {escape(one.source)}", soft_wrap=True)
    table = Table("setting", "default", "range", "meaning")
    for setting in (*one.settings, *one.fine_tuning):
        default = "required" if setting.default is None else setting.default
        table.add_row(setting.name, escape(default), escape(setting.range), escape(setting.meaning))
    if table.row_count:
        console.print(table)
