"""Shorter tables: which rows go, what is looked up in their place, and that all others are as they were."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from app.compression.frequency import row_frequencies
from app.compression.tables import find_tables
from app.compression.technique import techniques
from app.compression.workshop import Workshop
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.graph_file import read_graph, write_graph
from app.training.rows import Prepared

from tests.compression.parts import edited, scorer_of, set_weight, weights

DROP = techniques()["drop_rows"]


def drop(graph: onnx.ModelProto, workshop: Workshop, **settings: Any) -> onnx.ModelProto:
    config = DROP.configure({"min_rows": 100, **settings}, "a test")
    made: onnx.ModelProto = DROP.apply(graph, config, workshop)
    return made


def counts_of(graph: onnx.ModelProto, prepared: Prepared, feature: str) -> Array:
    (table,) = (one for one in find_tables(graph) if feature in one.features)
    return row_frequencies(table, prepared.train)


def name_of(graph: onnx.ModelProto, feature: str) -> str:
    (table,) = (one for one in find_tables(graph) if feature in one.features)
    return table.name


def gone_from(made: onnx.ModelProto, name: str, rows: int) -> Array:
    """Which rows of a table have the shared row's place, bool [rows]."""
    stored = weights(made)
    shared = len(stored[f"{name}.kept"]) - 1
    if f"{name}.slots" not in stored:
        return np.arange(rows) >= shared
    slots = stored[f"{name}.slots"]
    return np.array(slots[np.minimum(np.arange(rows), len(slots) - 1)] == shared)


