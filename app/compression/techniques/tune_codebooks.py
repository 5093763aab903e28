"""Codebooks of product-quantized tables are tuned by the loss, while codes and everything else stay."""

import copy

import numpy as np
from pydantic import Field
from torch import nn

from app.compression.codebooks import code_table, look_ups, read_through
from app.compression.product_quantization import MAX_CLUSTERS, Clustering, subvector_length
from app.compression.teaching import TeachingConfig, teach
from app.compression.technique import Technique, without_tables
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.rows import Rows

# Look-ups of so many rows tell what a row of a table weighs.
_COUNTED_ROWS = 1_000_000


class TuneCodebooksConfig(TeachingConfig):
    """The settings of the product_quantize_tables that follows, and how the codebooks are tuned."""

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
    rest: bool = Field(default=False, description="Tune everything else along with the codebooks.")


def apply(module: nn.Module, config: TuneCodebooksConfig, workshop: Workshop) -> nn.Module:
    """The module with tables of at most `clusters` different subvectors at each place, tuned to lose little by it.

    Raises CompressionFailed when no table is large enough, or tuning diverges.
    """
    rows = workshop.rows(TECHNIQUE.name)
    tuned = copy.deepcopy(module)
    embeddings = (one for one in tuned.modules() if isinstance(one, nn.Embedding))
    tables = [one for one in embeddings if one.num_embeddings >= config.min_rows]
    if not tables:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: the module has no table of at least min_rows = {config.min_rows} rows"
        )
    workshop.progress(0.0, "counting look-ups")
    codes = []
    for table, counts in zip(tables, look_ups(tuned, tables, _some(rows, workshop.seed)), strict=True):
        length = subvector_length(table.embedding_dim, config.subvector)
        clustering = Clustering(length, config.clusters, config.iterations, workshop.seed)
        codes.append(code_table(table, (counts + 1.0) ** config.frequency_power, clustering))
    free = [one for one in tuned.parameters() if one.requires_grad]
    for one in free:
        one.requires_grad_(config.rest)
    with read_through(tables, codes) as coded:
        tuned.codebooks = coded  # so that they are trained, and kept of the best epoch
        teach(tuned, config, workshop)
        del tuned.codebooks
    for one in free:
        one.requires_grad_(True)
    return tuned


def _some(rows: Rows, seed: int) -> Rows:
    if len(rows) <= _COUNTED_ROWS:
        return rows
    return rows.take(np.random.default_rng(seed).integers(len(rows), size=_COUNTED_ROWS))


TECHNIQUE = Technique(
    name="tune_codebooks",
    stage="module",
    config=TuneCodebooksConfig,
    apply=apply,
    summary="Codebooks of product-quantized tables are tuned by the loss; codes stay, and so may the rest.",
    source="Codebooks learned by the loss: Jiang et al., xLightFM, SIGIR 2021; codes: Jegou et al., TPAMI 2011",
    needs_rows=True,
    misfit=without_tables,
)
