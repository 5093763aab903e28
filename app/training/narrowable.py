"""What a ranker offers so that compression can take columns and features away from it."""

from typing import Protocol, runtime_checkable

from app.training.layers import FeatureEmbedding
from app.training.narrowing import Kept


@runtime_checkable
class Narrowable(Protocol):
    """A ranker over one FeatureEmbedding that can do without some of its columns, or whole features."""

    embedding: FeatureEmbedding
    aligned: bool
    """Whether features are multiplied with each other column by column, so that all must keep the same columns."""

    def narrow(self, kept: Kept) -> None:
        """Remove the other columns, and all that reads them, in place. At least one feature of each side stays."""
