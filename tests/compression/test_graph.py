"""Finding one's way in a graph."""

import numpy as np
import onnx
import pytest
from app.compression.graph import dense_nodes, last_dense_nodes, name_nodes
from onnx import helper

from tests.compression.parts import a_graph, edited


def dense(source: str, weight: str, target: str, kind: str = "MatMul") -> onnx.NodeProto:
    return helper.make_node(kind, [source, weight], [target], name=f"dense to {target}")


def node(kind: str, *names: str) -> onnx.NodeProto:
    *sources, target = names
    return helper.make_node(kind, sources, [target], name=f"{kind} to {target}")


def names(nodes: list[onnx.NodeProto]) -> set[str]:
    return {one.output[0] for one in nodes}


def test_a_chain_ends_in_its_last_dense_node() -> None:
    graph = a_graph(
        [
            dense("x", "first", "a"),
            node("Relu", "a", "b"),
            dense("b", "second", "c"),
            node("Sigmoid", "c", "score"),
        ],
        {"first": np.ones((4, 3)), "second": np.ones((3, 1))},
    )
    assert names(dense_nodes(graph)) == {"a", "c"}
    assert names(last_dense_nodes(graph)) == {"c"}


def test_every_branch_that_reaches_the_score_has_a_last_node_of_its_own() -> None:
    graph = a_graph(
        [
            dense("x", "shared", "a"),
            dense("a", "wide", "b", "Gemm"),
            dense("a", "deep", "c"),
            node("Add", "b", "c", "d"),
            node("Mul", "d", "a", "score"),
        ],
        {"shared": np.ones((4, 3)), "wide": np.ones((3, 1)), "deep": np.ones((3, 1))},
    )
    # `a` reaches the score beside the others as well, so quantizing what it gives would show in the scores.
    assert names(last_dense_nodes(graph)) == {"a", "b", "c"}


def test_a_product_of_two_activations_is_not_dense() -> None:
    graph = a_graph(
        [dense("x", "weight", "a"), node("MatMul", "a", "x", "b"), node("MatMul", "weight", "b", "score")],
        {"weight": np.ones((4, 4))},
    )
    assert names(dense_nodes(graph)) == {"a"}
    assert names(last_dense_nodes(graph)) == {"a"}


def test_a_graph_without_dense_nodes() -> None:
    graph = a_graph([node("ReduceSum", "x", "score")], {})
    assert dense_nodes(graph) == last_dense_nodes(graph) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["", "", ""], ["MatMul_0", "Relu_1", "MatMul_2"]),
        (["one", "two", "three"], ["one", "two", "three"]),
        (["same", "same", "same"], ["same", "same_1", "same_2"]),
        (["", "MatMul_0", ""], ["MatMul_0", "MatMul_0_1", "MatMul_2"]),
        (["x_2", "", "x"], ["x_2", "Relu_1", "x"]),
        (["MatMul_2", "x", ""], ["MatMul_2", "x", "MatMul_2_"]),
    ],
)
def test_every_node_gets_a_name_of_its_own(before: list[str], after: list[str]) -> None:
    def rename(graph: onnx.ModelProto) -> None:
        for one, name in zip(graph.graph.node, before, strict=True):
            one.name = name

    graph = edited(
        a_graph([dense("x", "w", "a"), node("Relu", "a", "b"), dense("b", "w", "score")], {"w": np.eye(4)}),
        rename,
    )
    name_nodes(graph)
    assert [one.name for one in graph.graph.node] == after
