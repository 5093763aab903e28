"""Tables in small codes: sizes, forms that give the same in onnxruntime, hot rows, and what is refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from app.compression.frequency import row_frequencies
from app.compression.tables import find_tables
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed, ConfigurationError
from app.training.graph_file import read_graph, write_graph
from onnx import TensorProto, helper, numpy_helper

from tests.compression.parts import edited, set_weight, weights

TECHNIQUE = techniques()["quantize_tables"]
TABLE = "embedding.tables.item_id.weight"
forms = pytest.mark.parametrize("encoding", ["standard", "contrib"])


def quantize(graph: onnx.ModelProto, workshop: Workshop, **settings: Any) -> onnx.ModelProto:
    made: onnx.ModelProto = TECHNIQUE.apply(graph, TECHNIQUE.configure(settings, "a test"), workshop)
    return made


def lookup_graph(values: Array, shape: Sequence[str | int] = ("n",), opset: int = 21) -> onnx.ModelProto:
    """A graph that looks rows up and gives them."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        "look-up",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [*shape, values.shape[1]])],
        [numpy_helper.from_array(values, "table")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def rows_of(graph: onnx.ModelProto | Path, ids: Array) -> Array:
    source = graph if isinstance(graph, Path) else graph.SerializeToString()
    session = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    found: Array = session.run(["y"], {session.get_inputs()[0].name: ids})[0]
    return found


def normal(rows: int, dimension: int) -> Array:
    return np.random.default_rng(rows).standard_normal((rows, dimension)).astype(np.float32)


def operators(graph: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in graph.graph.node}


@forms
@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize(
    ("dimension", "more"),
    [
        (64, {}),
        (64, {"granularity": "per_block", "block": 16}),
        (64, {"symmetric": True}),
        (64, {"symmetric": True, "granularity": "per_block", "block": 32}),
        (24, {}),
        (8, {"ranges": "fp32"}),
    ],
)
def test_every_row_comes_back_within_its_half_step(
    workshop: Workshop, bits: int, encoding: str, dimension: int, more: dict[str, Any]
) -> None:
    values = normal(40, dimension)
    made = quantize(
        lookup_graph(values), workshop, bits=bits, encoding=encoding, clip="minmax", min_rows=1, **more
    )
    found = rows_of(made, np.arange(40))
    block = more.get("block", dimension)
    if more.get("symmetric"):
        # The side with one code less may be nearly as far.
        spread = np.abs(values.reshape(40, -1, block)).max(axis=2) / (2 ** (bits - 1) - 1)
    else:
        spread = np.ptp(values.reshape(40, -1, block), axis=2) / (2**bits - 1)
    # Ranges and products of fp16 add a little.
    allowed = np.repeat(spread, block, axis=1) * 0.51 + np.abs(values).max() * 2**-10
    assert (np.abs(found - values) <= allowed).all()
    codes = weights(made)["table.codes"]
    assert (codes.dtype, codes.shape) == (np.uint8, (40, dimension * bits // 8))
    assert "GatherBlockQuantized" in operators(made) if encoding == "contrib" else True
    assert "DequantizeLinear" not in operators(made)
    onnx.checker.check_model(made)


@pytest.mark.parametrize("granularity", ["per_row", "per_block"])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_both_forms_give_the_same_but_for_rounding(workshop: Workshop, bits: int, granularity: str) -> None:
    graph = lookup_graph(normal(50, 64))
    settings: dict[str, Any] = {"bits": bits, "granularity": granularity, "min_rows": 1, "ranges": "fp32"}
    ours, theirs = (
        rows_of(quantize(graph, workshop, encoding=one, **settings), np.arange(50))
        for one in ("standard", "contrib")
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("dimension", [5, 7, 10])
@pytest.mark.parametrize("bits", [4, 2])
def test_rows_that_fill_no_whole_bytes(workshop: Workshop, dimension: int, bits: int) -> None:
    graph = lookup_graph(normal(30, dimension))
    found = rows_of(quantize(graph, workshop, bits=bits, min_rows=1, ranges="fp16"), np.arange(30))
    assert found.shape == (30, dimension)
    assert np.corrcoef(found.ravel(), normal(30, dimension).ravel())[0, 1] > 0.9
    if dimension * bits % 8:
        with pytest.raises(CompressionFailed, match="GatherBlockQuantized needs rows that fill whole bytes"):
            quantize(graph, workshop, bits=bits, min_rows=1, encoding="contrib")


@forms
@pytest.mark.parametrize("shape", [("n",), ("n", 3), ("n", 2, 3)])
@pytest.mark.parametrize("granularity", ["per_row", "per_block"])
def test_ids_of_every_shape(
    workshop: Workshop, encoding: str, shape: tuple[str | int, ...], granularity: str
) -> None:
    values = normal(30, 32)
    graph = lookup_graph(values, shape)
    made = quantize(graph, workshop, bits=4, encoding=encoding, granularity=granularity, block=16, min_rows=1)
    for n in (0, 1, 4):
        ids = np.random.default_rng(n).integers(30, size=(n, *shape[1:]))
        found = rows_of(made, ids)
        assert found.shape == (*ids.shape, 32)
        if n:
            assert np.abs(found - values[ids]).max() < 0.5


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_graphs_of_older_operator_sets(workshop: Workshop, opset: int) -> None:
    values = normal(30, 32)
    made = quantize(lookup_graph(values, opset=opset), workshop, bits=4, min_rows=1, encoding="standard")
    assert np.abs(rows_of(made, np.arange(30)) - values).max() < 0.5


def test_a_graph_that_is_too_old_is_refused(workshop: Workshop) -> None:
    with pytest.raises(CompressionFailed, match="version 10 of ONNX's operators, and needs 11"):
        quantize(lookup_graph(normal(30, 32), opset=10), workshop, min_rows=1)


def test_fp16_is_a_way_to_store(workshop: Workshop) -> None:
    values = normal(30, 32)
    made = quantize(lookup_graph(values), workshop, bits=16, min_rows=1)
    np.testing.assert_array_equal(rows_of(made, np.arange(30)), values.astype(np.float16).astype(np.float32))
    assert weights(made)["table.fp16"].dtype == np.float16
    with pytest.raises(CompressionFailed, match="'table' has values that fp16 cannot hold"):
        quantize(lookup_graph(values * 1e6), workshop, bits=16, min_rows=1)


def test_int4_rows_of_64_take_14_percent(workshop: Workshop) -> None:
    made = weights(quantize(lookup_graph(normal(300, 64)), workshop, bits=4, encoding="standard"))
    stored = sum(values.nbytes for name, values in made.items() if name.startswith("table."))
    assert stored == 300 * (32 + 2 + 2)
    assert stored / (300 * 64 * 4) < 0.1407
    made = weights(quantize(lookup_graph(normal(300, 64)), workshop, bits=4, symmetric=True))
    stored = sum(values.nbytes for name, values in made.items() if name in ("table.codes", "table.step"))
    assert stored / (300 * 64 * 4) < 0.1329
    assert "table.low" not in made


@pytest.mark.parametrize("bits", [4, 2])
@forms
def test_hot_rows_come_back_as_with_8_bits(
    graph: onnx.ModelProto, workshop: Workshop, bits: int, encoding: str
) -> None:
    (table,) = find_tables(alone(graph))
    frequencies = row_frequencies(table, workshop.rows("a test"))
    order = np.argsort(-frequencies, kind="stable")

    def errors(**settings: Any) -> Array:
        made = quantize(alone(graph), workshop, encoding=encoding, min_rows=1, **settings)
        found = rows_of(made, np.arange(table.rows))
        return np.asarray(np.abs(found - table.read()).max(axis=1))[order]

    few, many, mixed = errors(bits=bits), errors(bits=8), errors(bits=bits, hot_rows=0.1)
    hot = round(0.1 * table.rows)
    assert mixed[:hot].mean() < 2 * many[:hot].mean() < few[:hot].mean()
    np.testing.assert_array_equal(mixed[hot:], few[hot:])


def alone(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The look-up of one table of the small model by its item, without everything else."""
    made = lookup_graph(weights(graph)[TABLE])
    made.graph.input[0].name = made.graph.node[0].input[1] = "item_id"
    made.graph.initializer[0].name = made.graph.node[0].input[0] = TABLE
    return made


def test_hot_rows_are_a_share_or_a_number(graph: onnx.ModelProto, workshop: Workshop) -> None:
    def count(hot_rows: float) -> int:
        slots = weights(quantize(graph, workshop, bits=4, min_rows=100, hot_rows=hot_rows))[f"{TABLE}.slots"]
        assert slots.dtype == np.uint8
        return int(slots.max())

    rows = weights(graph)[TABLE].shape[0]
    assert count(0.2) == round(0.2 * rows)
    assert count(7) == 7
    seen = np.count_nonzero(
        row_frequencies(next(one for one in find_tables(graph) if one.name == TABLE), workshop.rows("a test"))
    )
    assert count(100_000) == seen


def test_hot_rows_need_rows_and_few_bits(graph: onnx.ModelProto, workshop: Workshop) -> None:
    with pytest.raises(CompressionFailed, match=r"keeping hot rows needs rows"):
        quantize(graph, replace(workshop, prepared=None), bits=4, hot_rows=0.1, min_rows=1)
    with pytest.raises(ConfigurationError, match="hot_rows keep 8 bits, and go with bits = 4 or bits = 2"):
        TECHNIQUE.configure({"bits": 8, "hot_rows": 0.1}, "a recipe")


def test_small_tables_are_left_alone(graph: onnx.ModelProto, workshop: Workshop) -> None:
    before = {one.name for one in find_tables(graph)}
    left = {one.name for one in find_tables(quantize(graph, workshop, min_rows=100))}
    assert before - left == {TABLE, TABLE.replace("item_id", "user_id")}
    with pytest.raises(CompressionFailed, match="no embedding table of the graph has 10000 rows"):
        quantize(graph, workshop, min_rows=10_000)


def test_a_table_that_would_not_get_smaller_is_left_alone(workshop: Workshop) -> None:
    with pytest.raises(CompressionFailed, match=r"no embedding table .* gets smaller"):
        quantize(lookup_graph(normal(300, 1)), workshop, bits=4)


def test_values_that_are_not_finite_are_refused(graph: onnx.ModelProto, workshop: Workshop) -> None:
    values = weights(graph)[TABLE].copy()
    values[3, 2] = np.inf
    with pytest.raises(CompressionFailed, match=rf"{TABLE!r} has values that are not"):
        quantize(edited(graph, lambda copy: set_weight(copy, TABLE, values)), workshop, min_rows=100)


def test_tables_in_files_are_coded_from_file_to_file(workshop: Workshop, tmp_path: Path) -> None:
    graph = lookup_graph(normal(30_000, 64))
    folders = {name: tmp_path / name for name in ("before", "scratch", "after", "inline")}
    for folder in folders.values():
        folder.mkdir()
    write_graph(graph, folders["before"])
    external = read_graph(folders["before"] / "model.onnx", large_bytes=1)
    settings: dict[str, Any] = {"bits": 4, "encoding": "standard"}
    made = quantize(external, replace(workshop, scratch=folders["scratch"]), **settings)
    write_graph(made, folders["after"])
    write_graph(quantize(graph, workshop, **settings), folders["inline"])
    for name in ("model.onnx", "model.onnx.data"):
        assert (folders["after"] / name).read_bytes() == (folders["inline"] / name).read_bytes()
    assert len(list(folders["scratch"].iterdir())) == 3, "codes, steps and lows"
    ids = np.arange(30_000)
    np.testing.assert_array_equal(
        rows_of(folders["after"] / "model.onnx", ids), rows_of(quantize(graph, workshop, **settings), ids)
    )
