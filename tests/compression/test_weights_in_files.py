"""Weights that stay in their files: read, quantized around and written without being in memory as a whole."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from app.compression.tables import find_tables
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.errors import ConfigurationError
from app.training.graph_file import read_graph, write_graph
from app.training.rows import Prepared
from app.training.weights import NewWeight, Place, is_external, place_of, point, read_rows
from onnx import TensorProto, helper

from tests.compression.parts import READY_CARD, ready_model, scorer_of
from tests.small_model import SmallModel

TABLE_ROWS, DIMENSION = 1_200_000, 64


@pytest.fixture
def on_disk(graph: onnx.ModelProto, tmp_path: Path) -> Path:
    """The small model's graph with its weights beside it."""
    folder = tmp_path / "on disk"
    folder.mkdir()
    write_graph(graph, folder)
    return folder / "model.onnx"


def external(graph: onnx.ModelProto) -> set[str]:
    return {one.name for one in graph.graph.initializer if is_external(one)}


def test_only_large_weights_stay_in_their_files(on_disk: Path) -> None:
    assert external(read_graph(on_disk)) == set()
    sizes = {
        one.name: place_of(one).length
        for one in read_graph(on_disk, large_bytes=1).graph.initializer
        if is_external(one)
    }
    assert external(read_graph(on_disk, large_bytes=5000)) == {
        name for name, size in sizes.items() if size >= 5000
    }
    assert len(sizes) > len(external(read_graph(on_disk, large_bytes=5000))) > 0


def test_a_graph_whose_weights_stay_in_files_is_written_with_the_same_bytes(
    on_disk: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    again.mkdir()
    write_graph(read_graph(on_disk, large_bytes=1), again)
    for name in ("model.onnx", "model.onnx.data"):
        assert (again / name).read_bytes() == (on_disk.parent / name).read_bytes()


def test_rows_of_a_table_in_a_file_are_those_of_the_graph(graph: onnx.ModelProto, on_disk: Path) -> None:
    found = find_tables(read_graph(on_disk, large_bytes=1))
    assert {is_external(one.tensor) for one in found if one.size_bytes >= 1024} == {True}
    for ours, theirs in zip(found, find_tables(graph), strict=True):
        np.testing.assert_array_equal(ours.read(1, 3), theirs.read()[1:3])
        np.testing.assert_array_equal(np.concatenate([rows for _, rows in ours.chunks(7)]), theirs.read())


def test_a_file_that_is_too_short_is_refused(on_disk: Path) -> None:
    data = on_disk.parent / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ConfigurationError, match=r"model\.onnx\.data does not hold [\d,]+ bytes of '"):
        read_graph(on_disk, large_bytes=1)


def test_a_file_that_is_cut_after_it_was_read_is_refused_when_it_is_copied(
    on_disk: Path, tmp_path: Path
) -> None:
    graph = read_graph(on_disk, large_bytes=1)
    (on_disk.parent / "model.onnx.data").write_bytes(b"short")
    with pytest.raises(ConfigurationError, match=r"model\.onnx\.data ends before the weights"):
        write_graph(graph, tmp_path)


@pytest.mark.parametrize("name", ["quantize_dynamic", "quantize_static"])
def test_dense_layers_are_quantized_around_tables_in_files(
    graph: onnx.ModelProto, on_disk: Path, workshop: Workshop, prepared: Prepared, tmp_path: Path, name: str
) -> None:
    technique = techniques()[name]
    loaded = read_graph(on_disk, large_bytes=1 << 40)
    for tensor, table in zip(
        loaded.graph.initializer, read_graph(on_disk, large_bytes=1).graph.initializer, strict=True
    ):
        if "tables" in tensor.name and is_external(table):
            tensor.CopyFrom(table)
    tables = external(loaded)
    assert len(tables) == 2
    before = loaded.SerializeToString(deterministic=True)
    config = technique.configure({}, "a test")
    made, plain = (technique.apply(one, config, workshop) for one in (loaded, graph))
    assert loaded.SerializeToString(deterministic=True) == before
    assert external(made) == tables
    assert [one.name for one in made.graph.input] == [one.name for one in graph.graph.input]
    ours, theirs = (
        scorer_of(one, tmp_path / str(at)).score_rows(prepared.test) for at, one in enumerate((made, plain))
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_new_weight_is_the_same_in_memory_and_in_a_file(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float16).reshape(6, 2)
    found = []
    for folder in (None, tmp_path):
        weight = NewWeight("new", (6, 2), np.float16, folder)
        for start in (0, 4):
            weight.append(values[start : start + 4])
        found.append(weight.tensor())
    for tensor in found:
        assert (tensor.name, tensor.data_type, list(tensor.dims)) == ("new", TensorProto.FLOAT16, [6, 2])
        np.testing.assert_array_equal(read_rows(tensor, 1, 5), values[1:5])
    assert [is_external(one) for one in found] == [False, True]


def test_a_ready_model_with_quantized_tables_gets_its_verdict(
    small_model: SmallModel, graph: onnx.ModelProto, tmp_path: Path
) -> None:
    # Which form of such small tables is quicker must not decide: with the other one too little is saved.
    card = READY_CARD[: READY_CARD.index("[[recipes]]")] + (
        '[[recipes]]\nname = "small"\nsteps = [\n'
        '    { technique = "quantize_tables", bits = 4, min_rows = 50, hot_rows = 0.1, encoding = "contrib" },\n'
        '    { technique = "quantize_static", rows = 300 },\n]\n'
    )
    model = ready_model(small_model, graph, tmp_path, card)
    baseline, small = model.compress()
    assert (baseline.outcome, small.outcome) == ("baseline", "passed")
    assert list((model.store_folder / ".staging").iterdir()) == []


def test_a_large_table_takes_a_small_part_of_its_size_in_memory(tmp_path: Path) -> None:
    for name in ("scratch", "made"):
        (tmp_path / name).mkdir()
    some = np.random.default_rng(0).standard_normal((12_000, DIMENSION)).astype(np.float32)
    with (tmp_path / "table").open("wb") as file:
        for _ in range(TABLE_ROWS // len(some)):
            some.tofile(file)
    table = TensorProto(name="table", data_type=TensorProto.FLOAT, dims=[TABLE_ROWS, DIMENSION])
    point(table, Place(Path("table"), 0, 4 * TABLE_ROWS * DIMENSION))
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "item_id"], ["rows"]),
            helper.make_node("ReduceMean", ["rows"], ["score"], axes=[1], keepdims=0),
        ],
        "large",
        [helper.make_tensor_value_info("item_id", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        [table],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    command = [sys.executable, "-m", "tests.programs.large_table", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    size = 4 * TABLE_ROWS * DIMENSION
    assert (tmp_path / "made" / "model.onnx.data").stat().st_size == pytest.approx(size * 36 / 256, rel=0.001)
    assert int(ran.stdout) < size / 2, "the codes of two forms on trial, ranges and a chunk"
