"""`slimrank techniques`: the list, one technique, JSON, and the tables of the guide."""

import json
from collections.abc import Callable
from pathlib import Path

from app.compression.guide import filled
from app.compression.technique import techniques

from tests.cli.at_work import cells
from tests.cli.conftest import Ran

Slimrank = Callable[..., Ran]
GUIDE = Path(__file__).parent.parent.parent / "docs" / "compression.md"


def test_the_list_has_every_technique(slimrank: Slimrank) -> None:
    ran = slimrank("techniques")
    assert ran.code == 0
    for one in techniques().values():
        stage, needs, summary = cells(ran.out, one.name)
        assert (stage, "rows" in needs) == (one.stage, one.needs_rows)
        assert one.summary.startswith(summary[:20])


def test_one_technique_has_its_settings_with_defaults_and_ranges(slimrank: Slimrank) -> None:
    ran = slimrank("techniques", "prune_neurons")
    assert "stage: module; needs: rows, fine-tuning" in ran.out
    assert cells(ran.out, "keep")[:2] == ["0.5", "above 0, below 1"]
    assert cells(ran.out, "epochs")[:2] == ["10", "whole, 1 to 1,000"]
    assert "needs: nothing but the model" in slimrank("techniques", "quantize_dynamic").out


def test_json_says_the_same(slimrank: Slimrank) -> None:
    every = json.loads(slimrank("techniques", "--json").out)
    assert [one["name"] for one in every] == list(techniques())
    (one,) = (one for one in every if one["name"] == "quantize_static")
    assert json.loads(slimrank("techniques", "quantize_static", "--json").out) == one
    assert {setting["name"]: setting["default"] for setting in one["settings"]}["rows"] == "2048"


def test_a_technique_that_does_not_exist(slimrank: Slimrank) -> None:
    ran = slimrank("techniques", "shrink")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: there is no technique 'shrink'; there are: {', '.join(techniques())}\n"


def test_the_tables_of_a_guide_are_made_anew(slimrank: Slimrank, tmp_path: Path) -> None:
    guide = tmp_path / "guide.md"
    guide.write_text(GUIDE.read_text().replace("above 0, below 1", "anything"))
    ran = slimrank("techniques", "--write", guide)
    assert ran.out == f"wrote {guide}\n"
    assert guide.read_text() == filled(GUIDE.read_text())
    assert slimrank("techniques", "--write", tmp_path / "none.md").code == 2
