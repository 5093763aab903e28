"""docs/compression.md has every technique and every setting as the code has them, and prose about each."""

import re
import tomllib
from pathlib import Path

import pytest
from app.compression.guide import FINE_TUNING, filled, parts
from app.compression.recipe import read_steps
from app.compression.technique import techniques
from app.errors import ConfigurationError
from app.model_card import Recipe, read_card

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "compression.md").read_text()


def test_the_tables_are_those_of_the_code() -> None:
    assert filled(GUIDE) == GUIDE, "run `slimrank techniques --write docs/compression.md`"


def test_whatever_stands_between_the_marks_is_replaced_and_nothing_else() -> None:
    begin = "<!-- techniques: begin -->\n"
    assert filled(GUIDE.replace(begin, f"{begin}old\n\n| older |\n")) == GUIDE
    assert filled(f"{GUIDE}\nmine\n") == f"{GUIDE}\nmine\n"


@pytest.mark.parametrize("name", list(techniques()))
def test_every_technique_has_a_section_with_its_table_and_prose(name: str) -> None:
    _, found, below = GUIDE.partition(f"\n### {name}\n")
    assert found
    text = re.split(r"^##+ ", below, maxsplit=1, flags=re.MULTILINE)[0]
    table = re.compile(rf"<!-- settings of {name}: begin -->.*?<!-- settings of {name}: end -->", re.DOTALL)
    assert table.search(text)
    assert table.sub("", text).strip()


def test_the_shared_settings_are_where_they_are_said_to_be() -> None:
    assert f"(#{FINE_TUNING})" in parts()["settings of distill"]
    assert f"\n### {FINE_TUNING.capitalize()}\n" in GUIDE


def test_marks_that_are_missing_or_strange_are_named() -> None:
    end = "<!-- settings of distill: end -->\n"
    with pytest.raises(ConfigurationError, match="needs the lines '<!-- settings of distill: begin -->' and"):
        filled(GUIDE.replace(end, ""))
    with pytest.raises(ConfigurationError, match="marks of what does not exist: settings of shrink"):
        filled(f"{GUIDE}\n<!-- settings of shrink: begin -->\n<!-- settings of shrink: end -->\n")


def test_the_examples_are_recipes_that_can_be_read() -> None:
    """One of them is a whole recipe, the others its steps alone."""
    examples = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert "[[recipes]]" in examples[0]
    for example in examples:
        found = tomllib.loads(example)
        recipe = Recipe.model_validate(
            found["recipes"][0] if "recipes" in found else {"name": "example", **found}
        )
        assert len(read_steps(recipe, read_card(ROOT / "models" / "movielens"))) == len(recipe.steps)
