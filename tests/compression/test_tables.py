"""Which weights of a graph are embedding tables, and putting something else in the place of one."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from app.compression.tables import Lookup, find_tables, replace_table
from app.encoding import Array
from onnx import TensorProto, helper, numpy_helper

from tests.compression.parts import edited

ROWS, DIMENSION = 6, 4
TABLE = np.arange(ROWS * DIMENSION, dtype=np.float32).reshape(ROWS, DIMENSION)


def node(kind: str, sources: Sequence[str], target: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, sources, [target], **attributes)


def lookup_graph(nodes: Sequence[onnx.NodeProto], **more: Array) -> onnx.ModelProto:
    """A graph from the ids `a` [n], `b` [n, 2] and the numbers `x` [n, 4] to `y`, with `table` among its weights."""
    weights = {"table": TABLE, "one": np.array([1]), "flat": np.array([-1]), **more}
    inputs = {"a": (TensorProto.INT64, ["n"]), "b": (TensorProto.INT64, ["n", 2])}
    inputs |= {"x": (TensorProto.FLOAT, ["n", 4])}
    graph = helper.make_graph(
        list(nodes),
        "look-ups",
        [helper.make_tensor_value_info(name, *one) for name, one in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def run(model: onnx.ModelProto, n: int = 3) -> Array:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    feed = {"a": rng.integers(ROWS, size=n), "b": rng.integers(ROWS, size=(n, 2))}
    feed["x"] = rng.standard_normal((n, 4), dtype=np.float32)
    found: Array = session.run(["y"], {one.name: feed[one.name] for one in session.get_inputs()})[0]
    return found


def test_the_tables_of_an_exported_model(graph: onnx.ModelProto) -> None:
    found = {one.name.split(".")[-2]: one for one in find_tables(graph)}
    assert {name: one.features for name, one in found.items()} == {
        "user_id": ("user_id",),
        "segment": ("segment",),
        "device": ("device",),
        "item_id": ("history", "item_id"),
        "category": ("category",),
    }
    assert {one.dimension for one in found.values()} == {8}
    assert found["category"].rows == 17
    assert [len(one.lookups) for one in found.values()] == [1, 1, 1, 2, 1]


@pytest.mark.parametrize(
    ("indices", "features"),
    [
        ([], ("a",)),
        ([node("Cast", ["a"], "i", to=TensorProto.INT32)], ("a",)),
        ([node("Identity", ["b"], "j"), node("Reshape", ["j", "flat"], "i")], ("b",)),
        ([node("Gather", ["b", "a"], "i")], ("b",)),
        ([node("Reshape", ["b", "flat"], "j"), node("Concat", ["a", "j"], "i", axis=0)], ("a", "b")),
        ([node("Add", ["a", "one"], "i")], ()),
        ([node("Shape", ["a"], "i")], None),
        ([node("Identity", ["one"], "i")], None),
    ],
)
def test_indices_are_followed_to_the_features_that_they_are(
    indices: list[onnx.NodeProto], features: tuple[str, ...] | None
) -> None:
    graph = lookup_graph([*indices, node("Gather", ["table", "i" if indices else "a"], "y")])
    assert [one.features for one in find_tables(graph)] == ([] if features is None else [features])


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Gather", ["table", "a"], "y", axis=1)],
        [node("Gather", ["x", "a"], "y")],
        [node("Gather", ["table", "a"], "u"), node("MatMul", ["u", "table"], "y")],
        [node("GatherElements", ["table", "b"], "y")],
    ],
    ids=["along the rows", "an activation", "tied to a layer", "elements"],
)
def test_what_is_no_table(nodes: list[onnx.NodeProto]) -> None:
    assert find_tables(lookup_graph(nodes)) == []


def test_a_table_that_a_subgraph_reads_is_none() -> None:
    inner = helper.make_graph(
        [node("Identity", ["table"], "inner")],
        "inner",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    choice = node("If", ["yes"], "z", then_branch=inner, else_branch=inner)
    graph = lookup_graph([node("Gather", ["table", "a"], "y"), choice], yes=np.array(True))
    assert find_tables(graph) == []


@pytest.mark.parametrize("step", [None, 1, 4, 100])
def test_a_table_is_read_some_rows_at_a_time(step: int | None) -> None:
    (table,) = find_tables(lookup_graph([node("Gather", ["table", "a"], "y")]))
    chunks = list(table.chunks(step))
    np.testing.assert_array_equal(np.concatenate([values for _, values in chunks]), TABLE)
    assert [start for start, _ in chunks] == list(range(0, ROWS, step or ROWS))
    assert table.size_bytes == TABLE.nbytes


def test_a_replaced_table_is_gone_and_every_look_up_gives_the_same() -> None:
    shared = lookup_graph(
        [
            node("Gather", ["table", "a"], "u"),
            node("Gather", ["table", "b"], "v"),
            node("ReduceSum", ["v", "one"], "w", keepdims=0),
            node("Add", ["u", "w"], "y"),
        ]
    )
    before = run(shared)

    def halves(lookup: Lookup) -> list[onnx.NodeProto]:
        return [
            node("Gather", ["half", lookup.indices], lookup.value("half")),
            node("Add", [lookup.value("half")] * 2, lookup.output),
        ]

    def change(model: onnx.ModelProto) -> None:
        # Old graphs list their weights among the inputs.
        model.graph.input.append(helper.make_tensor_value_info("table", TensorProto.FLOAT, TABLE.shape))
        (table,) = find_tables(model)
        replace_table(model, table, [numpy_helper.from_array(TABLE / 2, "half")], halves)

    changed = edited(shared, change)
    np.testing.assert_array_equal(run(changed), before)
    assert [one.name for one in changed.graph.initializer] == ["one", "flat", "half"]
    assert [one.name for one in changed.graph.input] == ["a", "b", "x"]
    names = [one.name for one in changed.graph.node if one.op_type in ("Gather", "Add")]
    assert len(set(names[:4])) == 4


def test_operator_sets_of_new_nodes_are_imported() -> None:
    graph = lookup_graph([node("Gather", ["table", "a"], "y")])
    (table,) = find_tables(graph)
    replace_table(
        graph, table, [], lambda one: [node("Sparkle", [one.indices], one.output, domain="com.microsoft")]
    )
    assert [(one.domain, one.version) for one in graph.opset_import] == [("", 21), ("com.microsoft", 1)]
