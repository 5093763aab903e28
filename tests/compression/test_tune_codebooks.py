"""Tuned codebooks: what stays, what a later step finds, and that it loses less."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from app.compression.codebooks import look_ups
from app.compression.frequency import row_frequencies
from app.compression.loss_of_quality import QualityLoss
from app.compression.subject import Subject
from app.compression.tables import find_tables
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.errors import CompressionFailed
from app.training.rows import Prepared
from torch import nn

from tests.compression.parts import weights, workshop_of
from tests.compression.test_quantizers import quantize

TUNE = techniques()["tune_codebooks"]
CODES = {"subvector": 4, "clusters": 8, "min_rows": 100}
LESSON = {"epochs": 4, "batch_size": 256, "teacher_share": 1.0, "unlabelled": 2.0, "learning_rate": 0.003}
TABLES = ("embedding.tables.item_id.weight", "embedding.tables.user_id.weight")


def tune(module: nn.Module, workshop: Workshop, **settings: Any) -> nn.Module:
    config = TUNE.configure({**CODES, **LESSON, **settings}, "a test")
    made: nn.Module = TUNE.apply(module, config, replace(workshop, teacher=module))
    return made


@pytest.fixture(scope="module")
def tuned(subject: Subject) -> nn.Module:
    assert subject.module is not None
    return tune(subject.module, workshop_of(subject))


def test_only_tables_change_and_they_hold_so_many_different_subvectors(
    tuned: nn.Module, subject: Subject
) -> None:
    assert subject.module is not None
    before, after = subject.module.state_dict(), tuned.state_dict()
    assert before.keys() == after.keys()
    assert {name for name in after if not torch.equal(before[name], after[name])} == set(TABLES)
    for name in TABLES:
        for part in after[name].split(4, dim=1):
            assert len(torch.unique(part, dim=0)) <= 8
    assert all(one.requires_grad for one in tuned.parameters())


def test_the_step_that_follows_finds_the_tuned_codebooks(
    tuned: nn.Module, subject: Subject, workshop: Workshop
) -> None:
    graph = subject.export(tuned)
    made = weights(quantize(graph, "product_quantize_tables", workshop, storage="float32", **CODES))
    for name in TABLES:
        codes = made[f"{name}.codes"].astype(int) + made[f"{name}.offsets"]
        decoded = made[f"{name}.codebook"][codes].reshape(len(codes), -1)
        np.testing.assert_allclose(decoded, weights(graph)[name], atol=1e-6)


def test_it_loses_less_than_codebooks_that_are_as_k_means_left_them(
    tuned: nn.Module, subject: Subject, graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared
) -> None:
    loss = QualityLoss(graph, prepared.test, 0)
    plain, made = (
        loss.of_logits(quantize(one, "product_quantize_tables", workshop, **CODES))
        for one in (graph, subject.export(tuned))
    )
    assert made < 0.95 * plain


def test_the_rest_is_tuned_where_it_is_asked_for(subject: Subject, workshop: Workshop) -> None:
    assert subject.module is not None
    made = tune(subject.module, workshop, rest=True, epochs=1).state_dict()
    assert not torch.equal(made["head.weight"], subject.module.state_dict()["head.weight"])


def test_look_ups_are_those_of_the_graph(
    subject: Subject, graph: onnx.ModelProto, prepared: Prepared
) -> None:
    assert subject.module is not None
    named = dict(subject.module.named_modules())
    tables = {one.name: one for one in find_tables(graph)}
    embeddings = [named[name.removesuffix(".weight")] for name in TABLES]
    found = look_ups(subject.module, embeddings, prepared.train)  # type: ignore[arg-type]
    for name, counts in zip(TABLES, found, strict=True):
        np.testing.assert_array_equal(counts, row_frequencies(tables[name], prepared.train))


def test_without_a_table_large_enough_there_is_nothing_to_tune(subject: Subject, workshop: Workshop) -> None:
    assert subject.module is not None
    with pytest.raises(CompressionFailed, match="no table of at least min_rows = 100000 rows"):
        tune(subject.module, workshop, min_rows=100_000)
