"""The settings that say what codebooks tables get, shared by the step that tunes them and the one that stores them."""

from pydantic import Field

from app.compression.product_quantization import MAX_CLUSTERS, Clustering, subvector_length
from app.compression.technique import TechniqueConfig
from app.encoding import Array


class CodebookSettings(TechniqueConfig):
    """Which tables are product-quantized, how finely, and by what weights of their rows."""

    subvector: int = Field(
        default=4,
        ge=1,
        le=256,
        description="Numbers of a row that share one byte; where they do not divide a row, its largest divisor below.",
    )
    clusters: int = Field(default=256, ge=2, le=MAX_CLUSTERS, description="Centroids of each place.")
    iterations: int = Field(default=15, ge=1, le=200, description="Rounds of k-means.")
    min_rows: int = Field(default=1000, ge=1, description="Smaller tables are left alone.")
    frequency_power: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Power of a row's look-ups in training that it weighs by; 0: all rows alike.",
    )

    def clustering(self, width: int, seed: int) -> Clustering:
        """How centroids are found for rows of `width` numbers."""
        return Clustering(subvector_length(width, self.subvector), self.clusters, self.iterations, seed)

    def row_weights(self, look_ups: Array) -> Array:
        """What each row weighs, float64 [rows]: ids of later requests may be some that training never looked up."""
        weights: Array = (look_ups + 1.0) ** self.frequency_power
        return weights
