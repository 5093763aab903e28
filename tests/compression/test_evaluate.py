"""What a variant is worth, on the small model's own test rows."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from app.compression.evaluate import LIST_LENGTH, Evaluation, make_lists
from app.compression.gate import judge
from app.compression.scorer import Scorer
from app.encoding import Array
from app.model_card import Budget
from app.report import Interval, Report, Size
from app.training import metrics
from app.training.rows import Prepared, Rows
from onnx import helper

from tests.compression.parts import a_machine, edited, scorer_of, set_weight, weights, with_rounded_scores

USERS = "embedding.tables.user_id.weight"


@pytest.fixture(scope="module")
def baseline(graph: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return scorer_of(graph, tmp_path_factory.mktemp("baseline"))


@pytest.fixture(scope="module")
def evaluation(prepared: Prepared, baseline: Scorer) -> Evaluation:
    return Evaluation(prepared, baseline)


def touched(prepared: Prepared) -> set[tuple[int, int]]:
    """Every pair of a user and an item that ever met."""
    splits = (prepared.train, prepared.validation, prepared.test)
    return {pair for one in splits for pair in zip(one.user_row.tolist(), one.item_row.tolist(), strict=True)}


def test_the_baseline_agrees_with_itself(evaluation: Evaluation) -> None:
    scores = evaluation.baseline
    quality, agreement = evaluation.quality(scores), evaluation.agreement(scores)
    assert quality is not None
    assert quality.auc_ratio == quality.ndcg_at_10_ratio == Interval(1, 1, 1)
    assert agreement.overlap_at_10 == agreement.distinct_score_ratio == 1
    assert agreement.kendall_tau == pytest.approx(1)
    assert agreement.largest_score_difference == agreement.unknown_user_difference == 0
    assert agreement.batch_difference < 1e-6
    assert [one.auc for one in evaluation.slices(scores)] == [
        one.baseline_auc for one in evaluation.slices(scores)
    ]


def test_the_quality_is_that_of_the_test_rows(evaluation: Evaluation, prepared: Prepared) -> None:
    quality = evaluation.quality(evaluation.baseline)
    assert quality is not None
    assert quality.rows == len(prepared.test)
    assert quality.auc.value == metrics.auc(prepared.test.labels, evaluation.baseline.rows)
    assert quality.auc.low < quality.auc.value < quality.auc.high
    assert quality.auc.value > 0.6
    assert quality.users == len(set(evaluation.lists.users.tolist())) < len(evaluation.lists.row)
    assert quality.ndcg_at_10 is not None
    assert quality.hit_rate_at_10 is not None
    assert 0 < quality.ndcg_at_10.value <= quality.hit_rate_at_10.value < 1


def test_rounded_scores_are_ties_that_the_gate_refuses(
    evaluation: Evaluation, graph: onnx.ModelProto, tmp_path: Path
) -> None:
    scores = evaluation.ask(scorer_of(with_rounded_scores(graph, 50), tmp_path))
    quality, agreement = evaluation.quality(scores), evaluation.agreement(scores)
    assert agreement.distinct_score_ratio < 0.1
    assert agreement.largest_score_difference == pytest.approx(0.01, rel=0.1)
    size = Size(1, 1, 4.0)
    report = Report(quality, agreement, [], size, [], a_machine(), 1.0)
    assert "distinct scores" in judge(report, Budget(auc=0.9)).reason


def test_scores_turned_around_are_the_worst(
    evaluation: Evaluation, graph: onnx.ModelProto, tmp_path: Path
) -> None:
    def turn_around(copy: onnx.ModelProto) -> None:
        (last,) = (node for node in copy.graph.node if "score" in node.output)
        assert last.op_type == "Sigmoid"
        copy.graph.node.insert(len(copy.graph.node) - 1, helper.make_node("Neg", [last.input[0]], ["turned"]))
        last.input[0] = "turned"

    scores = evaluation.ask(scorer_of(edited(graph, turn_around), tmp_path))
    quality, agreement = evaluation.quality(scores), evaluation.agreement(scores)
    assert quality is not None
    before = evaluation.quality(evaluation.baseline)
    assert before is not None
    assert quality.auc.value == pytest.approx(1 - before.auc.value)
    assert quality.auc_ratio.high < 1
    assert quality.log_loss > before.log_loss
    assert agreement.kendall_tau == pytest.approx(-1, abs=0.01)
    assert agreement.overlap_at_10 == pytest.approx(0, abs=0.05)


def test_a_change_for_unknown_users_alone_is_seen(
    evaluation: Evaluation, graph: onnx.ModelProto, prepared: Prepared, tmp_path: Path
) -> None:
    table = weights(graph)[USERS].copy()
    table[0] += 1
    scores = evaluation.ask(scorer_of(edited(graph, lambda copy: set_weight(copy, USERS, table)), tmp_path))
    known = prepared.test.users["user_id"][prepared.test.user_row] != 0
    assert known.mean() > 0.9
    np.testing.assert_array_equal(scores.rows[known], evaluation.baseline.rows[known])
    assert evaluation.agreement(scores).unknown_user_difference > 0.01


class Neighbourly(Scorer):
    """Its scores depend on how many rows there are."""

    def run(self, inputs: Mapping[str, Array], row_request: Array) -> Array:
        scores = super().run(inputs, row_request)
        return scores + np.float32(0.25 * (len(scores) > 1))


def test_a_score_that_moves_with_its_batch_is_seen(
    evaluation: Evaluation, graph: onnx.ModelProto, tmp_path: Path
) -> None:
    scorer_of(graph, tmp_path)
    scores = evaluation.ask(Neighbourly(tmp_path))
    assert evaluation.agreement(scores).batch_difference == pytest.approx(0.25, abs=1e-5)


def test_lists_hold_one_positive_and_items_that_the_user_never_touched(
    evaluation: Evaluation, prepared: Prepared
) -> None:
    lists, met = evaluation.lists, touched(prepared)
    length = min(LIST_LENGTH, len(prepared.item_ids) // 2)
    assert lists.items.shape == (len(lists.users), length)
    assert len(set(lists.row.tolist())) == len(lists.row), "one list for each positive"
    assert (prepared.test.labels[lists.row] == 1).all()
    np.testing.assert_array_equal(prepared.test.user_row[lists.row], lists.users)
    np.testing.assert_array_equal(prepared.test.item_row[lists.row], lists.items[:, 0])
    for user, items in zip(lists.users.tolist(), lists.items.tolist(), strict=True):
        assert len(set(items)) == length
        assert not met & {(user, item) for item in items[1:]}
    left_out = set(np.flatnonzero(prepared.test.labels == 1).tolist()) - set(lists.row.tolist())
    users_left_out = {int(prepared.test.user_row[row]) for row in left_out}
    items_met = {user: sum(one == user for one, _ in met) for user in users_left_out}
    assert all(len(prepared.item_ids) - count < length - 1 for count in items_met.values())


def test_lists_are_drawn_by_seed(prepared: Prepared) -> None:
    one, same, other = (make_lists(prepared, prepared.test, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.items, same.items)
    assert not np.array_equal(one.items, other.items)


def test_a_list_is_asked_as_one_request(evaluation: Evaluation, baseline: Scorer, prepared: Prepared) -> None:
    """With the context and the history of the positive's own row, one score per candidate in their order."""
    for position in (0, len(evaluation.lists.row) - 1):
        row, items = evaluation.lists.row[position], evaluation.lists.items[position]
        count = len(items)
        values = {
            name: np.repeat(one, count, axis=0) for name, one in prepared.test.inputs(row[None]).items()
        }
        values |= {name: one[items] for name, one in prepared.test.items.items()}
        wanted = baseline.run(values, np.arange(count))
        np.testing.assert_allclose(evaluation.baseline.lists[position], wanted, atol=1e-6)


