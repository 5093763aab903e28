"""What an exported graph holds, what it leaves out, and modules that cannot be exported."""

import logging
from pathlib import Path

import onnx
import pytest
import torch
from app.errors import CompressionFailed
from app.training.architecture import build
from app.training.export import export
from torch import Tensor, nn

from tests.samples import an_encoder
from tests.training.inputs import with_large_weights

LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch.fx")


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return export(with_large_weights(build("two_tower", {}, an_encoder())), an_encoder())


def test_weights_keep_their_names(graph: onnx.ModelProto) -> None:
    module = build("two_tower", {}, an_encoder())
    found = {one.name: list(one.dims) for one in graph.graph.initializer}
    for name in ("embedding.tables.item_id.weight", "item_tower.layers.0.bias"):
        assert found[name] == list(module.state_dict()[name].shape)
    assert not any(name.startswith("ranker.") for name in found)
    onnx.checker.check_model(graph, full_check=True)


def test_nothing_is_noted_of_the_machine_or_the_run(graph: onnx.ModelProto) -> None:
    content = graph.SerializeToString()
    here = Path(__file__).resolve().parents[2]
    for text in (str(here), "site-packages", ".py", torch.__version__, "Traceback"):
        assert text.encode() not in content
    assert (graph.producer_name, graph.graph.name) == ("slimrank", "ranker")


def test_sizes_that_vary_are_named(graph: onnx.ModelProto) -> None:
    first = {one.name: one.type.tensor_type.shape.dim[0].dim_param for one in graph.graph.input}
    for feature in an_encoder().schema.features:
        assert first[feature.name] == ("num_candidates" if feature.per_candidate else "num_requests")
    assert first["row_request"] == "num_candidates"


def test_the_inputs_are_in_the_order_of_the_schema(graph: onnx.ModelProto) -> None:
    names = [feature.name for feature in an_encoder().schema.features]
    assert [one.name for one in graph.graph.input] == [*names, "row_request"]


class Undecided(nn.Module):
    """Looks at a value to decide what to do, which a graph cannot."""

    def forward(self, inputs: dict[str, Tensor], row_request: Tensor) -> Tensor:
        if inputs["year"].sum() > 0:
            return inputs["year"]
        return inputs["ratio"] + row_request


class OfAFixedSize(nn.Module):
    """Works for five candidates, and no other number."""

    def forward(self, inputs: dict[str, Tensor], _: Tensor) -> Tensor:
        return inputs["year"] + torch.arange(5.0)


@pytest.mark.parametrize(
    ("module", "why"),
    [(Undecided(), "Could not guard on data-dependent"), (OfAFixedSize(), "a first dimension that varies")],
)
def test_a_module_that_cannot_be_exported_says_why(
    module: nn.Module, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    levels = [logging.getLogger(name).level for name in LOGGERS]
    with pytest.raises(CompressionFailed, match=f"the module cannot be exported to ONNX: .*{why}"):
        export(module, an_encoder())
    assert capfd.readouterr() == ("", "")
    assert [logging.getLogger(name).level for name in LOGGERS] == levels
