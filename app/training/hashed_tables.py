"""Embedding tables with fewer rows than ids: what a feature with a long tail may have from the start.

Several ids share memory, each in a combination of its own, so they stay apart while there are far fewer numbers. This
is learned in training and cannot be had afterwards. It pays for tables above about 100,000 rows, most of them rare.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from app.errors import ConfigurationError
from app.training.narrowing import keep_columns

EMBEDDING_STD = 0.01
# A prime; the product of a number below it and of an index, of which there are at most 2^31, fits in int64.
_PRIME = 2**31 - 1


class _HashedConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuotientRemainderConfig(_HashedConfig):
    """Ids share rows by quotient and by remainder."""

    kind: Literal["quotient_remainder"]
    rows: int = Field(
        ge=2,
        le=2**31,
        description="Rows of the remainder's table; the quotient's has cardinality / rows of them.",
    )


class RandomOffsetsConfig(_HashedConfig):
    """Ids take blocks of one array at random offsets."""

    kind: Literal["random_offsets"]
    rows: int = Field(ge=2, le=2**31, description="Blocks in the array.")
    block: int = Field(
        default=16, ge=1, le=1024, description="Numbers of one block; it must divide the embedding's width."
    )


TableConfig = Annotated[QuotientRemainderConfig | RandomOffsetsConfig, Field(discriminator="kind")]
Tables = Mapping[str, TableConfig]
"""By feature, the kind of its table; a feature that is not named has one row for each id."""


class QuotientRemainder(nn.Module):
    """The product of two rows, found by the quotient and the remainder of the index (Shi et al., arXiv 1909.02107).

    The two together are unique to each index. A vocabulary stands in order of frequency, so the most frequent ids
    differ by remainder alone, and each shares its row with rare ones.
    """

    def __init__(self, cardinality: int, width: int, config: QuotientRemainderConfig) -> None:
        super().__init__()
        self.rows = min(config.rows, cardinality)
        self.width = width
        self.remainder = nn.Embedding(self.rows, width)
        self.quotient = nn.Embedding(-(-cardinality // self.rows), width)
        nn.init.normal_(self.remainder.weight, std=EMBEDDING_STD)
        # Around 1: at first the product is the remainder's row, as large as that of a table of its own.
        nn.init.normal_(self.quotient.weight, mean=1.0, std=EMBEDDING_STD)

    def forward(self, indices: Tensor) -> Tensor:
        """int64 [...] -> float32 [..., width]."""
        quotient = torch.div(indices, self.rows, rounding_mode="floor")
        product: Tensor = self.remainder(indices % self.rows) * self.quotient(quotient)
        return product

    def keep_columns(self, columns: Tensor) -> None:
        """Leave only these columns of both tables, in place."""
        for table in (self.remainder, self.quotient):
            keep_columns(table, columns)
        self.width = len(columns)


class RandomOffsets(nn.Module):
    """Blocks of one shared array, each found by a hash of index and place (ROBE; Desai et al., arXiv 2108.02191).

    Offsets are multiples of the block, so that an index gathers whole rows of the array [rows, block]. The hash of each
    place is universal, (a * index + b) mod prime mod rows, and takes two numbers of memory, not one for each id.
    """

    def __init__(self, cardinality: int, width: int, config: RandomOffsetsConfig) -> None:
        super().__init__()
        block = min(config.block, width)
        if width % block:
            raise ConfigurationError(f"a block of {block} does not divide the embedding's width {width}")
        self.rows = min(config.rows, cardinality * (width // block))
        self.array = nn.Embedding(self.rows, block)
        nn.init.normal_(self.array.weight, std=EMBEDDING_STD)
        self.places = width // block
        self.width = width
        self.factors: Tensor
        self.shifts: Tensor
        self.register_buffer("factors", torch.randint(1, _PRIME, (self.places,)))
        self.register_buffer("shifts", torch.randint(0, _PRIME, (self.places,)))

    def forward(self, indices: Tensor) -> Tensor:
        """int64 [...] -> float32 [..., width]."""
        hashed = (indices.unsqueeze(-1) * self.factors + self.shifts) % _PRIME % self.rows
        blocks: Tensor = self.array(hashed)
        return blocks.flatten(-2)

    def keep_columns(self, columns: Tensor) -> None:
        """Only all columns can stay: every number of the array belongs to several of them."""
        if len(columns) != self.width:
            raise ConfigurationError("a table of random offsets has no columns that could go alone")


HashedTable = QuotientRemainder | RandomOffsets


def hashed_table(cardinality: int, width: int, config: TableConfig) -> HashedTable:
    """A table with random weights: int64 [...] -> float32 [..., width]. Raises ConfigurationError."""
    if isinstance(config, QuotientRemainderConfig):
        return QuotientRemainder(cardinality, width, config)
    return RandomOffsets(cardinality, width, config)
