"""Codebooks of product-quantized tables are tuned by the loss, while codes and everything else stay."""

import copy

import numpy as np
from pydantic import Field
from torch import nn

from app.compression.codebook_settings import CodebookSettings
from app.compression.codebooks import code_table, look_ups, read_through
from app.compression.teaching import TeachingConfig, teach
from app.compression.technique import Technique, without_tables
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.rows import Rows

# Look-ups of so many rows tell what a row of a table weighs.
_COUNTED_ROWS = 1_000_000


class TuneCodebooksConfig(CodebookSettings, TeachingConfig):
    """The settings of the product_quantize_tables that follows, and how the codebooks are tuned."""

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
        clustering = config.clustering(table.embedding_dim, workshop.seed)
        codes.append(code_table(table, config.row_weights(counts), clustering))
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
