"""The small model's parts as steps, evaluation and profiling are given them, and small graphs made by hand."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from app.artifact import GRAPH_FILE
from app.compression.scorer import Scorer
from app.compression.subject import Subject
from app.compression.workshop import Progress, Workshop
from app.encoding import Array
from app.machine import this_machine
from app.model_card import BASELINE, read_card
from app.report import Machine
from app.schema import SCORE
from app.training.graph_file import read_graph, write_graph
from onnx import TensorProto, helper, numpy_helper

from tests.small_model import CARD, NAME, SmallModel

READY_CARD = CARD.replace(
    """kind = "architecture"
architecture = "dcn_v2"
config = { embedding_dimension = 8, hidden = [32, 16] }
""",
    """kind = "onnx"
""",
)
"""The small model's card for its graph, made ready: nothing is exported, so a run takes less than a second."""
assert READY_CARD != CARD


def ready_model(
    small: SmallModel, graph: onnx.ModelProto, folder: Path, card: str = READY_CARD
) -> SmallModel:
    """A model whose source is a graph with its weights in a file beside it, and an empty store."""
    home = folder / "models" / NAME
    home.mkdir(parents=True)
    (home / "model.toml").write_text(card)
    (home / "encoder.json").write_bytes((small.models / NAME / "encoder.json").read_bytes())
    # Saving with external data empties the model that is given.
    copy = edited(graph, lambda one: None)
    onnx.save(copy, home / "model.onnx", save_as_external_data=True, location="weights", size_threshold=100)
    return SmallModel(folder / "models", folder / "store", small.cache)


def ignore(done: float, what: str) -> None:
    """A progress that nobody looks at."""


def graph_of(small: SmallModel) -> onnx.ModelProto:
    """The published baseline: what an export of the module gives, which takes seconds."""
    version = small.store.active(NAME).state.versions[BASELINE]
    graph = read_graph(small.store.folder(NAME, BASELINE, version) / GRAPH_FILE)
    for tensor in graph.graph.initializer:
        tensor.ClearField("data_location")
    return graph


def subject_of(small: SmallModel) -> Subject:
    folder = small.models / NAME
    return Subject(read_card(folder), folder, small.cache)


def workshop_of(subject: Subject, progress: Progress = ignore, seed: int = 0) -> Workshop:
    return Workshop(
        encoder=subject.encoder,
        prepared=subject.prepared,
        seed=seed,
        machine=this_machine(),
        progress=progress,
        teacher=subject.module,
    )


def a_machine(*instruction_sets: str) -> Machine:
    return Machine("a processor", sorted(instruction_sets), 2, 2**30, "6.1", "1.32")


def edited(graph: onnx.ModelProto, change: Callable[[onnx.ModelProto], None]) -> onnx.ModelProto:
    """A changed copy."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    change(copy)
    return copy


def scorer_of(graph: onnx.ModelProto, folder: Path) -> Scorer:
    """A session over the graph, which is written to the folder first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_graph(graph, folder)
    return Scorer(folder)


def weights(graph: onnx.ModelProto) -> dict[str, Array]:
    return {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer}


def set_weight(graph: onnx.ModelProto, name: str, values: Array) -> None:
    (tensor,) = (one for one in graph.graph.initializer if one.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))


def with_rounded_scores(graph: onnx.ModelProto, steps: int) -> onnx.ModelProto:
    """The same graph, whose scores are multiples of 1 / steps."""

    def round_them(copy: onnx.ModelProto) -> None:
        for node in copy.graph.node:
            node.output[:] = ["exact" if name == SCORE else name for name in node.output]
        copy.graph.initializer.append(numpy_helper.from_array(np.float32(steps), "steps"))
        copy.graph.node.extend(
            [
                helper.make_node("Mul", ["exact", "steps"], ["scaled"]),
                helper.make_node("Round", ["scaled"], ["rounded"]),
                helper.make_node("Div", ["rounded", "steps"], [SCORE]),
            ]
        )

    return edited(graph, round_them)


def a_graph(nodes: list[onnx.NodeProto], initializers: Mapping[str, Any]) -> onnx.ModelProto:
    """A graph from `x`, float32 [rows, 4], to `score`, float32 [rows]."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "by hand",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
            [helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, ["rows"])],
            [
                numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)
                for name, values in initializers.items()
            ],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
