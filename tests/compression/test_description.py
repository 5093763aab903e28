"""What is said of a technique, and of each kind of setting."""

from typing import Annotated, Literal

import pytest
from app.compression.description import Setting, describe, settings_of, shared_settings
from app.compression.teaching import TeachingConfig
from app.compression.technique import TechniqueConfig, techniques
from pydantic import Field


class Inner(TechniqueConfig):
    size: int = 1


class EveryKind(TechniqueConfig):
    needed: str = Field(description="It must be given.")
    between: int = Field(default=2048, ge=1, le=100_000)
    least: int = Field(default=1, ge=1)
    most: float = Field(default=0.5, le=2.5)
    open_range: float = Field(default=0.5, gt=0, lt=1)
    half_open: float = Field(default=0.0, ge=0, lt=1)
    any_number: float = 1e-3
    flag: bool = True
    choice: Literal["a", "b"] = "a"
    bits: Literal[4, 8] = 8
    only: Literal["x"] = "x"
    perhaps: Annotated[int, Field(ge=2)] | None = None
    features: tuple[str, ...] = Field(default=(), max_length=3)
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(128, 64), min_length=1)
    table: dict[str, float] = Field(default_factory=dict)
    inner: Inner = Inner()


WANTED = {
    "needed": (None, "text"),
    "between": ("2048", "whole, 1 to 100,000"),
    "least": ("1", "whole, at least 1"),
    "most": ("0.5", "at most 2.5"),
    "open_range": ("0.5", "above 0, below 1"),
    "half_open": ("0.0", "at least 0, below 1"),
    "any_number": ("0.001", "a number"),
    "flag": ("true", "true, false"),
    "choice": ('"a"', '"a", "b"'),
    "bits": ("8", "4, 8"),
    "only": ('"x"', '"x"'),
    "perhaps": ("none", "whole, at least 2 or none"),
    "features": ("[]", "a list of: text, at most 3 of them"),
    "widths": ("[128, 64]", "a list of: whole, at least 1, at least 1 of them"),
    "table": ("{}", "a table"),
}


@pytest.mark.parametrize("name", WANTED)
def test_a_default_and_a_range_are_those_of_the_field(name: str) -> None:
    (found,) = (one for one in settings_of(EveryKind) if one.name == name)
    assert (found.default, found.range) == WANTED[name]


def test_a_setting_has_the_meaning_that_the_field_has() -> None:
    assert settings_of(EveryKind)[0] == Setting("needed", None, "text", "It must be given.")
    assert [one.name for one in settings_of(EveryKind)] == list(EveryKind.model_fields)
    assert settings_of(EveryKind)[-1].range == "a table"


@pytest.mark.parametrize("technique", techniques().values(), ids=lambda one: one.name)
def test_a_description_has_every_setting_once_and_says_what_is_needed(technique: object) -> None:
    one = describe(technique)  # type: ignore[arg-type]
    config = techniques()[one.name].config
    assert sorted(s.name for s in (*one.settings, *one.fine_tuning)) == sorted(config.model_fields)
    assert ("rows" in one.needs) == techniques()[one.name].needs_rows
    assert ("fine-tuning" in one.needs) == issubclass(config, TeachingConfig)
    assert all(s.range != "anything" for s in (*one.settings, *one.fine_tuning))


def test_a_shared_setting_with_a_default_of_its_own_is_the_techniques_own() -> None:
    class Gentle(TeachingConfig):
        learning_rate: float = Field(default=1e-4, gt=0, description="Step size of AdamW.")

    own = [one for one in settings_of(Gentle) if one not in shared_settings()]
    assert [(one.name, one.default) for one in own] == [("learning_rate", "0.0001")]
