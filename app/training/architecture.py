"""What an architecture is, and how the architectures of this project are found.

An architecture is one file in app/training/architectures/ that ends in `ARCHITECTURE = Architecture(...)`. Its module
keeps the torch contract: `module(inputs, row_request) -> logits`, with request features as [num_requests, ...], item
features as [num_candidates, ...], `row_request` as int64 [num_candidates] and logits as float32 [num_candidates]. It is
also `Narrowable` (app/training/narrowable.py), so that compression can take columns and features away.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from app.encoding import Encoder
from app.errors import ConfigurationError
from app.model_card import explain
from app.plugins import parts_of
from app.training import architectures as _folder
from app.training.hashed_tables import TableConfig

Width = Annotated[int, Field(ge=1)]
"""Width of a hidden layer."""


class ArchitectureConfig(BaseModel):
    """Base of every architecture's configuration: frozen, unknown fields are errors, and any table may be hashed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: dict[str, TableConfig] = Field(
        default_factory=dict,
        description="By feature, a table with fewer rows than ids; without one, each id has a row of its own.",
    )


@dataclass(frozen=True)
class Architecture:
    """A family of rankers."""

    name: str
    config: type[ArchitectureConfig]
    module: Callable[[Encoder, Any], nn.Module]
    source: str
    """The paper it follows."""


@cache
def architectures() -> Mapping[str, Architecture]:
    """Every architecture by name."""
    return parts_of(_folder, "ARCHITECTURE")


def build(name: str, config: Mapping[str, Any], encoder: Encoder) -> nn.Module:
    """A new module with random weights. Raises ConfigurationError naming the architecture and the field."""
    known = architectures()
    if name not in known:
        raise ConfigurationError(f"there is no architecture {name!r}; there are: {', '.join(known)}")
    try:
        checked = known[name].config.model_validate(dict(config))
    except ValidationError as error:
        raise ConfigurationError(f"architecture {name!r}: {explain(error)}") from error
    return known[name].module(encoder, checked)
