"""The click model: seeded, Zipf distributed, and with a best possible score that is known."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from app.training.data.dataset import RawTables
from app.training.data.source import Place
from app.training.data.sources.synthetic import SyntheticConfig
from app.training.data.sources.synthetic import read as draw
from app.training.metrics import auc

SIZES = {"users": 300, "items": 200, "interactions": 20_000}


def drawn(**config: Any) -> RawTables:
    nowhere = Path("no-folder-is-needed")
    return draw(SyntheticConfig(**(SIZES | config)), Place(nowhere, nowhere))


def shares(ids: pl.Series) -> np.ndarray:
    """Share of the rows of each id, the largest first."""
    counts = np.sort(ids.value_counts()["count"].to_numpy())[::-1]
    return counts / counts.sum()


def test_equal_seeds_give_equal_rows() -> None:
    one, same, other = drawn(text_dimension=3), drawn(text_dimension=3), drawn(text_dimension=3, seed=1)
    for name in ("interactions", "users", "items"):
        assert getattr(one, name).equals(getattr(same, name))
        assert not getattr(one, name).equals(getattr(other, name))
    assert one.facts == same.facts != other.facts


def test_every_user_and_item_has_its_features_once() -> None:
    tables = drawn(categories=7)
    assert tables.users is not None
    assert tables.items is not None
    assert tables.interactions.height == 20_000
    assert set(tables.interactions["user_id"]) <= set(tables.users["user_id"])
    assert set(tables.interactions["item_id"]) <= set(tables.items["item_id"])
    assert (tables.users["user_id"].n_unique(), tables.users.height) == (300, 300)
    assert (tables.items["item_id"].n_unique(), tables.items.height) == (200, 200)
    assert tables.items["category"].n_unique() == 7
    assert tables.items["price"].min() >= 0
    assert tables.interactions["timestamp"].is_sorted()
    assert tables.items.columns == ["item_id", "category", "price"]


def test_items_of_a_brand_are_alike_as_far_as_they_share() -> None:
    def spread_within(share: float) -> float:
        """How much of the variance of items' click rates is between items of one brand."""
        tables = drawn(
            users=50, items=400, interactions=80_000, brands=8, brand_share=share, zipf=0.0, sharpness=0.0
        )
        assert tables.items is not None
        assert tables.items["brand"].n_unique() == 8
        rows = tables.interactions.join(tables.items, on="item_id")
        logit = (pl.col("true_probability") / (1 - pl.col("true_probability"))).log() + pl.col("price")
        rates = rows.group_by("item_id", "brand").agg(logit.mean().alias("rate"))
        within = rates.group_by("brand").agg(pl.col("rate").var())["rate"].mean()
        return float(within / rates["rate"].var())  # type: ignore[arg-type, operator]

    assert spread_within(0.0) > 0.9
    assert spread_within(1.0) < 0.2


def test_brands_leave_the_variance_and_what_was_drawn_without_them() -> None:
    plain, branded = drawn(), drawn(brands=20)
    assert plain.items is not None
    assert "brand" not in plain.items.columns
    logits = [
        np.log(one / (1 - one))
        for one in (
            tables.interactions["true_probability"].to_numpy().astype(np.float64)
            for tables in (plain, branded)
        )
    ]
    assert logits[1].std() == pytest.approx(logits[0].std(), rel=0.2)


def test_traffic_is_zipf_distributed() -> None:
    expected = np.arange(1, 201) ** -1.0
    expected /= expected.sum()
    found = shares(drawn(zipf=1.0).interactions["item_id"])
    # 20,000 draws: the share of a hot item is known to a few parts in a hundred.
    np.testing.assert_allclose(found[:10], expected[:10], rtol=0.15)
    even = shares(drawn(zipf=0.0).interactions["item_id"])
    assert even[0] < 2 * even[-1]
    own = drawn(zipf=1.0, user_zipf=0.0).interactions
    assert shares(own["user_id"])[0] < 2 / 300
    np.testing.assert_allclose(shares(own["item_id"])[:10], expected[:10], rtol=0.15)


def test_labels_are_draws_from_the_true_probability() -> None:
    rows = drawn().interactions
    p, clicked = rows["true_probability"].to_numpy(), rows["clicked"].to_numpy()
    assert set(clicked) == {0.0, 1.0}
    for low in np.arange(0.0, 1.0, 0.2):
        chosen = (p >= low) & (p < low + 0.2)
        error = np.sqrt((p * (1 - p))[chosen].sum()) / chosen.sum()
        assert abs(clicked[chosen].mean() - p[chosen].mean()) < 4 * error


def test_no_score_beats_the_bayes_optimal_auc() -> None:
    tables = drawn(text_dimension=4)
    assert tables.users is not None
    assert tables.items is not None
    rows = tables.interactions.join(tables.items, on="item_id").join(tables.users, on="user_id")
    p, clicked = rows["true_probability"].to_numpy().astype(np.float64), rows["clicked"].to_numpy()
    best = tables.facts["bayes_optimal_auc"]
    assert auc(clicked, p) == pytest.approx(best, abs=1e-6)
    assert best > 0.75, "taste decides"
    rng = np.random.default_rng(0)
    scores = [p + scale * rng.standard_normal(len(p)) for scale in (0.01, 0.1, 1.0)]
    scores += [-rows["price"].to_numpy(), rows["text"].list.first().to_numpy(), rng.random(len(p))]
    scores += [
        rows[name].rank("dense").to_numpy().astype(float) for name in ("category", "segment", "device")
    ]
    # The mean label of an id knows the labels themselves, and still does not know the pair.
    scores += [
        rows.select(pl.col("clicked").mean().over(key))["clicked"].to_numpy()
        for key in ("user_id", "item_id")
    ]
    found = [auc(clicked, score) for score in scores]
    assert max(found) <= best
    assert found[:3] == sorted(found[:3], reverse=True), "the more noise, the worse"


def test_the_more_taste_decides_the_better_the_best_is() -> None:
    bests = [drawn(sharpness=value).facts["bayes_optimal_auc"] for value in (0.0, 1.0, 4.0, 20.0)]
    assert bests == sorted(bests)
    assert bests[0] < 0.78, "only biases and prices are left"
    assert bests[-1] > 0.97


def test_text_vectors_say_what_an_item_is_like() -> None:
    tables = drawn(text_dimension=6, dimension=2)
    assert tables.items is not None
    text = np.array(tables.items["text"].to_list())
    assert text.shape == (200, 6)
    assert np.linalg.matrix_rank(text, tol=1e-4) == 2, "the latent vectors, seen from 6 sides"
