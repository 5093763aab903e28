"""Product quantization: the codes, and the technique on graphs of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from app.compression import product_quantization
from app.compression.product_quantization import Clustering, ProductCode, product_quantize, subvector_length
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.rows import Prepared

from tests.compression.parts import edited, scorer_of, set_weight, weights

ITEMS = "embedding.tables.item_id.weight"
QUANTIZE = techniques()["product_quantize_tables"]


def quantized(table: Array, weight: Array | None = None, **changes: Any) -> ProductCode:
    def chunks() -> Iterator[tuple[int, Array]]:
        for start in range(0, len(table), 70):
            yield start, table[start : start + 70]

    settings = {"length": 2, "clusters": 16, "iterations": 10, "seed": 0} | changes
    return product_quantize(chunks, np.ones(len(table)) if weight is None else weight, Clustering(**settings))


def errors(table: Array, code: ProductCode) -> Array:
    found: Array = ((code.decoded(np.arange(len(table))) - table) ** 2).sum(axis=1)
    return found


def a_table(rows: int = 400, width: int = 6) -> Array:
    return np.random.default_rng(0).standard_normal((rows, width), dtype=np.float32)


def test_a_table_of_few_distinct_rows_is_kept_exactly() -> None:
    table = np.repeat(a_table(rows=16), 20, axis=0)
    np.testing.assert_allclose(errors(table, quantized(table)), 0, atol=1e-10)


def test_few_different_subvectors_are_kept_though_a_sample_misses_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(product_quantization, "_SAMPLE", 50)
    values = a_table(rows=16)
    table = np.concatenate([np.repeat(values[:10], 100, axis=0), values[10:]])
    weight = np.where(np.arange(len(table)) < 1000, 1.0, 1e-9)
    np.testing.assert_allclose(errors(table, quantized(table, weight)), 0, atol=1e-10)


def test_equal_rows_and_few_of_them_are_no_obstacle() -> None:
    table = np.ones((5, 6), dtype=np.float32)
    assert errors(table, quantized(table)).max() == 0


@pytest.mark.parametrize("sample", [65_536, 100], ids=["every row", "a sample"])
def test_every_row_has_its_nearest_centroids(sample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_quantization, "_SAMPLE", sample)
    monkeypatch.setattr(product_quantization, "_CHUNK_ROWS", 33)
    table = a_table()
    code = quantized(table)
    assert (code.codes.shape, code.codes.dtype, code.centroids.shape) == ((400, 3), np.uint8, (3, 16, 2))
    for place in range(3):
        part = table[:, 2 * place : 2 * place + 2]
        distances = ((part[:, None] - code.centroids[place]) ** 2).sum(axis=2)
        assert (distances.argmin(axis=1) == code.codes[:, place]).all()


def test_more_centroids_and_shorter_subvectors_lose_less() -> None:
    table = a_table()
    coarse, more, fine = (
        errors(table, quantized(table, **one)).mean()
        for one in ({"length": 3}, {"length": 3, "clusters": 64}, {"length": 1, "clusters": 64})
    )
    assert fine < more < coarse


@pytest.mark.parametrize("sample", [65_536, 1000], ids=["every row", "a sample"])
def test_rows_that_weigh_more_are_kept_better(sample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product_quantization, "_SAMPLE", sample)
    table = a_table(rows=2000)
    weight = np.where(np.arange(2000) < 100, 1000.0, 1.0)
    hot = [errors(table, quantized(table, one))[:100].mean() for one in (weight, None)]
    assert hot[0] < 0.7 * hot[1]


@pytest.mark.parametrize(
    ("width", "most", "length"), [(64, 8, 8), (10, 4, 2), (7, 4, 1), (1, 8, 1), (6, 9, 6)]
)
def test_a_subvector_divides_the_row(width: int, most: int, length: int) -> None:
    assert subvector_length(width, most) == length


def apply(graph: onnx.ModelProto, workshop: Workshop, **settings: Any) -> onnx.ModelProto:
    config = QUANTIZE.configure({"subvector": 2, "clusters": 16, "min_rows": 100, **settings}, "a test")
    made: onnx.ModelProto = QUANTIZE.apply(graph, config, workshop)
    return made


@pytest.mark.parametrize("storage", ["float16", "float32"])
@pytest.mark.parametrize("hot_rows", [0, 20])
def test_a_graph_gives_the_scores_of_the_decoded_tables(
    storage: str,
    hot_rows: int,
    graph: onnx.ModelProto,
    workshop: Workshop,
    prepared: Prepared,
    tmp_path: Path,
) -> None:
    made = apply(graph, workshop, storage=storage, hot_rows=hot_rows)
    found = weights(made)

    def decode(copy: onnx.ModelProto) -> None:
        for name in (ITEMS, "embedding.tables.user_id.weight"):
            codes, book = found[f"{name}.codes"], found[f"{name}.codebook"].astype(np.float32)
            decoded = book[codes.astype(int) + found[f"{name}.offsets"]].reshape(len(codes), -1)
            decoded[:hot_rows] = weights(graph)[name][:hot_rows]
            set_weight(copy, name, decoded)

    expected = scorer_of(edited(graph, decode), tmp_path / "expected").score_rows(prepared.test)
    scores = scorer_of(made, tmp_path / "made").score_rows(prepared.test)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)
    assert found[f"{ITEMS}.codes"].dtype == np.uint8
    assert ITEMS not in found


def test_small_tables_and_those_that_would_grow_are_left_alone(
    graph: onnx.ModelProto, workshop: Workshop
) -> None:
    made = weights(apply(graph, workshop))
    assert "embedding.tables.segment.weight" in made
    with pytest.raises(CompressionFailed, match="no table of at least 100 rows would get smaller"):
        apply(graph, workshop, clusters=256, storage="float32")
    with pytest.raises(CompressionFailed, match="no table of at least 5000 rows would get smaller"):
        apply(graph, workshop, min_rows=5000)


def test_numbers_too_large_for_float16_are_refused(graph: onnx.ModelProto, workshop: Workshop) -> None:
    large = edited(graph, lambda copy: set_weight(copy, ITEMS, weights(graph)[ITEMS] * np.float32(1e7)))
    with pytest.raises(CompressionFailed, match="float16 cannot hold; set storage = 'float32'"):
        apply(large, workshop)
    assert f"{ITEMS}.codes" in weights(apply(large, workshop, storage="float32"))
