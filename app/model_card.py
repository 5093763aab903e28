"""The model card: what `models/<name>/model.toml` may say.

The card names where the ranker comes from, what it eats, the data that calibrates and proves it, the recipes that
compress it and the quality it must keep. It is plain data: what a technique, an architecture or a data source makes
of its own table is checked by that part, in one place.
"""

import errno
import os
import tomllib
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.errors import ConfigurationError, UnknownModel, UnknownRecipe
from app.policy import Policy
from app.schema import FeatureSchema

MODEL_NAME = r"^[a-z][a-z0-9_-]{0,63}$"
VARIANT_NAME = r"^[a-z][a-z0-9-]{0,63}$"
BASELINE = "baseline"
AUTO = "auto"
"""What a request asks for that leaves the choice of the variant to the model's policy."""
_TAKEN = {BASELINE: "the variant it is compared with", AUTO: "what lets the policy choose"}
CARD_FILE = "model.toml"


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("must be a path inside the model's folder")
    return value


InsidePath = Annotated[str, AfterValidator(_inside)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _TrainedSource(_Table):
    checkpoint: InsidePath = Field(
        default="checkpoint.safetensors", description="The weights, in safetensors."
    )
    encoder: InsidePath = Field(
        default="encoder.json", description="The fitted encoder that goes with the weights."
    )


class ArchitectureSource(_TrainedSource):
    """An architecture of this project and a safetensors checkpoint."""

    kind: Literal["architecture"]
    architecture: str = Field(description="Name of a file in app/training/architectures/.")
    config: dict[str, Any] = Field(default_factory=dict, description="The architecture's own configuration.")


class EntryPointSource(_TrainedSource):
    """A function of the user's own that builds an `nn.Module`, and a safetensors checkpoint."""

    kind: Literal["entry_point"]
    entry_point: str = Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="package.module:build, importable or in the model's folder; called with (encoder, **config).",
    )
    config: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the entry point.")


class OnnxSource(_Table):
    """A ready ONNX graph that keeps the graph contract of docs/architecture.md."""

    kind: Literal["onnx"]
    graph: InsidePath = Field(
        default="model.onnx", description="The graph; its external data stands beside it."
    )
    encoder: InsidePath = Field(default="encoder.json", description="The encoder that its inputs expect.")


Source = Annotated[ArchitectureSource | EntryPointSource | OnnxSource, Field(discriminator="kind")]


class Label(_Table):
    """How an interaction becomes a label between 0 and 1."""

    column: str = Field(
        default="label", description="The column of the interactions that the label comes from."
    )
    at_least: float | None = Field(
        default=None, description="1 from this value on, else 0. Without it: the column."
    )


class Split(_Table):
    """How interactions are divided into train, validation and test rows."""

    kind: Literal["random", "temporal"] = Field(
        default="random", description="By seed, or the newest rows last."
    )
    validation: float = Field(default=0.1, gt=0, lt=0.5, description="Share of the rows for validation.")
    test: float = Field(default=0.1, gt=0, lt=0.5, description="Share of the rows for the test.")
    seed: int = Field(default=0, ge=0, description="Seed of a random split.")


class Data(_Table):
    """Where training, calibration and evaluation rows come from."""

    source: str = Field(description="Name of a file in app/training/data/.")
    config: dict[str, Any] = Field(default_factory=dict, description="The source's own configuration.")
    label: Label = Label()
    split: Split = Split()
    display: tuple[str, ...] = Field(default=(), description="Item columns that a recommendation shows.")


class Budget(_Table):
    """How much a variant may lose before it is rejected; shares kept are judged at the lower confidence bound."""

    auc: float = Field(default=0.999, gt=0, le=1, description="Least share of the baseline's AUC.")
    ndcg_at_10: float | None = Field(
        default=None, gt=0, le=1, description="Least share of the baseline's NDCG@10."
    )

    batch_difference: float = Field(
        default=1e-4, ge=0, description="Most that a score may move with the rows it is batched with."
    )
    distinct_score_ratio: float = Field(
        default=0.9, ge=0, description="Least share of the baseline's number of distinct scores."
    )


