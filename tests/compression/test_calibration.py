"""Rows that are calibrated on: drawn as the traffic is, so that ranges weigh values by how often they are asked."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from app.compression.calibration import ROWS_PER_RUN, drawn_rows, graph_inputs
from app.compression.workshop import Workshop
from app.encoding import Array
from app.schema import ROW_REQUEST
from app.training.rows import Prepared, Rows

from tests.compression.test_quantizers import quantize


def traffic(rows: Rows) -> tuple[Array, Array]:
    """Share of each user and of each item among the rows."""
    found = (
        np.bincount(rows.user_row, minlength=200),
        np.bincount(rows.item_row, minlength=150),
    )
    return found[0] / len(rows), found[1] / len(rows)


def test_users_and_items_come_as_often_as_they_come_in_the_rows(prepared: Prepared) -> None:
    rows = prepared.train
    seeds = [rows.take(drawn_rows(rows, len(rows) // 4, seed)) for seed in range(20)]
    assert len(np.unique(rows.user_row)) > 150
    for side, real in enumerate(traffic(rows)):
        shares = np.mean([traffic(one)[side] for one in seeds], axis=0)
        assert real.max() > 2 * real.mean(), "some are met far more often than others"
        # 20 draws of a quarter of the rows: five standard deviations of a binomial share.
        allowed = 5 * np.sqrt(real * (1 - real) / (20 * len(seeds[0]))) + 1e-12
        assert (np.abs(shares - real) <= allowed).all()


def test_no_row_is_drawn_twice_and_few_rows_are_all_drawn(prepared: Prepared) -> None:
    drawn = drawn_rows(prepared.train, 500, seed=3)
    assert len(np.unique(drawn)) == 500
    np.testing.assert_array_equal(drawn, np.sort(drawn))
    np.testing.assert_array_equal(drawn, drawn_rows(prepared.train, 500, seed=3))
    assert not np.array_equal(drawn, drawn_rows(prepared.train, 500, seed=4))
    few = prepared.train.take(np.arange(7))
    np.testing.assert_array_equal(drawn_rows(few, 500, seed=3), np.arange(7))


@pytest.mark.parametrize("count", [1, ROWS_PER_RUN, ROWS_PER_RUN + 1, 700])
def test_graph_inputs_are_the_rows_in_order_a_request_each(prepared: Prepared, count: int) -> None:
    rows, drawn = prepared.train, np.arange(count) * 3
    runs = list(graph_inputs(rows, drawn))
    assert max(len(one[ROW_REQUEST]) for one in runs) <= ROWS_PER_RUN
    for one in runs:
        np.testing.assert_array_equal(one[ROW_REQUEST], np.arange(len(one[ROW_REQUEST])))
    for name, values in rows.inputs(drawn).items():
        np.testing.assert_array_equal(np.concatenate([one[name] for one in runs]), values)


def test_a_user_who_comes_often_decides_the_percentile_of_a_range(
    graph: onnx.ModelProto, workshop: Workshop, prepared: Prepared
) -> None:
    """The same users and items in other shares: what is rare is cut off by one and not by the other."""

    def ranges(train: Rows) -> bytes:
        made = quantize(
            graph,
            "quantize_static",
            replace(workshop, prepared=replace(prepared, train=train)),
            method="percentile",
        )
        scales = [one for one in made.graph.initializer if one.name.endswith("_scale")]
        return b"".join(one.SerializeToString() for one in scales)

    rows = prepared.train.take(np.arange(1000))
    often = rows.take(np.concatenate([np.arange(1000), np.zeros(1000, dtype=np.int64)]))
    twice = rows.take(np.concatenate([np.arange(1000), np.arange(1000)]))
    assert ranges(often) != ranges(twice)
