"""The small model as the command line works on it."""

import re
from collections.abc import Callable

import pytest

from tests.cli.conftest import Ran
from tests.small_model import NAME, SmallModel

Slimrank = Callable[..., Ran]


def at_work(model: SmallModel, monkeypatch: pytest.MonkeyPatch) -> SmallModel:
    """Let the commands work on its folders."""
    for name, folder in (("MODELS", model.models), ("STORE", model.store_folder), ("CACHE", model.cache)):
        monkeypatch.setenv(f"SLIMRANK_{name}", str(folder))
    return model


def edit_card(model: SmallModel, old: str, new: str) -> None:
    path = model.models / NAME / "model.toml"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))


def versions(model: SmallModel) -> dict[str, str]:
    return model.store.active(NAME).state.versions


def files(model: SmallModel) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (model.models / NAME).iterdir()}


def cells(table: str, row: str) -> list[str]:
    """The other cells of a table's row."""
    (line,) = re.findall(rf"^│ {re.escape(row)} +│(.*)│$", table, re.MULTILINE)
    return [one.strip() for one in line.split("│")]
