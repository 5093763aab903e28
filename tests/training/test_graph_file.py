"""Graphs on disk, and the contract of their inputs and outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from app.errors import ConfigurationError
from app.training.graph_file import check_contract, count_parameters, read_graph, write_graph
from onnx import TensorProto, helper, numpy_helper

from tests.training.lessons import ITEM, USER, schema_of

SIZES = {"tiny": 1, "inline": 255, "page": 1024, "external": 256, "large": 5000}
"""Number of 32-bit elements of each weight: 1,024 bytes are 256 of them."""


def summing_graph(sizes: dict[str, int] | None = None) -> onnx.ModelProto:
    """y = x + the sum of every weight."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal(size).astype(np.float32), name)
        for name, size in (sizes or SIZES).items()
    ]
    nodes, total = [], "x"
    for weight in weights:
        nodes.append(helper.make_node("ReduceSum", [weight.name], [f"sum_{weight.name}"], keepdims=1))
        nodes.append(helper.make_node("Add", [total, f"sum_{weight.name}"], [f"to_{weight.name}"]))
        total = f"to_{weight.name}"
    nodes.append(helper.make_node("Identity", [total], ["y"]))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    return model_of(helper.make_graph(nodes, "sums", [x], [y], weights))


def model_of(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def places(folder: Path) -> dict[str, dict[str, Any]]:
    """Where the bytes of each weight outside model.onnx are."""
    light = onnx.load(folder / "model.onnx", load_external_data=False)
    return {
        one.name: {entry.key: entry.value for entry in one.external_data}
        for one in light.graph.initializer
        if one.data_location == TensorProto.EXTERNAL
    }


def test_weights_from_1024_bytes_on_stand_outside_on_whole_pages(tmp_path: Path) -> None:
    write_graph(summing_graph(), tmp_path)
    found = places(tmp_path)
    assert set(found) == {"page", "external", "large"}
    assert [int(one["offset"]) for one in found.values()] == [0, 4096, 8192]
    assert {name: int(one["length"]) for name, one in found.items()} == {
        name: 4 * SIZES[name] for name in found
    }
    assert {one["location"] for one in found.values()} == {"model.onnx.data"}
    assert (tmp_path / "model.onnx.data").stat().st_size == 8192 + 4 * SIZES["large"]


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = summing_graph()
    before = model.SerializeToString(deterministic=True)
    write_graph(model, tmp_path)
    assert model.SerializeToString(deterministic=True) == before


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write_graph(summing_graph(), tmp_path / name)
    for file in ("model.onnx", "model.onnx.data"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_a_graph_from_disk_gives_the_same_and_can_be_written_again(tmp_path: Path) -> None:
    model = summing_graph()
    write_graph(model, tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    write_graph(read_graph(tmp_path / "model.onnx"), again)
    x = np.array([0.0, 10.0], dtype=np.float32)
    expected = x + sum(numpy_helper.to_array(one).sum() for one in model.graph.initializer)
    for source in (model.SerializeToString(), tmp_path / "model.onnx", again / "model.onnx"):
        found = ort.InferenceSession(source, providers=["CPUExecutionProvider"]).run(["y"], {"x": x})[0]
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_graph_of_small_weights_alone(tmp_path: Path) -> None:
    write_graph(summing_graph({"tiny": 1}), tmp_path)
    assert places(tmp_path) == {}
    assert (tmp_path / "model.onnx.data").read_bytes() == b""


@pytest.mark.parametrize(
    "dtype",
    [TensorProto.INT8, TensorProto.UINT4, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT64],
)
@pytest.mark.parametrize("raw", [True, False])
def test_weights_of_every_type_keep_their_values(tmp_path: Path, dtype: int, raw: bool) -> None:
    values = np.arange(4000, dtype=np.float32) % 16
    weight = helper.make_tensor("weight", dtype, [4000], values)
    if raw:
        weight = numpy_helper.from_array(numpy_helper.to_array(weight), "weight")
    x, y = (
        helper.make_tensor_value_info("x", dtype, [4000]),
        helper.make_tensor_value_info("y", dtype, [4000]),
    )
    graph = helper.make_graph([helper.make_node("Identity", ["weight"], ["y"])], "one", [x], [y], [weight])
    write_graph(model_of(graph), tmp_path)
    (found,) = read_graph(tmp_path / "model.onnx").graph.initializer
    assert found.data_type == dtype
    np.testing.assert_array_equal(numpy_helper.to_array(found).astype(np.float32), values)
    assert set(places(tmp_path)) == {"weight"}


def test_parameters_are_counted_without_their_values(tmp_path: Path) -> None:
    write_graph(summing_graph(), tmp_path)
    (tmp_path / "model.onnx.data").unlink()
    assert count_parameters(tmp_path) == sum(SIZES.values())


@pytest.mark.parametrize("content", [b"", b"no graph at all", None])
def test_a_file_that_is_no_graph(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if content is None:
        write_graph(summing_graph(), tmp_path)
        content = path.read_bytes()[:-30]
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^model.onnx is not an ONNX graph that can be used: \S"):
        read_graph(path)


def test_an_absent_graph_or_its_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model.onnx, or its external data, does not exist"):
        read_graph(tmp_path / "model.onnx")
    write_graph(summing_graph(), tmp_path)
    (tmp_path / "model.onnx.data").unlink()
    with pytest.raises(ConfigurationError, match=r"model.onnx"):
        read_graph(tmp_path / "model.onnx")


SCHEMA = schema_of(USER, ITEM, {"name": "image", "side": "item", "kind": "vector", "dimension": 2})
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
INPUTS: dict[str, Any] = {
    "user_id": (INT64, ["r"]),
    "item_id": (INT64, ["n"]),
    "image": (FLOAT, ["n", 2]),
    "row_request": (INT64, ["n"]),
}
OUTPUTS: dict[str, Any] = {"score": (FLOAT, ["n"])}


def contract_graph(inputs: dict[str, Any], outputs: dict[str, Any]) -> onnx.ModelProto:
    """A graph of nothing but its inputs and outputs, without those that are None."""
    infos = [
        [helper.make_tensor_value_info(name, *one) for name, one in side.items() if one is not None]
        for side in (inputs, outputs)
    ]
    return model_of(helper.make_graph([], "nothing", *infos))


def test_a_graph_that_keeps_the_contract() -> None:
    check_contract(contract_graph(INPUTS, OUTPUTS), SCHEMA)
    check_contract(contract_graph(dict(reversed(INPUTS.items())), {"score": (FLOAT, [None])}), SCHEMA)


@pytest.mark.parametrize(
    ("inputs", "outputs", "why"),
    [
        ({"age": (INT64, ["r"])}, {}, "has an input 'age', which the schema does not have"),
        ({"image": None}, {}, "has no input 'image'"),
        ({"row_request": None}, {}, "has no input 'row_request'"),
        ({"user_id": (TensorProto.INT32, ["r"])}, {}, "input 'user_id' is INT32 and must be INT64"),
        ({"image": (TensorProto.DOUBLE, ["n", 2])}, {}, "input 'image' is DOUBLE and must be FLOAT"),
        ({"image": (FLOAT, ["n", 3])}, {}, r"input 'image' must have the shape \['any', 2\]"),
        ({"image": (FLOAT, ["n", "m"])}, {}, r"input 'image' must have the shape \['any', 2\]"),
        ({"image": (FLOAT, ["n"])}, {}, r"input 'image' must have the shape \['any', 2\]"),
        ({"item_id": (INT64, ["n", 1])}, {}, r"input 'item_id' must have the shape \['any'\]"),
        ({"item_id": (INT64, [])}, {}, r"input 'item_id' must have the shape \['any'\]"),
        ({"item_id": (INT64, [5])}, {}, "input 'item_id' .* with a first dimension that varies"),
        ({}, {"score": None, "logit": (FLOAT, ["n"])}, "must have one output, 'score'; it has: logit"),
        ({}, {"more": (FLOAT, ["n"])}, "must have one output, 'score'; it has: score, more"),
        ({}, {"score": (FLOAT, ["n", 1])}, r"output 'score' must have the shape \['any'\]"),
        ({}, {"score": (TensorProto.FLOAT16, ["n"])}, "output 'score' is FLOAT16 and must be FLOAT"),
    ],
)
def test_what_differs_from_the_contract_is_named(
    inputs: dict[str, Any], outputs: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        check_contract(contract_graph(INPUTS | inputs, OUTPUTS | outputs), SCHEMA)
