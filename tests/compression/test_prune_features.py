"""Rankers without whole features: which go, and that everything after them copes without their inputs."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from app.compression.subject import Subject
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.model_card import read_card
from app.schema import trailing_shape
from app.serving.session import Session
from app.training.graph_file import write_graph
from app.training.narrowable import Narrowable
from app.training.rows import Prepared
from torch import nn

from tests.compression.own_modules import Plain
from tests.compression.parts import scorer_of, workshop_of
from tests.small_model import NAME, SmallModel

PRUNE = techniques()["prune_features"]


def prune(module: nn.Module, workshop: Workshop, **settings: Any) -> nn.Module:
    config = PRUNE.configure({"epochs": 1, "learning_rate": 1e-12, **settings}, "a test")
    made: nn.Module = PRUNE.apply(module, config, replace(workshop, teacher=module))
    return made


def features(module: nn.Module) -> list[str]:
    assert isinstance(module, Narrowable)
    return [one.name for one in (*module.embedding.request_features, *module.embedding.item_features)]


def with_silent(module: nn.Module, names: list[str]) -> nn.Module:
    """The trained module, for which these features are always the same."""
    made = copy.deepcopy(module)
    assert isinstance(made, Narrowable)
    with torch.no_grad():
        for owners in (made.embedding.tables, made.embedding.projections):
            for name in owners.keys() & set(names):
                for weight in owners[name].parameters():
                    weight.zero_()
    return made


def test_features_that_say_nothing_go_first(workshop: Workshop) -> None:
    """Before the history they do not: exchanged histories happen to be better than none on these few rows."""
    silent = ["segment", "price", "text"]
    made = prune(with_silent(workshop.teacher, silent), workshop, drop=3, never=["history"])
    assert set(features(workshop.teacher)) - set(features(made)) == set(silent)


def test_features_to_spare_stay(workshop: Workshop) -> None:
    silent = ["segment", "price", "text"]
    made = prune(with_silent(workshop.teacher, silent), workshop, drop=2, never=["price", "history"])
    assert set(features(workshop.teacher)) - set(features(made)) == {"segment", "text"}


def test_one_feature_of_each_side_stays(workshop: Workshop) -> None:
    made = features(prune(workshop.teacher, workshop, drop=6))
    assert len(made) == 2
    assert len(set(made) & {"user_id", "segment", "history", "device"}) == 1
    with pytest.raises(CompressionFailed, match=r"drop = 7 are too many: of 8 features 6 can go"):
        prune(workshop.teacher, workshop, drop=7)


def test_test_rows_are_not_looked_at(workshop: Workshop, prepared: Prepared) -> None:
    nothing = prepared.test.take(np.zeros(0, dtype=np.int64))
    made = prune(workshop.teacher, workshop, drop=2)
    without = prune(workshop.teacher, replace(workshop, prepared=replace(prepared, test=nothing)), drop=2)
    assert features(made) == features(without)


@pytest.fixture(scope="module")
def narrowed(subject: Subject) -> onnx.ModelProto:
    """The small model's graph without two features."""
    settings = {"drop": 2, "never": ["user_id", "item_id", "history"]}
    return subject.export(prune(workshop_of(subject).teacher, workshop_of(subject), **settings))


def test_a_session_serves_a_graph_that_has_fewer_inputs(
    narrowed: onnx.ModelProto, subject: Subject, prepared: Prepared, tmp_path: Path
) -> None:
    """What a request brings besides is left aside."""
    schema = subject.encoder.schema
    assert len(narrowed.graph.input) == len(schema.features) + 1 - 2
    write_graph(narrowed, tmp_path)
    rows = np.arange(10)
    inputs: dict[str, Array] = prepared.test.inputs(rows)
    assert inputs.keys() == {one.name for one in schema.features}
    assert all(inputs[one.name].shape[1:] == trailing_shape(one) for one in schema.features)
    scores = Session(tmp_path, schema, 1, items={}).run(inputs, rows)
    assert scores.tolist() == scorer_of(narrowed, tmp_path / "again").run(inputs, rows).tolist()


@pytest.mark.parametrize(
    ("technique", "settings"),
    [
        ("quantize_static", {"rows": 300}),
        ("quantize_dynamic", {}),
        ("quantize_tables", {"bits": 8, "encoding": "standard", "min_rows": 1}),
        ("product_quantize_tables", {"subvector": 2, "clusters": 16, "min_rows": 100}),
        ("fold_tables", {}),
        ("drop_rows", {"min_count": 15, "min_rows": 100}),
    ],
)
def test_graph_steps_work_on_it(
    narrowed: onnx.ModelProto,
    workshop: Workshop,
    prepared: Prepared,
    technique: str,
    settings: dict[str, Any],
    tmp_path: Path,
) -> None:
    found = techniques()[technique]
    made = found.apply(narrowed, found.configure(settings, "a test"), workshop)
    ours, theirs = (
        scorer_of(one, tmp_path / name).score_rows(prepared.test)
        for name, one in (("made", made), ("narrowed", narrowed))
    )
    assert np.corrcoef(ours, theirs)[0, 1] > 0.9


def test_a_module_that_does_not_say_what_reads_its_features_is_refused(workshop: Workshop) -> None:
    with pytest.raises(CompressionFailed, match="Plain does not say what reads its features"):
        prune(Plain(workshop.encoder), workshop)


@pytest.mark.parametrize(
    ("settings", "field", "why"),
    [
        ({"never": ["colour"]}, "never", "there is no feature 'colour'; there are: user_id, segment"),
        ({"drop": 8}, "drop", "the model has 8 features, and at least one must stay"),
    ],
)
def test_a_card_that_it_cannot_be_for_is_refused_before_any_work(
    small_model: SmallModel, settings: dict[str, Any], field: str, why: str
) -> None:
    misfit = PRUNE.misfit(PRUNE.configure(settings, "a test"), read_card(small_model.models / NAME))
    assert misfit is not None
    assert misfit.field == field
    assert misfit.reason.startswith(why)
