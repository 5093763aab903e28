"""docs/compression.md names every technique and every setting, as the code has them."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from app.compression.recipe import read_steps
from app.compression.teaching import TeachingConfig
from app.compression.technique import techniques
from app.model_card import Recipe, read_card
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "compression.md").read_text()


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    return re.split(r"^##+ .*$", GUIDE.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def settings_of(title: str) -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", section(title), re.MULTILINE)
    return {name: (default, meaning.replace("\\|", "|")) for name, default, meaning in rows}


def as_documented(field: FieldInfo) -> tuple[str, str]:
    default: Any = {} if field.default_factory is dict else field.default
    shown = "required" if field.is_required() else f"`{default}`"
    shown = f"`{str(default).lower()}`" if isinstance(default, bool) else shown
    shown = f'`"{default}"`' if isinstance(default, str) else shown
    return shown, field.description or ""


def test_the_table_has_every_technique() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", section("Techniques"), re.MULTILINE)
    assert rows == [(one.name, one.stage, one.summary, one.source) for one in techniques().values()]


@pytest.mark.parametrize("name", list(techniques()))
def test_every_setting_is_there_with_its_default_and_its_meaning(name: str) -> None:
    fields = techniques()[name].config.model_fields
    shared = TeachingConfig.model_fields if name == "prune_neurons" else {}
    assert settings_of(name) == {one: as_documented(fields[one]) for one in fields if one not in shared}


def test_the_example_is_a_recipe_that_can_be_read() -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    recipe = Recipe.model_validate(tomllib.loads(example)["recipes"][0])
    assert len(read_steps(recipe, read_card(ROOT / "models" / "movielens"))) == len(recipe.steps)
