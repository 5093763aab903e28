"""`slimrank serve` refuses what cannot work, before it starts anything, in one line and with code 2."""

from collections.abc import Callable
from pathlib import Path

import pytest
from app.jobs import QUEUE_FILE
from app.listener import open_listener

from tests.cli.conftest import CARD, Ran

Slimrank = Callable[..., Ran]


def flags(models: Path, store: Path, port: int = 0) -> tuple[object, ...]:
    return ("serve", "--models", models, "--store", store, "--port", port)


def refused(ran: Ran) -> str:
    """The one line that says why."""
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    return ran.err


def test_a_port_that_is_taken(slimrank: Slimrank, models: Path, tmp_path: Path) -> None:
    with open_listener("127.0.0.1", 0) as other:
        port = other.getsockname()[1]
        assert f"port {port} of 127.0.0.1 is taken" in refused(slimrank(*flags(models, tmp_path / "s", port)))


def test_every_wrong_card_is_named(slimrank: Slimrank, models: Path, tmp_path: Path) -> None:
    for name, card in (("worse", "name = "), ("other", CARD), ("empty", "")):
        (models / name).mkdir()
        (models / name / "model.toml").write_text(card)
    said = refused(slimrank(*flags(models, tmp_path / "s")))
    assert "worse/model.toml is not TOML" in said
    assert "other/model.toml: `name` is 'tiny' and must be 'other'" in said
    assert "empty/model.toml: name: Field required" in said


def test_no_models_at_all(slimrank: Slimrank, tmp_path: Path) -> None:
    assert "there is no folder" in refused(slimrank(*flags(tmp_path / "none", tmp_path / "s")))
    (tmp_path / "empty").mkdir()
    assert "no model to serve" in refused(slimrank(*flags(tmp_path / "empty", tmp_path / "s")))


@pytest.mark.parametrize("spoiled", ["store", "queue", "folder"])
def test_a_store_that_cannot_be_used(slimrank: Slimrank, models: Path, tmp_path: Path, spoiled: str) -> None:
    store = tmp_path / "s"
    if spoiled == "store":
        store.write_text("a file where a folder should be")
        assert "File exists" in refused(slimrank(*flags(models, store)))
    elif spoiled == "folder":
        (store / QUEUE_FILE).mkdir(parents=True)
        said = refused(slimrank(*flags(models, store)))
        assert f"the store '{store}': the job queue cannot be used: unable to open database file" in said
    else:
        store.mkdir()
        (store / QUEUE_FILE).write_text("somebody's notes")
        assert "not a job queue" in refused(slimrank(*flags(models, store)))


def test_the_admin_key_has_no_flag(slimrank: Slimrank) -> None:
    assert "--admin-key" not in slimrank("serve", "--help").out
    assert slimrank("serve", "--admin-key", "x").code == 2