class Profile(_Table):
    """How speed is measured."""

    candidates: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = Field(
        default=(1, 10, 100, 500, 1000), min_length=1, description="Candidate counts that are timed."
    )
    samples: int = Field(default=600, ge=30, description="Timed runs of a variant at each count.")


class Recipe(_Table):
    """A named list of steps; each step is a table with `technique` and that technique's own settings."""

    name: str = Field(pattern=VARIANT_NAME, description="Also the name of the variant that the recipe makes.")
    description: str = ""
    seed: int = Field(default=0, ge=0)
    steps: tuple[dict[str, Any], ...] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _steps_name_techniques(self) -> "Recipe":
        if self.name in _TAKEN:
            raise ValueError(f"a recipe may not be called {self.name!r}: that is {_TAKEN[self.name]}")
        for position, step in enumerate(self.steps, start=1):
            if not isinstance(step.get("technique"), str):
                raise ValueError(f"recipe {self.name!r}, step {position}: `technique` is missing or not text")
        return self


class ModelCard(_Table):
    """Everything a model's folder says of it."""

    name: str = Field(pattern=MODEL_NAME, description="The model's name; also that of its folder.")
    title: str = ""
    description: str = ""
    source: Source
    # Called `features` here because `schema` is a method of pydantic's own models; in the file it is [schema].
    features: FeatureSchema = Field(alias="schema")
    data: Data | None = None
    training: dict[str, Any] = Field(default_factory=dict, description="See `slimrank train`.")
    budget: Budget = Budget()
    profile: Profile = Profile()
    policy: Policy = Policy(kind="ladder")
    recipes: tuple[Recipe, ...] = ()

    @model_validator(mode="after")
    def _recipe_names_are_unique(self) -> "ModelCard":
        names = [recipe.name for recipe in self.recipes]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"recipe names must be unique; repeated: {', '.join(repeated)}")
        return self

    @model_validator(mode="after")
    def _policy_names_variants(self) -> "ModelCard":
        known = [BASELINE, *(recipe.name for recipe in self.recipes)]
        if unknown := sorted(self.policy.variants() - {*known}):
            raise ValueError(
                f"policy: no recipe makes a variant {unknown[0][:100]!r}; there are: {', '.join(known)}"
            )
        return self

    def recipe(self, name: str) -> Recipe:
        """The recipe of that name. Raises UnknownRecipe."""
        for recipe in self.recipes:
            if recipe.name == name:
                return recipe
        known = ", ".join(recipe.name for recipe in self.recipes) or "none"
        raise UnknownRecipe(f"model {self.name!r} has no recipe {name!r}; it has: {known}", recipe=name)


def read_card(folder: Path) -> ModelCard:
    """Read `folder`/model.toml. Raises ConfigurationError naming the field and what is wrong with it."""
    path = folder / CARD_FILE
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UnknownModel(f"there is no model {folder.name!r}", model=folder.name) from None
    except OSError as error:
        raise ConfigurationError(f"{folder.name}/{CARD_FILE} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{folder.name}/{CARD_FILE} is not TOML: {error}") from error
    try:
        card = ModelCard.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(f"{folder.name}/{CARD_FILE}: {explain(error)}") from error
    if card.name != folder.name:
        raise ConfigurationError(
            f"{folder.name}/{CARD_FILE}: `name` is {card.name!r} and must be {folder.name!r}"
        )
    return card


def model_names(models: Path) -> list[str]:
    """The names of the folders of the model repository that hold a model card, sorted.

    None where there is no repository. Raises ConfigurationError for one that cannot be read.
    """
    try:
        names = sorted(path.name for path in models.iterdir() if _is_there(path / CARD_FILE))
        if not os.access(models, os.X_OK):  # it may be listed, but not entered
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ConfigurationError(f"the models folder cannot be read: {error.strerror}") from error
    return names


def _is_there(path: Path) -> bool:
    with suppress(PermissionError):  # a folder that is closed to this process holds nothing for it
        return path.exists()
    return False


def explain(error: ValidationError) -> str:
    """One sentence for each wrong field, in the words of the file."""
    parts = []
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        where = ".".join(str(part) for part in one["loc"])
        message = one["msg"].removeprefix("Value error, ")
        parts.append(f"{where}: {message}" if where else message)
    return "; ".join(parts)
