"""A seeded click model: what the best possible ranker could reach is known, and any size can be had.

Users and items have a latent vector and a bias, and an item a price and a category; the chance of a click is

    p = sigmoid(sharpness * (u . v) + bias of the user + bias of the item - price + bias of the device)

and every label is one draw from it. Ids are Zipf distributed, as traffic is. The true p gives the Bayes-optimal AUC:
no ranker can do better on these rows, but by chance. With `brands`, items come in groups that are known and have most
of their taste and bias in common, as in a catalog whose metadata say something: what is learned of an item with many
rows then tells of one with few.
"""

from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from app.encoding import Array
from app.training.data.dataset import RawTables
from app.training.data.source import Place, Source, SourceConfig
from app.training.metrics import auc

DEVICES = ("phone", "tablet", "desktop", "television")


class SyntheticConfig(SourceConfig):
    """Sizes and shape of the click model."""

    users: int = Field(default=2_000, ge=2, le=50_000_000, description="Number of users.")
    items: int = Field(default=1_000, ge=2, le=50_000_000, description="Number of items.")
    interactions: int = Field(default=50_000, ge=10, le=200_000_000, description="Number of rows.")
    zipf: float = Field(
        default=1.05, ge=0, le=3, description="Exponent of both id distributions; 0 is uniform."
    )
    user_zipf: float | None = Field(
        default=None, ge=0, le=3, description="Exponent of the users' distribution, where it has its own."
    )
    dimension: int = Field(default=4, ge=1, le=64, description="Length of the latent vectors.")
    sharpness: float = Field(default=2.0, ge=0, le=20, description="How much taste decides a click.")
    categories: int = Field(default=20, ge=1, le=100_000, description="Number of item categories.")
    brands: int = Field(default=0, ge=0, le=1_000_000, description="Number of item brands; 0: none.")
    brand_share: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="Share of the variance of items' taste and bias that a brand decides.",
    )
    text_dimension: int = Field(
        default=0, ge=0, le=1024, description="Length of an item's text vector; 0: none."
    )
    seed: int = Field(default=0, ge=0, description="Equal seeds give equal rows.")


def read(config: SyntheticConfig, place: Place) -> RawTables:  # noqa: ARG001 - every source has this shape
    """Draw the rows.

    Columns: user_id, item_id, device, clicked, timestamp, true_probability; of users: segment; of items: category,
    price and, where asked for, brand and text.
    """
    rng = np.random.default_rng(config.seed)
    user_vectors, user_bias = _side(rng, config.users, config.dimension)
    item_vectors, item_bias = _side(rng, config.items, config.dimension)
    brand = None
    if config.brands:
        brand, item_vectors, item_bias = _share_brands(rng, item_vectors, item_bias, config)
    price = rng.gamma(2.0, 0.25, config.items).astype(np.float32)
    category = _category(item_vectors, config.categories, rng)
    user_zipf = config.zipf if config.user_zipf is None else config.user_zipf
    users = _zipf(rng, config.users, config.interactions, user_zipf)
    items = _zipf(rng, config.items, config.interactions, config.zipf)
    device = rng.integers(len(DEVICES), size=config.interactions)
    logits = config.sharpness * np.einsum("nd,nd->n", user_vectors[users], item_vectors[items])
    logits += user_bias[users] + item_bias[items] - price[items] + 0.3 * (device - 1.5)
    with np.errstate(over="ignore"):  # far below 0 the exponential is infinite, and the probability 0
        probability = 1.0 / (1.0 + np.exp(-logits))
    clicked = (rng.random(config.interactions) < probability).astype(np.float32)
    interactions = pl.DataFrame(
        {
            "user_id": _ids("u", users),
            "item_id": _ids("i", items),
            "device": pl.Series(DEVICES)[device],
            "clicked": clicked,
            "timestamp": np.arange(config.interactions, dtype=np.int64),
            "true_probability": probability.astype(np.float32),
        }
    )
    segment = (user_vectors[:, 0] > 0).astype(np.int64) * 2 + (user_bias > 0)
    user_table = pl.DataFrame({"user_id": _ids("u", np.arange(config.users)), "segment": segment.astype(str)})
    item_columns: dict[str, Any] = {
        "item_id": _ids("i", np.arange(config.items)),
        "category": _ids("c", category),
        "price": np.round(price, 3),
    }
    if brand is not None:
        item_columns["brand"] = _ids("b", brand)
    if config.text_dimension:
        projection = rng.standard_normal((config.dimension, config.text_dimension)).astype(np.float32)
        text = (item_vectors @ projection).astype(np.float32)
        item_columns["text"] = pl.Series(
            text, dtype=pl.Array(pl.Float32, config.text_dimension)
        ).arr.to_list()
    return RawTables(
        interactions,
        user_table,
        pl.DataFrame(item_columns),
        {"bayes_optimal_auc": auc(clicked, probability)},
    )


def _side(rng: np.random.Generator, count: int, dimension: int) -> tuple[Array, Array]:
    """Unit-variance latent vectors [count, dimension], scaled so that u . v has variance 1, and biases [count]."""
    vectors = rng.standard_normal((count, dimension), dtype=np.float32) / np.float32(dimension**0.25)
    return vectors, rng.standard_normal(count, dtype=np.float32) * np.float32(0.5)


def _share_brands(
    rng: np.random.Generator, vectors: Array, bias: Array, config: SyntheticConfig
) -> tuple[Array, Array, Array]:
    """A brand for each item, and items' vectors and biases mixed with those of their brand: variances stay."""
    brand: Array = rng.integers(config.brands, size=config.items)
    of_brands = _side(rng, config.brands, config.dimension)
    common, own = np.float32(config.brand_share**0.5), np.float32((1 - config.brand_share) ** 0.5)
    return brand, own * vectors + common * of_brands[0][brand], own * bias + common * of_brands[1][brand]


def _category(vectors: Array, categories: int, rng: np.random.Generator) -> Array:
    """Cut items into categories along one random direction, so that a category says something about taste."""
    weights: Array = rng.standard_normal((vectors.shape[1],))
    direction = vectors @ weights.astype(np.float32)
    ranks = np.empty(len(direction), dtype=np.int64)
    ranks[np.argsort(direction)] = np.arange(len(direction))
    return ranks * categories // len(direction)


def _zipf(rng: np.random.Generator, ids: int, draws: int, exponent: float) -> Array:
    """Draws of ids whose frequency falls with the power of their rank; which id has which rank is shuffled."""
    cumulative: Array = np.cumsum(np.arange(1, ids + 1, dtype=np.float64) ** -exponent)
    ranks = np.searchsorted(cumulative, rng.random(draws) * cumulative[-1])
    shuffled: Array = rng.permutation(ids)[np.minimum(ranks, ids - 1)]
    return shuffled


def _ids(prefix: str, numbers: Array) -> pl.Series:
    return pl.select(pl.lit(prefix) + pl.Series(numbers).cast(pl.String)).to_series()


SOURCE = Source(
    name="synthetic",
    config=SyntheticConfig,
    read=read,
    summary="A seeded click model of any size, whose Bayes-optimal AUC is known.",
)
