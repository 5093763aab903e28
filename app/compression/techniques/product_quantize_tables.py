"""Product-quantized tables: a byte for each few numbers of a row, and a small codebook for each place of them."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper
from pydantic import Field

from app.compression.codebook_settings import CodebookSettings
from app.compression.frequency import row_frequencies
from app.compression.product_quantization import ProductCode, product_quantize, subvector_length
from app.compression.tables import Lookup, Table, find_tables, replace_table
from app.compression.technique import Technique, without_tables
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed


class ProductQuantizeTablesConfig(CodebookSettings):
    """Which tables are quantized, how finely, by what weights, and how they are stored."""

    storage: Literal["float16", "float32"] = Field(default="float16", description="Type of the codebook.")
    hot_rows: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="First rows of a table that stay exact; a vocabulary has its most frequent ids there.",
    )


def apply(model: onnx.ModelProto, config: ProductQuantizeTablesConfig, workshop: Workshop) -> onnx.ModelProto:
    """The graph with every table quantized that is large enough and gets smaller by it. Raises CompressionFailed."""
    rows = workshop.rows(TECHNIQUE.name)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    chosen = [one for one in find_tables(made) if _gains(one, config)]
    if not chosen:
        raise CompressionFailed(
            f"{TECHNIQUE.name}: no table of at least {config.min_rows} rows would get smaller; lower min_rows or "
            "clusters, or leave the step out"
        )
    for position, table in enumerate(chosen):
        workshop.progress(position / len(chosen), f"quantizing {table.name}")
        weights = config.row_weights(row_frequencies(table, rows))
        # What stays exact is no business of the centroids.
        weights[: min(config.hot_rows, table.rows - 1)] = 0.0
        clustering = config.clustering(table.dimension, workshop.seed)
        _replace(made, table, product_quantize(table.chunks, weights, clustering), config)
    return made


def _gains(table: Table, config: ProductQuantizeTablesConfig) -> bool:
    length = subvector_length(table.dimension, config.subvector)
    codes = table.rows * (table.dimension // length)
    codebook = config.clusters * table.dimension * np.dtype(config.storage).itemsize
    hot = 4 * config.hot_rows * table.dimension
    return table.rows >= config.min_rows and codes + codebook + hot < table.size_bytes


def _replace(
    model: onnx.ModelProto, table: Table, code: ProductCode, config: ProductQuantizeTablesConfig
) -> None:
    places, clusters, length = code.centroids.shape
    with np.errstate(over="ignore"):  # an infinity is refused below
        codebook = code.centroids.reshape(-1, length).astype(config.storage)
    if not np.isfinite(codebook).all():
        raise CompressionFailed(
            f"{TECHNIQUE.name}: {table.name!r} has numbers that {config.storage} cannot hold; set storage = 'float32'"
        )
    # Codes are local to their place, so that they fit in a byte; the codebooks stand below one another.
    weights = {
        "codes": code.codes,
        "codebook": codebook,
        "offsets": np.arange(places, dtype=np.int64) * clusters,
        "width": np.array([table.dimension], dtype=np.int64),
    }
    if config.hot_rows:
        weights |= {
            "hot": table.read(0, config.hot_rows),
            "num_hot": np.array(config.hot_rows, dtype=np.int64),
        }
        weights |= {"none": np.array(0, dtype=np.int64), "last": np.array([-1], dtype=np.int64)}
    names = {name: f"{table.name}.{name}" for name in weights}
    initializers = [_initializer(values, names[name]) for name, values in weights.items()]
    replace_table(model, table, initializers, lambda lookup: list(_nodes(lookup, names, config)))


def _initializer(values: Array, name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values), name)


def _nodes(
    lookup: Lookup, weights: dict[str, str], config: ProductQuantizeTablesConfig
) -> Iterator[onnx.NodeProto]:
    """From the indices to the rows, in standard operators.

    codes[indices] [..., places] -> + offsets -> codebook [..., places, length] -> [..., width]
    """
    v, make = lookup.value, helper.make_node
    decoded = v("decoded") if config.hot_rows else lookup.output
    found = v("found") if config.storage == "float16" else v("subvectors")
    yield make("Gather", [weights["codes"], lookup.indices], [v("codes")])
    yield make("Cast", [v("codes")], [v("local")], to=onnx.TensorProto.INT64)
    yield make("Add", [v("local"), weights["offsets"]], [v("centroids")])
    yield make("Gather", [weights["codebook"], v("centroids")], [found])
    if config.storage == "float16":
        yield make("Cast", [found], [v("subvectors")], to=onnx.TensorProto.FLOAT)
    yield make("Shape", [lookup.indices], [v("places")])
    yield make("Concat", [v("places"), weights["width"]], [v("shape")], axis=0)
    yield make("Reshape", [v("subvectors"), v("shape")], [decoded])
    if config.hot_rows:
        yield make("Cast", [lookup.indices], [v("indices")], to=onnx.TensorProto.INT64)
        yield make("Less", [v("indices"), weights["num_hot"]], [v("is_hot")])
        yield make("Where", [v("is_hot"), v("indices"), weights["none"]], [v("hot_indices")])
        yield make("Gather", [weights["hot"], v("hot_indices")], [v("hot")])
        yield make("Unsqueeze", [v("is_hot"), weights["last"]], [v("mask")])
        yield make("Where", [v("mask"), v("hot"), decoded], [lookup.output])


TECHNIQUE = Technique(
    name="product_quantize_tables",
    stage="graph",
    config=ProductQuantizeTablesConfig,
    apply=apply,
    summary="Tables as one byte for each few numbers of a row, found by k-means that weighs rows by their look-ups.",
    source="Jegou et al., Product Quantization, TPAMI 2011; Wang et al., MEC, 2025 (arXiv 2502.15355)",
    needs_rows=True,
    misfit=without_tables,
)
