"""What the documents say beside their tables holds: names, commands, files, numbers, layers."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from app import job, jobs, store
from app.active import MAX_HISTORY
from app.artifact import GRAPH_DATA_FILE, GRAPH_FILE, MANIFEST_FILE, REPORT_FILE
from app.cli.main import COMMANDS
from app.fingerprint import LIBRARIES
from app.settings import Settings

from tests.deploy.markdown import blocks
from tests.source_code import ROOT
from tests.test_architecture import MAY_IMPORT

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
_SPAN = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:app|tests|docs|deploy|loadtest|models)/[\w./-]+")


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one, as one line."""
    _, found, below = text.partition(f"\n{heading}\n")
    assert found, f"there is no heading {heading!r}"
    return " ".join(re.split(r"^#+ ", below, maxsplit=1, flags=re.MULTILINE)[0].split())


def commands_in(text: str) -> set[str]:
    """Every call of `slimrank` in a code span or a shell example, without its first word."""
    spans = _SPAN.findall(text)
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    calls = [one.partition("  #")[0] for one in (*spans, *lines) if re.match(r"slimrank [a-z]", one)]
    return {one.removeprefix("slimrank ") for one in calls}


def command_of(words: list[str]) -> Any:
    """The command that the first words name. Raises KeyError when there is none."""
    command: Any = typer.main.get_command(import_module(COMMANDS[words[0]][0]).app)
    return command.commands[words[1]] if hasattr(command, "commands") else command


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_every_variable_that_is_named_is_read_somewhere(path: Path) -> None:
    # SLIMRANK_URL is read by `slimrank rank`, which asks a service and needs no settings.
    known = {f"SLIMRANK_{name.upper()}" for name in Settings.model_fields} | {"SLIMRANK_URL"}
    assert set(re.findall(r"SLIMRANK_[A-Z_]*[A-Z]", path.read_text())) - known == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_every_command_that_is_named_exists_with_its_flags(path: Path) -> None:
    for call in sorted(commands_in(path.read_text())):
        words = shlex.split(call)
        command = command_of(words)
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used - known == set(), call


def test_the_url_of_the_service_is_read_from_its_variable() -> None:
    (url,) = (one for one in command_of(["rank"]).params if "--url" in one.opts)
    assert url.envvar == "SLIMRANK_URL"


@pytest.mark.parametrize("path", DOCUMENTS, ids=shown)
def test_every_path_that_is_named_exists(path: Path) -> None:
    # `<name>` and `*` stand for something; the guide to models makes its own folders in models/.
    spans = [one for one in _SPAN.findall(path.read_text()) if _PATH.fullmatch(one)]
    made_by_the_reader = path.name == "models.md"
    missing = [
        one
        for one in spans
        if not (ROOT / one).exists() and not (made_by_the_reader and one.startswith("models/"))
    ]
    assert missing == []


def test_the_limits_are_those_of_the_code() -> None:
    limits = section(OPERATIONS, "### Limits")
    for words in (
        f"{jobs.MAX_QUEUED} may wait",
        f"the last {job.MAX_FINISHED:,} finished ones are kept",
        f"its last {job.MAX_LOG_LINES} log lines",
        f"{job.MAX_ATTEMPTS} attempts when the compressor dies",
        f"Active states to roll back to: {MAX_HISTORY} for each model",
    ):
        assert words in limits


def test_the_store_is_laid_out_as_drawn() -> None:
    (drawing,) = (block for block in blocks(OPERATIONS, "") if "active.json" in block)
    for name in (
        *(MANIFEST_FILE, GRAPH_FILE, GRAPH_DATA_FILE, REPORT_FILE),
        *(store.ACTIVE_FILE, store.CATALOG, store.STAGING, store.LOCK_FILE),
        *(jobs.QUEUE_FILE, jobs.LOCK_FILE),
    ):
        assert name in drawing


def test_the_libraries_that_put_variants_out_of_date_are_named() -> None:
    upgrades = section(OPERATIONS, "### Upgrades")
    *most, last = (name for name in LIBRARIES)
    assert f"{', '.join(most)} or {last}" in upgrades


def test_the_layers_are_those_that_the_tests_enforce() -> None:
    (drawing,) = (block for block in blocks(ARCHITECTURE, "") if "->" in block and "serving" in block)
    for line in drawing.splitlines():
        name, _, below = line.partition("->")
        drawn = {"flat" if one.startswith("shared") else one for one in below.strip().split(", ")}
        layer = "flat" if name.strip() == "shared" else name.strip()
        allowed = MAY_IMPORT[layer]
        if drawn == {"everything"}:
            assert allowed == set(MAY_IMPORT)
        else:
            assert drawn <= allowed
    assert len(drawing.splitlines()) == len(MAY_IMPORT)