def only(rows: Rows, chosen: Array) -> Rows:
    return rows.take(np.flatnonzero(chosen))


@pytest.mark.parametrize("label", [0, 1])
def test_rows_of_one_class_tell_agreement_but_no_quality(
    prepared: Prepared, baseline: Scorer, label: int
) -> None:
    test = only(prepared.test, prepared.test.labels == label)
    one_class = Evaluation(replace(prepared, test=test), baseline)
    scores = one_class.baseline
    assert one_class.quality(scores) is None
    assert one_class.slices(scores) == []
    agreement = one_class.agreement(scores)
    assert agreement.largest_score_difference == 0
    assert (agreement.overlap_at_10 is None) == (label == 0), "without a positive there are no lists"


@pytest.mark.parametrize("label", [0, 1])
def test_rows_of_one_class_still_show_ties_and_dependence_on_the_batch(
    prepared: Prepared, baseline: Scorer, graph: onnx.ModelProto, tmp_path: Path, label: int
) -> None:
    test = only(prepared.test, prepared.test.labels == label)
    one_class = Evaluation(replace(prepared, test=test), baseline)
    tied = one_class.agreement(one_class.ask(scorer_of(with_rounded_scores(graph, 50), tmp_path / "tied")))
    assert tied.distinct_score_ratio < 0.2
    scorer_of(graph, tmp_path / "moved")
    moved = one_class.agreement(one_class.ask(Neighbourly(tmp_path / "moved")))
    assert moved.batch_difference == pytest.approx(0.25, abs=1e-5)
    assert moved.distinct_score_ratio == pytest.approx(1, abs=0.05)


def test_slices_are_users_and_items_with_few_training_rows(
    evaluation: Evaluation, prepared: Prepared
) -> None:
    train, test = prepared.train, prepared.test
    users = np.bincount(train.user_row, minlength=len(prepared.user_ids))
    items = np.bincount(train.item_row, minlength=len(prepared.item_ids))
    cold = test.user_row[users[test.user_row] <= np.sort(users)[len(users) // 4]]
    cold_users, tail_items = evaluation.slices(evaluation.baseline)
    assert (cold_users.name, tail_items.name) == ("cold_users", "tail_items")
    assert 0 < cold_users.rows <= len(cold)
    assert 0.2 < tail_items.rows / len(test) < 0.75, "Zipf: the most popular quarter has most rows"
    for name, counts in (("user_row", users), ("item_row", items)):
        rows = evaluation._thin_rows["cold_users" if name == "user_row" else "tail_items"]
        inside = counts[getattr(test, name)]
        outside = np.delete(inside, rows)
        assert inside[rows].max() < outside.min()


def test_few_enough_rows_are_asked(
    prepared: Prepared, baseline: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.compression.evaluate.MAX_ROWS", 50)
    monkeypatch.setattr("app.compression.evaluate.MAX_LISTS", 7)
    one, same = Evaluation(prepared, baseline), Evaluation(prepared, baseline)
    other = Evaluation(prepared, baseline, seed=1)
    assert (len(one.baseline.rows), len(one.baseline.lists)) == (50, 7)
    np.testing.assert_array_equal(one.baseline.rows, same.baseline.rows)
    assert not np.array_equal(one.baseline.rows, other.baseline.rows)