@pytest.mark.parametrize("shared", ["unknown", "mean"])
@pytest.mark.parametrize("min_count", [5, 15, 25])
def test_rare_rows_share_one_and_all_others_are_as_they_were(
    graph: onnx.ModelProto,
    workshop: Workshop,
    prepared: Prepared,
    tmp_path: Path,
    shared: str,
    min_count: int,
) -> None:
    made = drop(graph, workshop, min_count=min_count, shared=shared)
    changes: dict[str, Array] = {}
    for table in find_tables(graph):
        if f"{table.name}.kept" in weights(made):
            counts, values = row_frequencies(table, prepared.train), table.read().copy()
            gone = gone_from(made, table.name, table.rows)
            assert not gone[0]
            assert (counts[gone] < min_count).all()
            if table.features == ("user_id",):  # sorted by frequency, so that all rare rows are at the end
                assert f"{table.name}.slots" not in weights(made)
                assert gone.sum() == (counts[1:] < min_count).sum()
            mean = np.average(values[gone], axis=0, weights=counts[gone] if counts[gone].any() else None)
            values[gone] = mean if shared == "mean" else values[0]
            changes[table.name] = values
    assert name_of(graph, "user_id") in changes

    def overwrite(copy: onnx.ModelProto) -> None:
        for name, values in changes.items():
            set_weight(copy, name, values)

    whole = edited(graph, overwrite)
    ours, theirs = (
        scorer_of(one, tmp_path / name).score_rows(prepared.test)
        for name, one in (("made", made), ("whole", whole))
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_scores_of_frequent_ids_do_not_change_at_all(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    made, test = drop(graph, workshop, min_count=15), prepared.test
    ours, theirs = (
        scorer_of(one, tmp_path / name).score_rows(test) for name, one in (("made", made), ("graph", graph))
    )
    inputs = test.inputs(np.arange(len(test)))
    users, items = counts_of(graph, prepared, "user_id") >= 15, counts_of(graph, prepared, "item_id") >= 15
    items[0] = users[0] = True
    frequent = users[inputs["user_id"]] & items[inputs["item_id"]] & items[inputs["history"]].all(axis=1)
    assert 0.2 < frequent.mean() < 1
    assert ours[frequent].tolist() == theirs[frequent].tolist()
    assert (ours[~frequent] != theirs[~frequent]).any()


def test_rare_rows_between_frequent_ones_go_by_slots(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, tmp_path: Path
) -> None:
    """A hashed vocabulary is in no order: every second user is never met in training."""
    rows = prepared.train
    met = rows.take(np.flatnonzero(rows.users["user_id"][rows.user_row] % 2 == 0))
    half = replace(workshop, prepared=replace(prepared, train=met))
    name = name_of(graph, "user_id")
    made = drop(graph, half)
    slots, kept = weights(made)[f"{name}.slots"], weights(made)[f"{name}.kept"]
    assert slots.dtype == np.uint8
    assert (slots[1::2] == len(kept) - 1).all()
    assert kept[-1].tolist() == weights(graph)[name][0].tolist(), "the row of none or unknown"
    inputs = prepared.test.inputs(np.arange(200))
    ours = scorer_of(made, tmp_path / "made").run(inputs, np.arange(200))
    unknown = inputs | {"user_id": np.where(inputs["user_id"] % 2, 0, inputs["user_id"])}
    theirs = scorer_of(graph, tmp_path / "graph").run(unknown, np.arange(200))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_later_steps_still_find_the_tables(graph: onnx.ModelProto, workshop: Workshop) -> None:
    made = drop(graph, workshop, min_count=15)
    kept = {one.name for one in find_tables(made) if one.name.endswith(".kept")}
    assert kept == {name for name in weights(made) if name.endswith(".kept")}
    quantize = techniques()["quantize_tables"]
    config = quantize.configure({"encoding": "standard", "min_rows": 20}, "a test")
    assert f"{min(kept)}.codes" in weights(quantize.apply(made, config, workshop))


def test_tables_in_files_are_shortened_from_file_to_file(
    graph: onnx.ModelProto, workshop: Workshop, tmp_path: Path
) -> None:
    for name in ("whole", "scratch", "made"):
        (tmp_path / name).mkdir()
    write_graph(graph, tmp_path / "whole")
    large = read_graph(tmp_path / "whole" / "model.onnx", large_bytes=1)
    made = drop(large, replace(workshop, scratch=tmp_path / "scratch"), min_count=15)
    write_graph(made, tmp_path / "made")
    ours, theirs = (
        weights(read_graph(tmp_path / "made" / "model.onnx")),
        weights(drop(graph, workshop, min_count=15)),
    )
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(values, theirs[name]) for name, values in ours.items())


def test_tables_without_rare_rows_are_refused(graph: onnx.ModelProto, workshop: Workshop) -> None:
    with pytest.raises(
        CompressionFailed, match=r"no table of 5000 rows or more gets smaller: too few of its rows"
    ):
        drop(graph, workshop, min_rows=5000)


def test_an_old_graph_is_refused(graph: onnx.ModelProto, workshop: Workshop) -> None:
    def make_old(copy: onnx.ModelProto) -> None:
        copy.opset_import[0].version = 11

    with pytest.raises(CompressionFailed, match="has version 11 of ONNX's operators, and needs 12"):
        drop(edited(graph, make_old), workshop)


@pytest.mark.parametrize("every", [1, 2])
def test_steps_that_follow_know_what_is_looked_up(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared, every: int
) -> None:
    """Of all users, whose rare ones stand at the end, and of every second one, whose rows go by slots."""
    rows = prepared.train.take(
        np.flatnonzero(prepared.train.inputs(np.arange(len(prepared.train)))["user_id"] % every == 0)
    )
    made = drop(graph, replace(workshop, prepared=replace(prepared, train=rows)), min_count=15)
    assert (f"{name_of(graph, 'user_id')}.slots" in weights(made)) == (every == 2)
    after = {table.name: table for table in find_tables(made)}
    shortened = [one for one in find_tables(graph) if f"{one.name}.kept" in after]
    assert name_of(graph, "user_id") in {one.name for one in shortened}
    for table in shortened:
        before, gone = row_frequencies(table, rows), gone_from(made, table.name, table.rows)
        found = row_frequencies(after[f"{table.name}.kept"], rows)
        np.testing.assert_array_equal(found[:-1], before[~gone])
        assert found[-1] == before[gone].sum()
