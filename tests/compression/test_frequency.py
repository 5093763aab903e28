"""Frequencies of a table's rows, counted in another way here: look-up by look-up."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from app.compression.frequency import row_frequencies
from app.compression.tables import Lookup, Table, find_tables
from app.encoding import Array
from app.errors import CompressionFailed
from app.training.rows import Prepared, Rows
from onnx import numpy_helper


def table_of(rows: int, *lookups: tuple[str, ...]) -> Table:
    tensor = numpy_helper.from_array(np.zeros((rows, 2), dtype=np.float32), "table")
    return Table(tensor, tuple(Lookup("i", f"o{n}", features) for n, features in enumerate(lookups)))


def counted(rows: Rows, table: Table) -> Array:
    total = np.zeros(table.rows)
    inputs = rows.inputs(np.arange(len(rows)))
    for feature in table.features:
        for value in inputs[feature]:
            for index in np.atleast_1d(value):
                total[index] += 0 if np.ndim(value) and index == 0 else 1
    return total


def test_every_table_of_a_model_is_counted_look_up_by_look_up(
    graph: onnx.ModelProto, prepared: Prepared
) -> None:
    tables = find_tables(graph)
    assert ("item_id", "history") in {tuple(sorted(one.features, reverse=True)) for one in tables}
    for table in tables:
        np.testing.assert_array_equal(row_frequencies(table, prepared.train), counted(prepared.train, table))


def test_lists_of_items_and_of_rows_count_their_used_places() -> None:
    rows = Rows(
        users={"user_id": np.array([1, 0])},
        items={"genres": np.array([[1, 2, 0], [0, 0, 0], [2, 2, 3]])},
        per_row={"history": np.array([[3, 0], [1, 1], [0, 0], [3, 2]])},
        user_row=np.array([0, 0, 1, 1]),
        item_row=np.array([0, 0, 2, 1]),
        labels=np.zeros(4, dtype=np.float32),
    )
    assert row_frequencies(table_of(5, ("genres",)), rows).tolist() == [0, 2, 4, 1, 0]
    assert row_frequencies(table_of(4, ("history",)), rows).tolist() == [0, 2, 1, 2]
    assert row_frequencies(table_of(2, ("user_id",)), rows).tolist() == [2, 2]
    assert row_frequencies(table_of(4, ("history",), ("genres",)), rows).tolist() == [0, 4, 5, 3]


def test_without_knowledge_all_rows_count_alike(prepared: Prepared) -> None:
    for table, rows in (
        (table_of(3, ("item_id",)), None),
        (table_of(3, ("item_id",)), prepared.train.take(np.zeros(0, dtype=np.int64))),
        (table_of(3, ("item_id",), ()), prepared.train),
    ):
        assert row_frequencies(table, rows).tolist() == [1, 1, 1]


def test_other_rows_are_not_looked_at(graph: onnx.ModelProto, prepared: Prepared) -> None:
    few = prepared.train.take(np.arange(10))
    table = next(one for one in find_tables(graph) if "user_id" in one.features)
    assert row_frequencies(table, replace(prepared, train=few).train).sum() == 10


def test_an_index_beyond_the_table_is_refused(prepared: Prepared) -> None:
    with pytest.raises(
        CompressionFailed, match=r"^feature 'item_id' has the index \d+, and the table 'table'"
    ):
        row_frequencies(table_of(3, ("item_id",)), prepared.train)
